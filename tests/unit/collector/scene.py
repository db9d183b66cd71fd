"""The collector on an in-process bus, with vCenters, a record and a Secret that do as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes.record import MemoryStore
from tests.fakes.vcenter import FakeVCenter, FakeVCenters
from vcenter_operator.collector.ports import VCenters
from vcenter_operator.collector.service import CollectorService
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.bus.port import Ownership, Topology
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.errors import BusUnavailable, TransientError
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import DnsChange, Inventory, ResyncRequest, Stage, Statement
from vcenter_operator.common.record import Collected, Section
from vcenter_operator.common.record.port import Record, anybody

HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
OTHER = "vc-b-0.cc.qa-de-1.cloud.sap"


async def becomes(condition: Callable[[], object], what: str, within: float = 5.0) -> None:
    """Returns once the condition holds; fails when it does not in time."""
    try:
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}") from None


FIRST = Revision(1, 1)


def present(host: str = HOST, revision: Revision = FIRST, **more: Any) -> DnsChange:
    fields: dict[str, Any] = {"serial": 7, "addresses": ("10.0.0.1",), "present": True} | more
    return DnsChange(host=host, revision=revision, **fields)


class MemoryEpochs:
    """Counts up in memory."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}

    async def raise_epoch(self, name: str) -> int:
        self.epochs[name] = self.epochs.get(name, 0) + 1
        return self.epochs[name]


class Secret:
    """Keeps the port `ConfigurationSource`."""

    def __init__(self, password: str = "seed") -> None:
        self._changed = asyncio.Event()
        self._values = {"username": "operator", "password": password}
        self.configuration = Configuration.parse(self._values, 1)

    def set(self, password: str) -> None:
        """Changes the password in the Secret."""
        self.put(password=password)

    def put(self, **values: str) -> None:
        """Changes keys of the Secret."""
        self._values |= values
        self.configuration = Configuration.parse(self._values, self.configuration.version + 1)
        self._changed.set()

    async def current(self) -> Configuration:
        return self.configuration

    fresh = current

    async def changes(self) -> AsyncIterator[Configuration]:
        while True:
            yield self.configuration
            await self._changed.wait()
            self._changed.clear()


class Journal(list[Section | Statement]):
    """Every effect on the world outside, in order. `crash_after`: so many effects, and then no more."""

    crash_after: int | None = None

    def note(self, effect: Section | Statement) -> None:
        if self.crash_after is not None and len(self) >= self.crash_after:
            raise Crash
        self.append(effect)


class Crash(Exception):
    """The process dies here."""


class JournalledStore(MemoryStore):
    """A record that notes its writes, and counts how often it was asked."""

    def __init__(self, journal: Journal | None = None) -> None:
        super().__init__()
        self.journal = Journal() if journal is None else journal
        self.reads = 0
        self.questions = 0
        """Reads that cost a request where the record is watched."""
        self.away = False
        """Writes fail, as where the API server is up and its storage is not."""
        self.refused_writes = 0

    async def get(self, host: str, *, fresh: bool = True) -> Record | None:
        self.reads += 1
        self.questions += fresh
        return await super().get(host, fresh=fresh)

    async def write(
        self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
    ) -> Record:
        verify()
        if self.away:
            self.refused_writes += 1
            raise TransientError("no writes now")
        self.journal.note(section)
        return await super().write(host, section, version=version)


class Bus(InProcessBus):
    """Notes what is published, and can be made to refuse it."""

    refusing = False
    journal: Journal | None = None

    async def publish(self, statement: Statement) -> None:
        if self.refusing:
            raise BusUnavailable("the broker is away")
        if self.journal is not None:
            self.journal.note(statement)
        await super().publish(statement)


class Listener:
    """A neighbour that only remembers what it was told and asked."""

    def __init__(self) -> None:
        self.heard: list[Statement] = []
        self.asked: list[ResyncRequest] = []

    async def take(self, ownership: Ownership) -> None: ...

    async def release(self, ownership: Ownership) -> None: ...

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        self.heard.append(statement)

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        self.asked.append(request)


class Scene:
    """All that surrounds the collector and outlives one run of it."""

    def __init__(self) -> None:
        self.broker = Broker(Topology(partitions=1))
        self.epochs = MemoryEpochs()
        self.store = JournalledStore()
        self.fakes = FakeVCenters()
        self.vcenters: VCenters = self.fakes
        self.secret = Secret()
        self.renderer = Listener()
        self.discovery = Listener()
        self.settings = CollectorSettings(retry_longest=0.02, login_retry=0.02, login_pause=3600, snapshot_every=3600)
        self.outside = Bus(self.broker, self.epochs)

    def vcenter(self, *clusters: Any, host: str = HOST) -> FakeVCenter:
        """A vCenter that is there."""
        self.fakes.vcenters[host] = FakeVCenter(*clusters)
        return self.fakes.vcenters[host]

    def inventories(self, host: str = HOST) -> list[Inventory]:
        """What the renderer was told, in order."""
        return [each for each in self.renderer.heard if isinstance(each, Inventory) and each.host == host]

    def last(self, host: str = HOST) -> Inventory:
        return self.inventories(host)[-1]

    def known(self, host: str = HOST) -> list[str]:
        """Names of the clusters that the last Inventory states."""
        heard = self.inventories(host)
        return [cluster.cluster_name for cluster in heard[-1].clusters] if heard else []

    def unknown(self, host: str = HOST) -> list[str]:
        """Names of the clusters that the last Inventory states as unknown."""
        heard = self.inventories(host)
        return [cluster.cluster_name for cluster in heard[-1].unknown] if heard else []

    def collected(self, host: str = HOST) -> Collected:
        """What the collector remembers."""
        section = self.store.records[host].collected
        assert section is not None
        return section

    def shown(self, kind: str, host: str = HOST) -> tuple[str, str]:
        """Reason and message of a condition; empty where it is not there yet."""
        record = self.store.records.get(host)
        conditions = record.collected.conditions if record and record.collected else ()
        return next(((each.reason, each.message) for each in conditions if each.type == kind), ("", ""))

    async def say(self, change: DnsChange) -> None:
        """What discovery states."""
        await self.outside.publish(change)

    def service(self, bus: Bus) -> CollectorService:
        return CollectorService(
            bus=bus,
            store=self.store,
            configuration=self.secret,
            vcenters=self.vcenters,
            settings=self.settings,
        )

    @asynccontextmanager
    async def collector(self, bus: Bus | None = None) -> AsyncIterator[Bus]:
        """A replica, killed at the end of the block."""
        bus = bus or Bus(self.broker, self.epochs)
        task = asyncio.create_task(self.service(bus).run())
        try:
            yield bus
            assert not task.done(), "the collector ended by itself"
        finally:
            bus.crash()
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            raise error

    @asynccontextmanager
    async def neighbours(self) -> AsyncIterator[None]:
        buses = Bus(self.broker, self.epochs), Bus(self.broker, self.epochs)
        tasks = [
            asyncio.create_task(buses[0].serve(Stage.RENDERER, self.renderer)),
            asyncio.create_task(buses[1].serve(Stage.DISCOVERY, self.discovery)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
