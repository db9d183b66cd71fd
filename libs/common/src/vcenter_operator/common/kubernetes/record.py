"""The record as `VCenter` resources in the operator's own namespace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.errors import StaleRecord
from vcenter_operator.common.events import Events, Silence
from vcenter_operator.common.kubernetes.api import Api
from vcenter_operator.common.kubernetes.crds import VCENTERS
from vcenter_operator.common.kubernetes.errors import Conflict, NotFound
from vcenter_operator.common.kubernetes.recordview import RecordView
from vcenter_operator.common.labels import API_VERSION, FIELD_MANAGER, VCENTER_KIND
from vcenter_operator.common.record.document import record_of, section_status, states_already
from vcenter_operator.common.record.notices import LASTING, is_disconnected, lasting, notices
from vcenter_operator.common.record.port import ABSENT, Record, Section, anybody

_TRIES = 8


class KubernetesStore:
    """A `Store`. Each stage applies its section as a field manager of its own, so that none touches another's.

    `version` is the resourceVersion: it moves with every write to the resource, whoever wrote. What people must notice
    of a change of conditions becomes an Event at the resource.
    `missing_is_empty`: where the CRD does not exist, there are no records (for a dry run, which does not create it).
    """

    def __init__(
        self, client: ApiClient, namespace: str, *, missing_is_empty: bool = False, events: Events | None = None
    ) -> None:
        self._client = client
        self._api = Api(client)
        self._view: RecordView | None = None
        self._events = events or Silence()
        self._vcenters = replace(VCENTERS, namespace=namespace)
        self._missing_is_empty = missing_is_empty
        self._records: dict[str, Record] = {}

    async def list(self, *, fresh: bool = True) -> list[Record]:
        """See `Store.list`."""
        if not fresh and self._view is not None and self._view.current:
            return list(self._all(self._view.items.values()))
        try:
            listing = await self._api.list(self._vcenters.path())
        except NotFound:
            if self._missing_is_empty:
                return []
            raise
        return list(self._all(listing.items))

    @asynccontextmanager
    async def following(self) -> AsyncIterator[RecordView]:
        """While entered, what is known of the resources comes from a watch, and a write asks nothing beforehand.

        Stages of one process share it: whoever entered first leaves last.
        """
        if self._view is not None:
            yield self._view
            return
        async with RecordView(self._client, self._vcenters.namespace or "") as view:
            self._view = view
            try:
                yield view
            finally:
                self._view = None

    async def get(self, host: str, *, fresh: bool = True) -> Record | None:
        """See `Store.get`."""
        found = await self._found(host, fresh=fresh)
        return None if found is None else self._record(found)

    async def _found(self, host: str, *, fresh: bool) -> dict[str, Any] | None:
        if not fresh and self._view is not None and self._view.current:
            return self._view.named(host)
        found = await self._api.get(self._vcenters.path(host))
        return None if found is None else self._seen(found)

    def _seen(self, resource: dict[str, Any]) -> dict[str, Any]:
        if self._view is not None:
            self._view.wrote(self._view.reduced(resource))
        return resource

    async def write(
        self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
    ) -> Record:
        """See `Store.write`."""
        for attempt in range(_TRIES):
            try:
                return await self._write(host, section, version, verify, fresh=attempt > 0)
            except StaleRecord:
                if version is not None or attempt == _TRIES - 1:
                    raise
        raise AssertionError

    async def _write(
        self, host: str, section: Section, version: str | None, verify: Callable[[], None], *, fresh: bool
    ) -> Record:
        """By compare-and-swap in any case: `Ready` follows from what the other stages say at that moment."""
        found = await self._found(host, fresh=fresh)
        if found is None:
            if version not in (None, ABSENT):
                raise StaleRecord(f"VCenter {host}: deleted since it was read")
            verify()
            found = await self._create(host, anyhow=version is None)
        elif version is not None and found["metadata"]["resourceVersion"] != version:
            raise StaleRecord(f"VCenter {host}: changed since it was read")
        status = found.get("status") or {}
        wanted = section_status(status, section, datetime.now(UTC))
        if states_already(status, wanted, section.stage):
            if version is None or fresh or self._view is None:
                return self._record(found)
            # Nothing is sent that the server would refuse: what is known may be behind, so it is asked.
            return await self._write(host, section, version, verify, fresh=True)
        verify()
        written = self._seen(await self._apply(host, section, wanted, found["metadata"]["resourceVersion"]))
        await self._tell(found, status, wanted)
        return self._record(written)

    def _all(self, resources: Iterable[Mapping[str, Any]]) -> Sequence[Record]:
        records = [self._record(each) for each in resources]
        self._records = {each.host: each for each in records}
        return records

    def _record(self, resource: Mapping[str, Any]) -> Record:
        """Each version is made a record of once, which takes a millisecond, and looked at often."""
        metadata = resource["metadata"]
        known = self._records.get(metadata["name"])
        if known is None or (known.uid, known.version) != (metadata["uid"], metadata["resourceVersion"]):
            known = self._records[metadata["name"]] = record_of(resource)
        return known

    async def _tell(self, resource: Mapping[str, Any], status: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        for notice in notices(status.get("conditions") or (), wanted["conditions"], datetime.now(UTC)):
            await self._events.tell(resource, notice.type, notice.reason, notice.note)
        if is_disconnected(wanted["conditions"]):
            host = resource["metadata"]["name"]
            self._events.after(LASTING + 1, host, lambda: self._tell_what_lasts(host))

    async def _tell_what_lasts(self, host: str) -> None:
        found = await self._api.get(self._vcenters.path(host)) or {}
        for notice in lasting((found.get("status") or {}).get("conditions") or (), datetime.now(UTC)):
            await self._events.tell(found, notice.type, notice.reason, notice.note)

    async def _create(self, host: str, *, anyhow: bool) -> dict[str, Any]:
        """The new resource; or, if `anyhow`, the one that somebody made meanwhile."""
        try:
            return await self._api.create(self._vcenters.path(), self._resource(host), field_manager=FIELD_MANAGER)
        except Conflict:
            if not anyhow:
                raise StaleRecord(f"VCenter {host}: made since it was looked for") from None
            found = await self._api.get(self._vcenters.path(host))
            if found is None:
                raise
            return found

    async def _apply(self, host: str, section: Section, wanted: dict[str, Any], version: str) -> dict[str, Any]:
        body = self._resource(host) | {"status": wanted}
        body["metadata"]["resourceVersion"] = version
        try:
            return await self._api.apply(
                self._vcenters.path(host, "status"), body, field_manager=f"{FIELD_MANAGER}-{section.stage}"
            )
        except (Conflict, NotFound) as error:
            raise StaleRecord(f"VCenter {host}: changed since it was read ({error})") from None

    def _resource(self, host: str) -> dict[str, Any]:
        metadata = {"name": host, "namespace": self._vcenters.namespace}
        return {"apiVersion": API_VERSION, "kind": VCENTER_KIND, "metadata": metadata}
