"""A collection of the API server, listed and then watched for as long as the process runs: the loop without the state.

What is done with lists and events is up to the subclass: `watching.Watcher` keeps whole objects, `live.LiveView` what
little of them is needed.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from typing import Any, Self

import aiohttp
from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.errors import OperatorError
from vcenter_operator.common.kubernetes.api import JSON, ONE_METADATA, Api, Listing, Resource
from vcenter_operator.common.kubernetes.errors import (
    Expired,
    Unavailable,
    Unreachable,
    of_status,
    outcome_of,
    translated,
)
from vcenter_operator.common.metrics import KUBERNETES, timed
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_WATCH_FOR = (100, 130)
"""Seconds after which the server ends a watch: spread, so that not all are made anew at once."""
_SILENT_FOR = 150.0
"""Seconds without a byte after which a watch counts as half-open. Longer than the server lets it live: an idle one may

get its only bookmark two seconds before its end. A peer that is gone is noticed sooner, by the connection's keep-alive.
"""
_LASTED = 5.0
"""Seconds after which a watch counts as having worked, so that the next failure is the first again."""
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0


class Follower(ABC):
    """Follows a collection while it is entered; while the server is away it is tried again, with backoff."""

    def __init__(self, client: ApiClient, resource: Resource, *, metadata_only: bool = False) -> None:
        self.resource = resource
        self._client = client
        self._api = Api(client)
        self._metadata_only = metadata_only
        self._task: asyncio.Task[None] | None = None
        self._current = False
        self._attempted = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def start(self) -> None:
        """Begins to follow."""
        self._task = asyncio.create_task(self._keep_current(), name=f"watch {self.resource.plural}")

    def cancel(self) -> None:
        """Nothing more is taken over from now on."""
        if self._task is not None:
            self._task.cancel()
        self._current = False

    async def stop(self) -> None:
        """Ends the watch."""
        self.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def current(self) -> bool:
        """Whether the collection was listed, and nothing is known to be wrong with the watch since.

        The other side may be gone without a word: then it takes the connection's timeouts to notice.
        """
        return self._current

    async def attempted(self) -> bool:
        """Waits until it was tried to list it; whether it is current by then."""
        await self._attempted.wait()
        return self._current

    @property
    @abstractmethod
    def revision(self) -> int:
        """The resourceVersion up to which everything was taken over."""

    def kept(self, item: dict[str, Any]) -> Any:
        """What a list has of an object."""
        return item

    @abstractmethod
    def listed(self, listing: Listing, *, anyhow: bool) -> None:
        """Takes over a list of what is `kept`.

        `anyhow`: also one that is older than what the watch has shown. The server was set back then.
        """

    @abstractmethod
    def happened(self, kind: str, item: dict[str, Any]) -> None:
        """Takes over an event (`ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`)."""

    async def _read(self) -> Listing:
        return await self._api.list(
            self.resource.path(),
            label_selector=self.resource.label_selector,
            field_selector=self.resource.field_selector,
            metadata_only=self._metadata_only,
            kept=self.kept,
        )

    async def _keep_current(self) -> None:
        delay = _FIRST_DELAY
        while True:
            began = time.monotonic()
            try:
                if not self._current:
                    self.listed(await self._read(), anyhow=True)
                    self._current = True
                    self._attempted.set()
                self._current = await self._follow()
            except Expired:
                self._current = False
            except OperatorError as error:
                log.warning("watch interrupted", kind=self.resource.plural, error=str(error), again_in=round(delay, 1))
                self._current = False
            except Exception:
                log.exception("watch failed", kind=self.resource.plural, again_in=round(delay, 1))
                self._current = False
            self._attempted.set()
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
                self.happened(event["type"], event["object"])
        return shown

    async def _events(self) -> AsyncGenerator[dict[str, Any], None]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(self.revision),
            "timeoutSeconds": str(random.randint(*_WATCH_FOR)),  # noqa: S311
        }
        if self.resource.label_selector:
            query["labelSelector"] = self.resource.label_selector
        if self.resource.field_selector:
            query["fieldSelector"] = self.resource.field_selector
        path = self.resource.path()
        with timed(KUBERNETES, "watch", outcome_of), translated(f"watch {path}"):
            response: aiohttp.ClientResponse = await self._client.call_api(
                path,
                "GET",
                query_params=list(query.items()),
                header_params={"Accept": ONE_METADATA if self._metadata_only else JSON},
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENT_FOR),
            )
            if response.status != 200:
                with closing(response):
                    raise of_status(response.status, await _refusal(response), f"watch {path}")
        try:
            with translated(f"watch {path}"):
                async for line in response.content:
                    yield _event(line)
        finally:
            response.close()


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
