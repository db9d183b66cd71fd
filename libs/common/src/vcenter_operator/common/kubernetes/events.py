"""Events (events.k8s.io/v1) at the objects that they are about."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.errors import OperatorError
from vcenter_operator.common.events import EventType
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.errors import Conflict
from vcenter_operator.common.labels import FIELD_MANAGER
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

EVENTS = Resource("events.k8s.io", "v1", "events")
CONTROLLER = f"{FIELD_MANAGER}.stable.sap.cc"

_LONGEST_NOTE = 1000
"""Characters; the API takes 1 kB."""
_WAITING = 200
"""Events that wait for the server; any more are left out."""
_REMEMBERED = 1000
_COUNTED_EVERY = 60.0
"""Seconds within which the same is counted once."""
_BURST, _EVERY = 30, 10.0
"""So many at once, and one for so many seconds after that: a region where everything fails is told of by conditions."""


@dataclass(frozen=True)
class _Told:
    """One Event as it is to be."""

    regarding: Mapping[str, Any]
    type: EventType
    reason: str
    note: str

    @property
    def namespace(self) -> str:
        return str(self.regarding.get("namespace") or "default")

    @property
    def name(self) -> str:
        """The same for the same, in every replica and after a restart: so it is counted instead of told again."""
        said = "\n".join((str(self.regarding.get("uid")), self.type, self.reason, self.note))
        return f"{self.regarding['name'][:200]}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"


class _Budget(NamedTuple):
    left: float
    at: float


class KubernetesEvents:
    """`Events` for real, while it is entered: told by a task of its own. See `Events.tell`."""

    def __init__(self, client: ApiClient) -> None:
        self._api = Api(client, timeout=10.0)
        self._instance = socket.gethostname()[:128]
        self._queue: asyncio.Queue[_Told] = asyncio.Queue(_WAITING)
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._budget = _Budget(_BURST, time.monotonic())
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failing = self._flooded = False

    async def __aenter__(self) -> Self:
        self._tasks[""] = asyncio.create_task(self._deliver(), name="events")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def tell(self, regarding: Mapping[str, Any], type_: EventType, reason: str, note: str) -> None:
        """See `Events.tell`."""
        metadata = regarding["metadata"]
        reference = {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            **{name: metadata[name] for name in ("name", "namespace", "uid") if metadata.get(name)},
        }
        told = _Told(reference, type_, reason, note[:_LONGEST_NOTE])
        if self._is_repeated(told.name) or not self._affordable():
            return
        try:
            self._queue.put_nowait(told)
        except asyncio.QueueFull:
            log.info("events wait for the API server: one is left out", reason=reason, note=told.note)

    def after(self, seconds: float, subject: str, look: Callable[[], Awaitable[None]]) -> None:
        """See `Events.after`."""
        if subject in self._tasks:
            return

        async def later() -> None:
            await asyncio.sleep(seconds)
            try:
                await look()
            except OperatorError as error:
                log.info("whether it lasts cannot be told", subject=subject, error=str(error))
            finally:
                del self._tasks[subject]

        self._tasks[subject] = asyncio.create_task(later(), name=f"lasting {subject}")

    def _is_repeated(self, name: str) -> bool:
        now = time.monotonic()
        if now - self._seen.get(name, -_COUNTED_EVERY) < _COUNTED_EVERY:
            return True
        self._seen[name] = now
        self._seen.move_to_end(name)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def _affordable(self) -> bool:
        now = time.monotonic()
        left = min(_BURST, self._budget.left + (now - self._budget.at) / _EVERY)
        affordable = left >= 1
        self._budget = _Budget(left - 1 if affordable else left, now)
        if not affordable and not self._flooded:
            log.warning("too many events at once: the rest is left out, and is in the conditions")
        self._flooded = not affordable
        return affordable

    async def _deliver(self) -> None:
        while True:
            told = await self._queue.get()
            try:
                await self._write(told)
                self._failing = False
            except OperatorError as error:
                if not self._failing:
                    log.warning("events cannot be told", error=str(error))
                self._failing = True
            except Exception:
                log.exception("unexpected error")

    async def _write(self, told: _Told) -> None:
        path, now = EVENTS.path(namespace=told.namespace), _now()
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": told.name, "namespace": told.namespace},
            "eventTime": now,
            "type": told.type,
            "reason": told.reason,
            "note": told.note,
            "action": told.reason,
            "regarding": told.regarding,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
        }
        try:
            await self._api.create(path, body, field_manager=FIELD_MANAGER)
        except Conflict:
            await self._count(EVENTS.path(told.name, namespace=told.namespace), now)

    async def _count(self, path: str, now: str) -> None:
        """It was told within the hour that the server keeps it."""
        if (found := await self._api.get(path)) is None:
            return
        count = int((found.get("series") or {}).get("count") or 1) + 1
        series = {"series": {"count": count, "lastObservedTime": now}}
        await self._api.merge_patch(path, series, field_manager=FIELD_MANAGER)


def _now() -> str:
    """RFC 3339 with microseconds, as the API wants an Event's times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
