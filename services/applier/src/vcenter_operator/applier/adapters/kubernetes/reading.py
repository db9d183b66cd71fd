"""What is there: metadata alone is read, never the objects' content."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from sys import intern
from typing import Any, NamedTuple

from vcenter_operator.applier.adapters.kubernetes.kinds import Kinds, Served
from vcenter_operator.applier.core.observed import GroupKind, Observed, observe
from vcenter_operator.applier.core.ownedfields import is_ours, last_editor, shared
from vcenter_operator.applier.ports import Place, place_of
from vcenter_operator.common.errors import OperatorError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.kubernetes.api import Api
from vcenter_operator.common.kubernetes.errors import Forbidden, NotFound
from vcenter_operator.common.labels import FIELD_MANAGER, PART_OF, applyset_id

_LIST_FROM = 10
"""So many ids of one kind in one namespace, and one list costs less than asking for each."""
_NO_SET = f"!{PART_OF}"


class Listed(NamedTuple):
    """Objects of one kind in one namespace, as they were at a resourceVersion."""

    objects: list[Observed]
    revision: int


@dataclass
class _Shared:
    """Lists of one place that several vCenters wait for."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    begun: int = 0
    ended: int = 0
    """The last list that was answered, of those that were begun."""
    found: Listed | OperatorError | None = None
    """What it had, or why there is none."""


class Reading:
    """Reads of metadata, at most `concurrency` at once."""

    def __init__(self, api: Api, kinds: Kinds, namespace: str, concurrency: int) -> None:
        self._api = api
        self._kinds = kinds
        self._namespace = namespace
        self._places = asyncio.Semaphore(concurrency)
        self._shared: dict[Place, _Shared] = {}

    async def members(self, host: str, places: Collection[Place]) -> dict[Place, Listed | Forbidden | None]:
        """The objects of the vCenter's ApplySet in these places; None where the kind is not served, and what the

        server says where the account may not look.
        """
        wanted = sorted(set(places))
        found = await asyncio.gather(*(self._members(host, place) for place in wanted))
        return dict(zip(wanted, found, strict=True))

    async def occupants(
        self, host: str, ids: Collection[ObjectId], told: Collection[Place] = ()
    ) -> dict[ObjectId, Observed]:
        """What stands under these ids. A list of one of the places `told` is without what is in any ApplySet."""
        wanted: defaultdict[Place, list[ObjectId]] = defaultdict(list)
        for object_id in ids:
            wanted[place_of(object_id)].append(object_id)
        found = await asyncio.gather(
            *(self._occupants(host, place, group, told=place in told) for place, group in wanted.items())
        )
        return {one.id: one for group in found for one in group}

    async def one(self, object_id: ObjectId, *hosts: str) -> Observed | None:
        """One object; None: there is none, or its kind is not served."""
        served = await self._kinds.find(GroupKind.of(object_id))
        if served is None:
            return None
        async with self._places:
            path = served.resource.path(object_id.name, namespace=object_id.namespace)
            found = await self._api.get(path, metadata_only=True)
        return None if found is None else self.observed(object_id, found["metadata"], *hosts)

    def observed(self, object_id: ObjectId, metadata: Mapping[str, Any], *hosts: str) -> Observed:
        """What metadata says, be it of an answer or of a list."""
        ours = self.is_ours(metadata)
        entries = (metadata.get("managedFields") or ()) if ours else ()
        return observe(
            object_id,
            metadata,
            namespace=self._namespace,
            hosts=hosts,
            ours=ours,
            fields=_name(entries) if ours else "",
            shared=shared(entries),
            editor=intern(last_editor(entries)),
        )

    def is_ours(self, metadata: Mapping[str, Any]) -> bool:
        """Whether we ever wrote it."""
        return any(entry.get("manager") == FIELD_MANAGER for entry in metadata.get("managedFields") or ())

    async def _members(self, host: str, place: Place) -> Listed | Forbidden | None:
        selector = f"{PART_OF}={applyset_id(host, self._namespace)}"
        try:
            listed = await self._listed(host, place, selector)
        except Forbidden as error:
            if error.status != HTTPStatus.FORBIDDEN:  # it does not know who asks
                raise
            return error
        return listed and listed._replace(objects=[one for one in listed.objects if one.host == host])

    async def _occupants(self, host: str, place: Place, ids: list[ObjectId], *, told: bool) -> list[Observed]:
        if len(ids) < _LIST_FROM:
            found = await asyncio.gather(*(self.one(object_id, host) for object_id in ids))
            return [one for one in found if one is not None]
        wanted = set(ids)
        listed = await (self._outside(place) if told else self._listed(host, place, None))
        return [one for one in listed.objects if one.id in wanted] if listed else []

    async def _outside(self, place: Place) -> Listed | None:
        """What is in no ApplySet. It may be the whole region, and is the same for all vCenters of it.

        So whoever asks before a list begins shares it.
        """
        shared = self._shared.setdefault(place, _Shared())
        shared.waiting += 1
        asked = shared.begun
        try:
            async with shared.lock:
                if shared.ended <= asked:
                    shared.begun += 1
                    this = shared.begun
                    try:
                        shared.found = await self._listed("", place, _NO_SET)
                    except OperatorError as error:
                        shared.found = error
                    shared.ended = this
                if isinstance(shared.found, OperatorError):
                    raise shared.found
                return shared.found
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                del self._shared[place]

    async def _listed(self, host: str, place: Place, selector: str | None) -> Listed | None:
        """None: the kind is not served. A kind's scope decides where it is looked for, not the place's namespace."""
        kind, namespace = place
        tried: Served | None = None
        while (served := await self._kinds.find(kind)) not in (None, tried):
            assert served is not None
            if served.namespaced != bool(namespace):
                return Listed([], 0)
            try:
                async with self._places:
                    path = served.resource.path(namespace=namespace)
                    listing = await self._api.list(
                        path,
                        label_selector=selector,
                        metadata_only=True,
                        kept=lambda item: self._of_item(host, kind, item["metadata"]),
                    )
            except NotFound:  # perhaps in that version alone
                tried = served
                self._kinds.forget(kind.group)
                continue
            return Listed(listing.items, listing.resource_version)
        return None

    def _of_item(self, host: str, kind: GroupKind, metadata: Mapping[str, Any]) -> Observed:
        object_id = ObjectId(kind.group, kind.kind, metadata.get("namespace") or "", metadata["name"])
        return self.observed(object_id, metadata, host)


def _name(entries: Iterable[Mapping[str, Any]]) -> str:
    """Names the fields that were applied last and are ours still: as far as nobody changed or removed them since."""
    applied = [entry.get("fieldsV1") for entry in entries if is_ours(entry)]
    return hashlib.blake2b(json.dumps(applied, sort_keys=True).encode(), digest_size=6).hexdigest()
