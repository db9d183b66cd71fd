"""Collections of the API server, listed once and then watched."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Self

import aiohttp
from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.errors import OperatorError, TransientError
from vcenter_operator.common.kubernetes.api import Api, Listing, Resource
from vcenter_operator.common.kubernetes.errors import Expired, Unavailable, Unreachable, of_status, translated
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.watching import Key, Snapshot, Watched, version_of

__all__ = ["Resource", "Snapshot", "Watched", "Watcher", "version_of", "watch"]

log = logger(__name__)

COALESCE = 0.05
"""Seconds for which a burst of changes is gathered."""
FRESH_WITHIN = 30.0
"""Seconds within which a fresh list has to be there."""

_WATCH_FOR = (100, 130)
"""Seconds after which the server ends a watch: spread, so that not all are made anew at once."""
_SILENT_FOR = 150.0
"""Seconds without a byte after which a watch counts as half-open. Longer than the server lets it live: an idle one may

get its only bookmark two seconds before its end. A peer that is gone is noticed sooner, by the connection's keep-alive.
"""
_LASTED = 5.0
"""Seconds after which a watch counts as having worked, so that the next failure is the first again."""
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0


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


class Watcher:
    """Keeps the state of a collection current while it is entered. See `Watched`.

    While the server is away the last state stays, and it is tried again with backoff.
    """

    def __init__(self, client: ApiClient, resource: Resource) -> None:
        self.resource = resource
        self._client = client
        self._api = Api(client)
        self._state = _State()
        self._snapshot: Snapshot | None = None
        self._version = 0
        self._next = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_current(), name=f"watch {self.resource.plural}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

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
        """See `Watched.fresh`. Within 30 s or TransientError."""
        try:
            async with asyncio.timeout(FRESH_WITHIN):
                await self._list()
        except TimeoutError:
            raise TransientError(f"{self.resource.plural} could not be listed within {FRESH_WITHIN:.0f} s") from None
        snapshot = self.snapshot
        assert snapshot is not None
        return snapshot

    async def changes(self) -> AsyncIterator[Snapshot]:
        """See `Watched.changes`."""
        seen = 0
        while True:
            while self._version == seen:
                await self._next.wait()
            if seen:
                await asyncio.sleep(COALESCE)
            seen = self._version
            if (snapshot := self.snapshot) is not None:
                yield snapshot

    def _changed(self) -> None:
        self._snapshot = None
        self._version += 1
        self._next.set()
        self._next = asyncio.Event()

    async def _list(self, *, anyhow: bool = False) -> None:
        listing = await self._api.list(
            self.resource.path(),
            label_selector=self.resource.label_selector,
            field_selector=self.resource.field_selector,
        )
        if self._state.listed(listing, anyhow=anyhow):
            self._changed()

    async def _keep_current(self) -> None:
        delay = _FIRST_DELAY
        current = False
        while True:
            began = time.monotonic()
            try:
                if not current:
                    await self._list(anyhow=True)
                current = await self._follow()
            except Expired:
                current = False
            except OperatorError as error:
                log.warning("watch interrupted", kind=self.resource.plural, error=str(error), again_in=round(delay, 1))
                current = False
            except Exception:
                log.exception("watch failed", kind=self.resource.plural, again_in=round(delay, 1))
                current = False
            delay = _FIRST_DELAY if time.monotonic() - began > _LASTED else min(delay * 2, _LONGEST_DELAY)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311

    async def _follow(self) -> bool:
        """One watch, to its end; False: it showed nothing at all, not even a bookmark, so that a list is due.

        A resourceVersion from the future yields nothing, in silence.
        """
        shown = False
        async with aclosing(self._events()) as events:
            async for event in events:
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise of_status(int(status.get("code") or 0), status, f"watch {self.resource.path()}")
                shown = True
                if self._state.happened(event["type"], event["object"]):
                    self._changed()
        return shown

    async def _events(self) -> AsyncGenerator[dict[str, Any], None]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(self._state.revision),
            "timeoutSeconds": str(random.randint(*_WATCH_FOR)),  # noqa: S311
        }
        if self.resource.label_selector:
            query["labelSelector"] = self.resource.label_selector
        if self.resource.field_selector:
            query["fieldSelector"] = self.resource.field_selector
        path = self.resource.path()
        with translated(f"watch {path}"):
            response: aiohttp.ClientResponse = await self._client.call_api(
                path,
                "GET",
                query_params=list(query.items()),
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENT_FOR),
            )
        try:
            if response.status != 200:
                raise of_status(response.status, await _refusal(response), f"watch {path}")
            with translated(f"watch {path}"):
                async for line in response.content:
                    yield _event(line)
        finally:
            response.close()


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


def _event(line: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        raise Unreachable("the connection broke in the middle of an event") from None
    return event


async def _refusal(response: aiohttp.ClientResponse) -> dict[str, Any]:
    with translated("watch"):
        text = await response.text()
    try:
        body = json.loads(text)
    except ValueError:
        raise Unavailable(f"watch: {response.status} {text[:200]}") from None
    return body if isinstance(body, dict) else {}
