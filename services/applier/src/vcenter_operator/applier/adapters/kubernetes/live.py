"""What all vCenters own, kept current by watches: one for each kind and namespace, metadata alone, for the process.

The label of an ApplySet has to be there, whichever: so what another vCenter owns is seen too. What is not in any
ApplySet is not.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from sys import intern
from typing import Any, NamedTuple

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.applier.adapters.kubernetes.kinds import Kinds
from vcenter_operator.applier.adapters.kubernetes.reading import Listed, Reading
from vcenter_operator.applier.core.observed import GroupKind, Observed
from vcenter_operator.applier.ports import Place, place_of
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.kubernetes.api import Resource
from vcenter_operator.common.kubernetes.live import LiveView
from vcenter_operator.common.labels import PART_OF, applyset_id

_MOST = 40
"""Watches at once: each takes a connection for itself. What is beyond is listed when it is needed."""

_set_of = lru_cache(maxsize=4096)(applyset_id)


class Member(NamedTuple):
    """An object that has the label of an ApplySet."""

    set: str
    one: Observed
    misnamed: bool
    """It is ours, and its annotation names another vCenter than the label does, or none."""


class Members(LiveView[ObjectId, Member]):
    """Those of one kind in one namespace."""

    def __init__(
        self,
        client: ApiClient,
        resource: Resource,
        kind: GroupKind,
        reading: Reading,
        moved: Callable[[Member | None, Member | None, bool], None],
    ) -> None:
        super().__init__(client, resource, metadata_only=True)
        self._kind = kind
        self._reading = reading
        self._moved = moved

    def reduced(self, item: Mapping[str, Any]) -> Member:
        """See `LiveView.reduced`."""
        metadata = item["metadata"]
        namespace = intern(metadata.get("namespace") or "")
        object_id = ObjectId(self._kind.group, self._kind.kind, namespace, metadata["name"])
        return self.member(self._reading.observed(object_id, metadata), metadata)

    def member(self, one: Observed, metadata: Mapping[str, Any]) -> Member:
        """An object that was read or written, by its metadata."""
        part_of = intern(str((metadata.get("labels") or {}).get(PART_OF) or ""))
        return Member(part_of, one, one.host is None and self._reading.is_ours(metadata))

    def key(self, one: Member) -> ObjectId:
        """See `LiveView.key`."""
        return one.one.id

    def version(self, one: Member) -> int:
        """See `LiveView.version`."""
        return int(one.one.version)

    def changed(self, before: Member | None, after: Member | None, *, own: bool) -> None:
        """See `LiveView.changed`."""
        self._moved(before, after, own)


class Live:
    """The views that the vCenters of this process need; `noticed` hears of each of these that has a change."""

    def __init__(self, client: ApiClient, kinds: Kinds, reading: Reading, namespace: str) -> None:
        self._client = client
        self._kinds = kinds
        self._reading = reading
        self._namespace = namespace
        self._views: dict[Place, Members] = {}
        self._needed: dict[str, frozenset[Place]] = {}
        self._sets: defaultdict[str, dict[ObjectId, Member]] = defaultdict(dict)
        self._hosts: dict[str, str] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.noticed: Callable[[str], None] = lambda _: None

    async def follow(self, host: str, places: Collection[Place]) -> bool:
        """Watches where this vCenter has objects, and no longer where nobody does. Whether all of it is known then."""
        self._hosts[_set_of(host, self._namespace)] = host
        wanted = frozenset({place for place in places if await self._resource(place) is not None})
        self._needed[host] = wanted
        for place in sorted(wanted):
            resource = await self._resource(place)
            if (old := self._views.get(place)) is not None and resource not in (None, old.resource):
                self._end(place)  # it is served in another version now
            if resource is not None and place not in self._views and len(self._views) < _MOST:
                view = Members(self._client, resource, place[0], self._reading, self._moved)
                self._views[place] = view
                view.start()
        self._end_unneeded()
        views = [self._views.get(place) for place in wanted]
        current = [await view.attempted() for view in views if view is not None]
        return all(current) and len(current) == len(views)

    def members(self, host: str, places: Collection[Place]) -> dict[ObjectId, Observed] | None:
        """What a vCenter owns in these places; None where that is not known."""
        if not self.knows(places):
            return None
        found = self._sets.get(_set_of(host, self._namespace), {})
        members = [replace(one.one, host=host) if one.misnamed else one.one for one in found.values()]
        return {one.id: one for one in members if one.host == host}

    def knows(self, places: Collection[Place]) -> bool:
        """Whether these places are watched, and what is known of them is current."""
        return all((view := self._views.get(place)) is not None and view.current for place in self._fitting(places))

    def others(self, host: str, ids: Collection[ObjectId]) -> dict[ObjectId, Observed]:
        """What else stands under these ids: of another vCenter, or with a label that was copied."""
        found = (view.items.get(one) for one in ids if (view := self._views.get(place_of(one))))
        mine = _set_of(host, self._namespace)
        return {
            member.one.id: member.one
            for member in found
            if member is not None and not (member.set == mine and (member.misnamed or member.one.host == host))
        }

    def listed(self, host: str, place: Place, found: Listed) -> None:
        """Takes over a list of one vCenter's members."""
        if (view := self._views.get(place)) is not None:
            own = _set_of(host, self._namespace)
            known = [member for member in self._sets.get(own, {}).values() if _place(member.one) == place]
            view.corrected(known, [Member(own, one, misnamed=False) for one in found.objects], found.revision)

    def wrote(self, one: Observed, metadata: Mapping[str, Any]) -> None:
        """The answer to a write."""
        if (view := self._views.get(_place(one))) is not None:
            view.wrote(view.member(one, metadata))

    def deleted(self, one: Observed) -> None:
        """An object was deleted in exactly this version; one that lingers is seen to terminate."""
        view = self._views.get(_place(one))
        if view is None or (member := view.items.get(one.id)) is None:
            return
        if one.lingers:
            view.wrote(member._replace(one=replace(member.one, terminating=True)))
        else:
            view.deleted(member._replace(one=one))

    def forget(self, host: str) -> None:
        """A vCenter is not worked for any more."""
        self._hosts.pop(_set_of(host, self._namespace), None)
        self._needed.pop(host, None)
        self._end_unneeded()

    async def close(self) -> None:
        """Ends all watches."""
        self._needed.clear()
        self._end_unneeded()
        await asyncio.gather(*self._ending)

    def _fitting(self, places: Collection[Place]) -> list[Place]:
        """Without the places that cannot be, as a namespaced kind without a namespace."""
        return [place for place in places if place in self._views or not self._kinds.misfits(*place)]

    async def _resource(self, place: Place) -> Resource | None:
        kind, namespace = place
        served = await self._kinds.find(kind)
        if served is None or served.namespaced != bool(namespace):
            return None
        return replace(served.resource, namespace=namespace or None, label_selector=PART_OF)

    def _end_unneeded(self) -> None:
        needed = frozenset[Place]().union(*self._needed.values())
        for place in self._views.keys() - needed:
            self._end(place)

    def _end(self, place: Place) -> None:
        view = self._views.pop(place)
        view.cancel()
        for member in view.items.values():
            self._drop(member)
        ending = asyncio.create_task(view.stop())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _moved(self, before: Member | None, after: Member | None, own: bool) -> None:
        if before is not None and (after is None or after.set != before.set):
            self._drop(before)
        if after is not None:
            self._sets[after.set][after.one.id] = after
        if own or (before is not None and after is not None and _same(before, after)):
            return
        for part_of in {member.set for member in (before, after) if member is not None}:
            if (host := self._hosts.get(part_of)) is not None:
                self.noticed(host)

    def _drop(self, member: Member) -> None:
        members = self._sets.get(member.set, {})
        members.pop(member.one.id, None)
        if not members:
            self._sets.pop(member.set, None)


def _place(one: Observed) -> Place:
    return one.kind, one.id.namespace


def _same(before: Member, after: Member) -> bool:
    """Whether nothing that matters is different: status and others' fields move the version alone."""
    return after.one.fields == before.one.fields and (
        after._replace(one=replace(after.one, version=before.one.version)) == before
    )
