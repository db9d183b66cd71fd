"""The renderer on an in-process bus, between a collector and an applier that do as told."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes.record import MemoryStore
from tests.unit.renderer.region import CELLS, HOST, SURROUNDINGS, configuration, inventory
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.bus.port import Ownership, Topology
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.errors import BusUnavailable, TransientError
from vcenter_operator.common.events import EventType, Silence
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import Inventory, ManifestDelta, ResyncRequest, Stage, Statement
from vcenter_operator.common.watching import Snapshot
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.rendering import Rendered, render
from vcenter_operator.renderer.core.templates import Template, TemplateSet
from vcenter_operator.renderer.inputs import WatchedInputs
from vcenter_operator.renderer.ports import Job
from vcenter_operator.renderer.reporting import Pace, Reporting
from vcenter_operator.renderer.rollingout import RollingOut
from vcenter_operator.renderer.service import RendererService
from vcenter_operator.renderer.vcenter import Setting

MINUTE = 60.0
QUICK = Pace(settle=0.02, longest=20.0, between=0.0, knows_all=0.3)


async def becomes(condition: Callable[[], object], what: str, within: float = 10.0) -> None:
    """Returns once the condition holds; fails when it does not in time."""
    try:
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}") from None


class FakeWatched:
    """Keeps the port `Watched` over objects that a test sets."""

    def __init__(self, objects: Iterable[dict[str, Any]] = ()) -> None:
        self._news = asyncio.Condition()
        self._count = 0
        self.fresh_lists = 0
        self.away: Exception | None = None
        self.snapshot: Snapshot | None = None
        self.position = 100
        self._objects = list(objects)

    def hold(self, *objects: dict[str, Any]) -> None:
        """These objects are there from now on; whoever watches is told."""
        self._objects = list(objects)
        self._changed()

    def moved(self) -> None:
        """The position moves, as it does in a cluster where other things happen."""
        self.position += 10
        if self.snapshot is not None:
            self.snapshot = Snapshot(self.snapshot.items, self.position)

    def hold_again(self) -> None:
        """Something of an object changed."""
        self._objects = [copy.deepcopy(each) for each in self._objects]
        self._changed()

    def named(self, key: str) -> dict[str, Any]:
        """One of the objects, by namespace and name."""
        namespace, _, name = key.partition("/")
        wanted = {"namespace": namespace, "name": name}
        return next(each for each in self._objects if each["metadata"].items() >= wanted.items())

    def _changed(self) -> None:
        self.position += 1
        items = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in self._objects}
        self.snapshot = Snapshot(items, self.position)
        self._count += 1
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def fresh(self) -> Snapshot:
        """See `Watched.fresh`."""
        if self.away is not None:
            raise self.away
        self.fresh_lists += 1
        await asyncio.sleep(0)
        if self.snapshot is None:
            self._changed()
        assert self.snapshot is not None
        return self.snapshot

    async def changes(self) -> AsyncIterator[Snapshot]:
        """See `Watched.changes`."""
        seen = 0
        while True:
            async with self._news:
                while self._count == seen:
                    await self._news.wait()
            seen = self._count
            assert self.snapshot is not None
            yield self.snapshot


class FakeConfiguration:
    """Keeps the port `ConfigurationSource`."""

    def __init__(self, configuration: Configuration) -> None:
        self._changed = asyncio.Event()
        self.configuration = configuration
        self.unseen: Configuration | None = None
        """What it has become, while the watch is behind."""
        self.problem: Exception | None = None

    def becomes(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._changed.set()

    async def current(self) -> Configuration:
        """See `ConfigurationSource.current`."""
        if self.problem is not None:
            raise self.problem
        return self.configuration

    async def fresh(self) -> Configuration:
        """See `ConfigurationSource.fresh`."""
        self.configuration, self.unseen = self.unseen or self.configuration, None
        return await self.current()

    async def changes(self) -> AsyncIterator[Configuration]:
        """See `ConfigurationSource.changes`."""
        while True:
            yield self.configuration
            await self._changed.wait()
            self._changed.clear()


class InlineEngine:
    """Keeps the port `Engine` in this process, and counts."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, str]] = []
        self.waits_for: asyncio.Event | None = None
        self.waiting = False
        self.instead: dict[str, Rendered] = {}

    async def render(self, templates: TemplateSet, jobs: Sequence[Job], *, master_password: str) -> list[Rendered]:
        """See `Engine.render`."""
        library = Library(lambda username, host: f"{username}@{host}", max_output=Policy().max_output)
        library.replace(templates)
        if self.waits_for is not None:
            self.waiting = True
            await self.waits_for.wait()
            self.waiting = False
        self.jobs += [(job.path, job.variables["name"]) for job in jobs]
        return [
            self.instead.get(job.path) or render(library, templates[job.path], job.variables, Policy()) for job in jobs
        ]


class Board:
    """Keeps the port `TemplateStatus` in the objects of a `FakeWatched`, as the API server does, and the writes."""

    def __init__(self, templates: FakeWatched) -> None:
        self._templates = templates
        self.writes: list[tuple[str, int | None]] = []
        """Template and partition, None: the summary."""
        self.failing: Exception | None = None

    async def state_partition(self, template: Template, partition: int, entry: Mapping[str, Any] | None) -> None:
        """See `TemplateStatus.state_partition`."""
        status = self.status(template.key)
        entries = [each for each in status.get("partitions", ()) if each["partition"] != partition]
        self._write(template, partition, {**status, "partitions": [*entries, *([entry] if entry else [])]})

    async def state_summary(self, template: Template, status: Mapping[str, Any]) -> None:
        """See `TemplateStatus.state_summary`."""
        known = self.status(template.key)
        kept = {name: known[name] for name in known if name in ("partitions", "rollout")}
        self._write(template, None, {**kept, **status})

    async def state_rollout(self, template: Template, rollout: Mapping[str, Any] | None, *, version: str) -> bool:
        """See `TemplateStatus.state_rollout`."""
        status = {name: each for name, each in self.status(template.key).items() if name != "rollout"}
        self._write(template, None, {**status, **({"rollout": dict(rollout)} if rollout else {})})
        return True

    def status(self, key: str) -> dict[str, Any]:
        """What stands there."""
        found: dict[str, Any] = self._templates.named(key).get("status", {})
        return found

    def _write(self, template: Template, partition: int | None, status: dict[str, Any]) -> None:
        if self.failing is not None:
            raise self.failing
        self.writes.append((template.key, partition))
        self._templates.named(template.key)["status"] = status
        self._templates.hold_again()

    def condition(self, key: str) -> dict[str, Any]:
        """The condition Rendered; empty: there is none."""
        conditions = self.status(key).get("conditions", ())
        return next((dict(each) for each in conditions if each["type"] == "Rendered"), {})


class ToldEvents(Silence):
    """Keeps the port `Events`: type and reason, and the name of what they are about."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str, str]] = []

    async def tell(self, regarding: Mapping[str, Any], type_: EventType, reason: str, note: str) -> None:
        self.told.append((regarding["metadata"]["name"], type_, reason, note))


class MemoryEpochs:
    """Counts up in memory."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}

    async def raise_epoch(self, name: str) -> int:
        self.epochs[name] = self.epochs.get(name, 0) + 1
        return self.epochs[name]


class BreakableBus(InProcessBus):
    """A bus that keeps what was published, since receivers skip what is superseded, and fails as told."""

    def __init__(self, broker: Broker, epochs: MemoryEpochs, published: list[Statement]) -> None:
        super().__init__(broker, epochs, stop_within=1.0)
        self.published = published
        self.failures = 0

    async def publish(self, statement: Statement) -> None:
        if self.failures:
            self.failures -= 1
            raise BusUnavailable("the broker is away")
        self.published.append(statement)
        await super().publish(statement)


class Recorder:
    """A consumer that keeps what it is told; as a collector it answers a resync with what it `knows`."""

    def __init__(self, bus: InProcessBus) -> None:
        self._bus = bus
        self.statements: list[Statement] = []
        self.requests: list[ResyncRequest] = []
        self.knows: dict[str, Inventory] = {}

    async def take(self, ownership: Ownership) -> None:
        return

    async def release(self, ownership: Ownership) -> None:
        return

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        self.statements.append(statement)

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        self.requests.append(request)
        for known in self.knows.values():
            if self._bus.topology.partition(Stage.COLLECTOR, known.host) == ownership.partition:
                await self._bus.publish(known)


class Scene:
    """Everything around one renderer."""

    def __init__(self) -> None:
        self.broker = Broker(Topology(partitions=2))
        self.epochs = MemoryEpochs()
        self.bus = BreakableBus(self.broker, self.epochs, [])
        self.templates = FakeWatched()
        self.cells = FakeWatched(CELLS_AS_LISTED)
        self.configuration = FakeConfiguration(configuration())
        self.engine: Any = InlineEngine()
        self.neighbours = InProcessBus(self.broker, self.epochs)
        self.collector = Recorder(self.neighbours)
        self.applier = Recorder(self.neighbours)
        self.service: RendererService | None = None
        self.store = MemoryStore()
        self.board = Board(self.templates)
        self.tells_templates = False
        """Whether templates are told of in their status: that moves positions."""
        self.events = ToldEvents()
        self.grace = 0.0
        """Seconds for which a template that went may be back."""

    @asynccontextmanager
    async def renderer(
        self, *templates: dict[str, Any], repeat_every: float = MINUTE
    ) -> AsyncIterator[RendererService]:
        """A running renderer that owns every partition, with these templates."""
        if templates:
            self.templates.hold(*templates)
        inputs = WatchedInputs(
            self.templates, self.cells, self.configuration, grace=self.grace, rolls_out=self.tells_templates
        )
        setting = Setting(self.engine, SURROUNDINGS, Policy())
        board = self.board if self.tells_templates else None
        reporting = Reporting(self.store, self.templates, inputs, board, self.events, partitions=2, pace=QUICK)
        rolling_out = RollingOut(self.store, self.templates, inputs, board, self.events, every=0.02)
        self.service = service = RendererService(
            self.bus, inputs, setting, reporting, rolling_out, self.store, repeat_every=repeat_every
        )
        tasks = [
            asyncio.create_task(self.neighbours.serve(Stage.COLLECTOR, self.collector)),
            asyncio.create_task(self.neighbours.serve(Stage.APPLIER, self.applier)),
        ]
        owned = {(stage, partition) for stage in (Stage.COLLECTOR, Stage.APPLIER) for partition in range(2)}
        await becomes(lambda: owned <= self.broker.owners.keys(), "the neighbours are there")
        tasks.append(asyncio.create_task(service.run()))
        try:
            yield service
        finally:
            for task in reversed(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def taken(self) -> None:
        """The renderer owns its partitions."""
        await becomes(lambda: {request.partition for request in self.collector.requests} == {0, 1}, "asked for all")

    async def tell(self, **fields: Any) -> None:
        """The collector states an inventory."""
        await self.neighbours.publish(inventory(**fields))

    def deltas(self, host: str = HOST) -> list[ManifestDelta]:
        """What the renderer has stated on a vCenter."""
        return [each for each in self.bus.published if isinstance(each, ManifestDelta) and each.host == host]

    async def delta(self, number: int, host: str = HOST) -> ManifestDelta:
        """The so-manieth delta, from 1."""
        await becomes(lambda: len(self.deltas(host)) >= number, f"delta {number} on {host}")
        return self.deltas(host)[number - 1]

    def opened(self, delta: ManifestDelta) -> dict[ObjectId, dict[str, Any]]:
        """The manifests of a delta."""
        keyring = self.configuration.configuration.keyring
        return {
            object_id: keyring.open(delta.host, object_id, delta.index[object_id].digest, body)
            for object_id, body in delta.manifests.items()
        }


CELLS_AS_LISTED = [{**each, "metadata": each["metadata"] | {"uid": "cells", "resourceVersion": "5"}} for each in CELLS]


def unreachable() -> TransientError:
    return TransientError("the API server is away")


@pytest.fixture
async def scene() -> Scene:
    return Scene()
