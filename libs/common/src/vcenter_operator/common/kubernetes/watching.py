"""Collections of the API server, listed once and then watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.kubernetes.api import Listing, Resource
from vcenter_operator.common.kubernetes.following import Follower
from vcenter_operator.common.watching import Key, Snapshot, Watched, version_of

__all__ = ["Resource", "Snapshot", "Watched", "Watcher", "version_of", "watch"]

COALESCE = 0.05
"""Seconds for which what follows a change is gathered. The change itself is told at once."""
FRESH_WITHIN = 30.0
"""Seconds within which a fresh list has to be there."""


class _State:
    """The objects, and the resourceVersion that they are at."""

    def __init__(self) -> None:
        self.items: dict[Key, dict[str, Any]] = {}
        self.revision = 0
        self.position = 0
        self.listed_once = False

    def listed(self, listing: Listing, *, anyhow: bool = False) -> bool:
        """Takes over a list; says whether it differs. One older than what the watch has shown meanwhile tells nothing

        new, and is taken over only `anyhow`: where no watch runs, an older list means that the server was set back.
        """
        self.position = max(self.position, listing.resource_version)
        if listing.resource_version < self.revision and not anyhow:
            return False
        items = {_key(item): item for item in listing.items}
        differs = not self.listed_once or _versions(items) != _versions(self.items)
        self.items, self.revision, self.listed_once = items, listing.resource_version, True
        return differs

    def happened(self, kind: str, item: dict[str, Any]) -> bool:
        """Takes over an event of the watch; says whether it changed the objects."""
        revision = int(item["metadata"]["resourceVersion"])
        if revision <= self.revision:
            return False
        self.revision = revision
        if kind == "BOOKMARK":
            return False
        self.position = max(self.position, revision)
        if kind == "DELETED":
            self.items.pop(_key(item), None)
        else:
            self.items[_key(item)] = item
        return True


class Watcher(Follower):
    """Keeps the state of a collection current while it is entered. See `Watched`.

    While the server is away the last state stays, and it is tried again with backoff.
    """

    def __init__(self, client: ApiClient, resource: Resource) -> None:
        super().__init__(client, resource)
        self._state = _State()
        self._snapshot: Snapshot | None = None
        self._version = 0
        self._next = asyncio.Event()

    @property
    def revision(self) -> int:
        """See `Follower.revision`."""
        return self._state.revision

    def listed(self, listing: Listing, *, anyhow: bool) -> None:
        """See `Follower.listed`."""
        if self._state.listed(listing, anyhow=anyhow):
            self._changed()

    def happened(self, kind: str, item: dict[str, Any]) -> None:
        """See `Follower.happened`."""
        if self._state.happened(kind, item):
            self._changed()

    @property
    def snapshot(self) -> Snapshot | None:
        """See `Watched.snapshot`."""
        state = self._state
        if not state.listed_once:
            return None
        if self._snapshot is None:
            self._snapshot = Snapshot(dict(state.items), state.position)
        elif self._snapshot.position != state.position:
            self._snapshot = replace(self._snapshot, position=state.position)
        return self._snapshot

    async def fresh(self) -> Snapshot:
        """See `Watched.fresh`. Within 30 s or TransientError.

        A list that is older than what was known when it was asked for: the server was set back, and is believed.
        """
        known = self.revision
        try:
            async with asyncio.timeout(FRESH_WITHIN):
                listing = await self._read()
        except TimeoutError:
            raise TransientError(f"{self.resource.plural} could not be listed within {FRESH_WITHIN:.0f} s") from None
        self.listed(listing, anyhow=listing.resource_version < known)
        snapshot = self.snapshot
        assert snapshot is not None
        return snapshot

    async def changes(self) -> AsyncIterator[Snapshot]:
        """See `Watched.changes`."""
        seen = 0
        told_at = -COALESCE
        while True:
            while self._version == seen:
                await self._next.wait()
            await asyncio.sleep(told_at + COALESCE - time.monotonic())
            seen, told_at = self._version, time.monotonic()
            if (snapshot := self.snapshot) is not None:
                yield snapshot

    def _changed(self) -> None:
        self._snapshot = None
        self._version += 1
        self._next.set()
        self._next = asyncio.Event()


async def watch(client: ApiClient, resource: Resource) -> AsyncIterator[Snapshot]:
    """The state of a collection, then the newest state after each change, for a single consumer."""
    async with Watcher(client, resource) as watcher:
        async for snapshot in watcher.changes():
            yield snapshot


def _key(item: Mapping[str, Any]) -> Key:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _versions(items: Mapping[Key, Mapping[str, Any]]) -> dict[Key, str]:
    return {key: item["metadata"]["resourceVersion"] for key, item in items.items()}
