"""The record as `VCenter` resources in the operator's own namespace."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.errors import StaleRecord
from vcenter_operator.common.kubernetes.api import Api
from vcenter_operator.common.kubernetes.crds import VCENTERS
from vcenter_operator.common.kubernetes.errors import Conflict, NotFound
from vcenter_operator.common.labels import API_VERSION, FIELD_MANAGER, VCENTER_KIND
from vcenter_operator.common.record.document import record_of, section_status, states_already
from vcenter_operator.common.record.port import Record, Section


class KubernetesStore:
    """A `Store`. Each stage applies its section as a field manager of its own, so that none touches another's.

    `version` is the resourceVersion: it moves with every write to the resource, whoever wrote.
    `missing_is_empty`: where the CRD does not exist, there are no records (for a dry run, which does not create it).
    """

    def __init__(self, client: ApiClient, namespace: str, *, missing_is_empty: bool = False) -> None:
        self._api = Api(client)
        self._vcenters = replace(VCENTERS, namespace=namespace)
        self._missing_is_empty = missing_is_empty

    async def list(self) -> list[Record]:
        """See `Store.list`."""
        try:
            listing = await self._api.list(self._vcenters.path())
        except NotFound:
            if self._missing_is_empty:
                return []
            raise
        return [record_of(item) for item in listing.items]

    async def get(self, host: str) -> Record | None:
        """See `Store.get`."""
        found = await self._api.get(self._vcenters.path(host))
        return None if found is None else record_of(found)

    async def write(self, host: str, section: Section, *, version: str | None = None) -> Record:
        """See `Store.write`."""
        found = await self._api.get(self._vcenters.path(host))
        if found is None:
            if version is not None:
                raise StaleRecord(f"VCenter {host}: deleted since it was read")
            found = await self._create(host)
        elif version is not None and found["metadata"]["resourceVersion"] != version:
            raise StaleRecord(f"VCenter {host}: changed since it was read")
        status = found.get("status") or {}
        wanted = section_status(status, section, datetime.now(UTC))
        if states_already(status, wanted, section.stage):
            return record_of(found)
        return record_of(await self._apply(host, section, wanted, version))

    async def _create(self, host: str) -> dict[str, Any]:
        try:
            return await self._api.create(self._vcenters.path(), self._resource(host), field_manager=FIELD_MANAGER)
        except Conflict:
            found = await self._api.get(self._vcenters.path(host))
            if found is None:
                raise
            return found

    async def _apply(self, host: str, section: Section, wanted: dict[str, Any], version: str | None) -> dict[str, Any]:
        body = self._resource(host) | {"status": wanted}
        if version is not None:
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
