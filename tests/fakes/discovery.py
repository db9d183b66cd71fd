"""The discovery on an in-process bus, with a zone and a record that do as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.fakes.record import MemoryStore
from tests.fakes.zone import DOMAIN, FakeZone
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.bus.port import Ownership, Topology
from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.messages import DnsChange, ResyncRequest, Stage, Statement
from vcenter_operator.common.record.orders import Orders
from vcenter_operator.discovery.adapters.transfer import Order, Outcome, Transfers
from vcenter_operator.discovery.ports import Access, Notifications, Zone
from vcenter_operator.discovery.service import DiscoveryService
from vcenter_operator.discovery.settings import DiscoverySettings


async def becomes(condition: Callable[[], object], what: str, within: float = 20.0) -> None:
    """Returns once the condition holds; fails when it does not in time."""
    try:
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}") from None


class MemoryEpochs:
    """Counts up in memory."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}

    async def raise_epoch(self, name: str) -> int:
        self.epochs[name] = self.epochs.get(name, 0) + 1
        return self.epochs[name]


class Fixed:
    """A finder that knows, and can be told otherwise."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._changed = asyncio.Event()

    def tell(self, access: Access) -> None:
        self.access = access
        self._changed.set()

    async def find(self) -> Access:
        return self.access

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()


class Told:
    """Notifications that come when a test says so."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()

    def tell(self) -> None:
        self._heard.set()

    async def heard(self) -> None:
        await self._heard.wait()
        self._heard.clear()


class TransferThread:
    """Transfers as the process does, without one."""

    def __init__(self) -> None:
        self._transfers = Transfers()

    async def transfer(self, order: Order) -> Outcome:
        return await asyncio.to_thread(self._transfers.transfer, order)


class Bus(InProcessBus):
    """Can be made to refuse or never confirm what is published."""

    refusing = False
    hanging = False
    slow: asyncio.Event | None = None
    """What is published arrives when this is set."""

    async def publish(self, statement: Statement) -> None:
        if self.hanging:
            await asyncio.Event().wait()
        if self.refusing:
            raise BusUnavailable("the broker is away")
        if self.slow is not None:
            await self.slow.wait()
        await super().publish(statement)


class Listener:
    """A collector that only remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[DnsChange] = []

    async def take(self, ownership: Ownership) -> None: ...

    async def release(self, ownership: Ownership) -> None: ...

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        assert isinstance(statement, DnsChange)
        self.heard.append(statement)

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None: ...


class Scene:
    """All that surrounds the discovery and outlives one run of it."""

    def __init__(self) -> None:
        self.broker = Broker(Topology(partitions=1))
        self.epochs = MemoryEpochs()
        self.store = MemoryStore()
        self.zone = FakeZone()
        self._zone: Zone = self.zone
        self.listener = Listener()
        self.settings = DiscoverySettings(
            dns_poll_every=0.02, zone_confirm_after=0.05, dns_retry_longest=0.02, zone_set_back_after=0.1
        )

    @property
    def heard(self) -> list[DnsChange]:
        """Every statement that arrived, in order."""
        return self.listener.heard

    def of(self, label: str) -> list[DnsChange]:
        """The statements about one vCenter."""
        return [change for change in self.heard if change.host == fqdn(label)]

    def told(self) -> dict[str, bool]:
        """First label to present, by the last statement."""
        return {change.host.split(".")[0]: change.present for change in self.heard}

    def order(self, label: str, **orders: str) -> None:
        """A person's word on the VCenter."""
        record = self.store.records[fqdn(label)]
        self.store.records[fqdn(label)] = record.model_copy(update={"orders": Orders(**orders), "version": "ordered"})

    def bus(self) -> Bus:
        return Bus(self.broker, self.epochs)

    def use(self, zone: Zone) -> None:
        """Has the discovery look at this zone instead of the fake one."""
        self._zone = zone

    def service(self, bus: Bus, notifications: Notifications | None = None) -> DiscoveryService:
        return DiscoveryService(
            bus=bus,
            store=self.store,
            zone=self._zone,
            domain=DOMAIN,
            settings=self.settings,
            notifications=notifications,
        )

    @asynccontextmanager
    async def discovery(self, bus: Bus | None = None, notifications: Notifications | None = None) -> AsyncIterator[Bus]:
        """A replica, killed at the end of the block."""
        bus = bus or self.bus()
        task = asyncio.create_task(self.service(bus, notifications).run())
        try:
            yield bus
            assert not task.done(), "the discovery ended by itself"
        finally:
            bus.crash()
            task.cancel()
            await asyncio.wait([task])
        if task.done() and not task.cancelled() and (error := task.exception()):
            raise error

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        bus = self.bus()
        task = asyncio.create_task(bus.serve(Stage.COLLECTOR, self.listener))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


def fqdn(label: str) -> str:
    return f"{label}.{DOMAIN}"
