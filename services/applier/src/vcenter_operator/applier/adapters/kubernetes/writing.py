"""The only place from which requests that change something leave, each with its guard called right before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from vcenter_operator.applier.ports import Guard
from vcenter_operator.common.kubernetes.api import Api
from vcenter_operator.common.labels import FIELD_MANAGER

PARENT_MANAGER = f"{FIELD_MANAGER}-applyset"
"""Field manager of the ApplySet's metadata on its parent: apart from that of what is rendered."""


class Writes(Protocol):
    """The verbs that change something."""

    async def apply(self, guard: Guard, path: str, body: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
        """Server-side apply of an object; the answer has at least its metadata."""
        ...

    async def apply_parent(self, guard: Guard, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Server-side apply of an ApplySet's metadata on its parent; the answer is the whole parent."""
        ...

    async def replace(self, guard: Guard, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT."""
        ...

    async def patch(self, guard: Guard, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """JSON merge patch."""
        ...

    async def delete(self, guard: Guard, path: str, *, uid: str, version: str) -> None:
        """DELETE of exactly this object, in the background; gone already is fine."""
        ...


class RealWrites:
    """They happen."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def apply(self, guard: Guard, path: str, body: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
        """See `Writes.apply`: what was sent is not sent back, of which a Secret is the least wanted."""
        guard()
        return await self._api.apply(path, body, field_manager=FIELD_MANAGER, force=force, metadata_only=True)

    async def apply_parent(self, guard: Guard, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Writes.apply_parent`."""
        guard()
        return await self._api.apply(path, body, field_manager=PARENT_MANAGER)

    async def replace(self, guard: Guard, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Writes.replace`."""
        guard()
        return await self._api.replace(path, body, field_manager=FIELD_MANAGER)

    async def patch(self, guard: Guard, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Writes.patch`."""
        guard()
        return await self._api.merge_patch(path, body, field_manager=FIELD_MANAGER)

    async def delete(self, guard: Guard, path: str, *, uid: str, version: str) -> None:
        """See `Writes.delete`."""
        guard()
        await self._api.delete(path, uid=uid, resource_version=version, propagation="Background")


class DryRunWrites:
    """The server checks them, and changes nothing: each is sent with `dryRun=All`, whatever the caller says."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def apply(self, guard: Guard, path: str, body: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
        """See `Writes.apply`: the answer is all that the object would be."""
        guard()
        return await self._api.apply(path, body, field_manager=FIELD_MANAGER, force=force, dry_run=True)

    async def apply_parent(self, guard: Guard, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Writes.apply_parent`."""
        guard()
        return await self._api.apply(path, body, field_manager=PARENT_MANAGER, dry_run=True)

    async def replace(self, guard: Guard, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Writes.replace`."""
        guard()
        return await self._api.replace(path, body, field_manager=FIELD_MANAGER, dry_run=True)

    async def patch(self, guard: Guard, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Writes.patch`."""
        guard()
        return await self._api.merge_patch(path, body, field_manager=FIELD_MANAGER, dry_run=True)

    async def delete(self, guard: Guard, path: str, *, uid: str, version: str) -> None:
        """See `Writes.delete`."""
        guard()
        await self._api.delete(path, uid=uid, resource_version=version, propagation="Background", dry_run=True)
