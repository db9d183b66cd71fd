"""The applier stage on a folder and the bus inside the process, with a renderer that only listens."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.applier.given import OWN
from vcenter_operator.applier.adapters.embedded import FileFreeze, FolderCluster
from vcenter_operator.applier.core.decisions import Plan, Policy
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.ports import Cluster, Guard
from vcenter_operator.applier.service import ApplierService
from vcenter_operator.common.bus import Ownership, Topology
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.embedded.record import FolderStore
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta, ResyncRequest, Stage, Statement
from vcenter_operator.common.record.port import Applied, Condition, Store

SECRET = b"0123456789abcdef0123456789abcdef"


async def until(condition: Callable[[], Any], what: str = "the condition", within: float = 10.0) -> None:
    """Returns when the condition is true; fails after so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.01)


class Secrets:
    """A configuration with the bus key."""

    async def current(self) -> Configuration:
        key = base64.b64encode(SECRET).decode()
        return Configuration.parse({"username": "u", "password": "p", "bus_key": key})

    fresh = current

    def changes(self) -> AsyncIterator[Configuration]:
        raise AssertionError("the applier reads it when it needs it")


@dataclass
class Listening:
    """A renderer that keeps what it is asked, and says what it was told to."""

    requests: list[ResyncRequest] = field(default_factory=list)
    answer: Callable[[ResyncRequest], ManifestDelta | None] = lambda _: None
    bus: InProcessBus | None = None

    async def take(self, ownership: Ownership) -> None: ...

    async def release(self, ownership: Ownership) -> None: ...

    async def handle(self, statement: Statement, ownership: Ownership) -> None: ...

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        self.requests.append(request)
        if (answer := self.answer(request)) is not None:
            assert self.bus is not None
            await self.bus.publish(answer)


class Watched(FolderCluster):
    """A folder that counts what is written, and does what a test wants right before."""

    def __init__(self, folder: Path, before: Callable[[ObjectId], None] = lambda _: None) -> None:
        super().__init__(folder, OWN)
        self.before = before
        self.writes: list[ObjectId] = []

    async def apply(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> Observed:
        self.before(object_id)
        written = await super().apply(host, object_id, manifest, current, guard)
        self.writes.append(object_id)
        return written

    async def delete(self, current: Observed, guard: Guard) -> None:
        self.before(current.id)
        await super().delete(current, guard)
        self.writes.append(current.id)


class Region:
    """A folder, its record and the bus; stages come and go on it."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output"
        self.output.mkdir(exist_ok=True)
        self.store = FolderStore(folder / "records", namespace=OWN)
        self.broker = Broker(Topology(partitions=1))
        self.epochs = FolderEpochs(None)
        self.delays = RetryDelays(first=0.02, longest=0.1)
        self.renderer = Listening()
        self.plans: list[tuple[str, Plan, Outcome]] = []

    def bus(self) -> InProcessBus:
        return InProcessBus(self.broker, self.epochs, delays=self.delays, stop_within=1.0)

    @asynccontextmanager
    async def applier(
        self, cluster: Cluster | None = None, *, store: Store | None = None, policy: Policy | None = None, **more: Any
    ) -> AsyncIterator[ApplierService]:
        """The stage running, and the renderer that listens."""
        bus = self.bus()
        self.renderer.bus = bus
        service = ApplierService(
            bus,
            store or self.store,
            Secrets(),
            cluster or FolderCluster(self.output, OWN),
            FileFreeze(self.output),
            policy=policy,
            on_plan=lambda host, made, outcome: self.plans.append((host, made, outcome)),
            **more,
        )
        tasks = [
            asyncio.create_task(service.run()),
            asyncio.create_task(bus.serve(Stage.RENDERER, self.renderer)),
        ]
        try:
            yield service
            for task in tasks:
                assert not task.done(), task
        finally:
            await bus.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def state(self, *deltas: ManifestDelta) -> None:
        """Publishes deltas, without waiting."""
        bus = self.bus()
        for one in deltas:
            await bus.publish(one)

    async def applied(self, host: str) -> Applied | None:
        record = await self.store.get(host)
        return record.applied if record else None

    async def condition(self, host: str, kind: str = "Applied") -> Condition | None:
        applied = await self.applied(host)
        return next((one for one in (applied.conditions if applied else ()) if one.type == kind), None)

    async def shows(self, host: str, reason: str, kind: str = "Applied", within: float = 10.0) -> Condition:
        """Waits until the record shows a condition with this reason."""
        deadline = time.monotonic() + within
        while True:
            condition = await self.condition(host, kind)
            if condition is not None and condition.reason == reason:
                return condition
            assert time.monotonic() < deadline, f"{kind} is {condition}, not {reason}"
            await asyncio.sleep(0.01)

    def files(self) -> dict[str, str]:
        """What is in the output, but for the freeze and state."""
        while True:
            with suppress(FileNotFoundError):  # it went while it was read
                return {
                    str(path.relative_to(self.output)): path.read_text()
                    for path in sorted(self.output.glob("*/*"))
                    if path.is_file() and not path.name.startswith(".")
                }
