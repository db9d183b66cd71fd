"""What the contract tests need of a bus adapter beyond the port: replicas, a crash, and a look at what is stored."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import aio_pika
from pamqp.common import FieldTable

from tests.contract.proxy import Proxy, in_front_of
from vcenter_operator.common.bus import Consumer, Ownership, Topology
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus, _Queued
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus
from vcenter_operator.common.bus.rabbitmq.topology import ARROWS, Names
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import DnsChange, ResyncRequest, Stage, Statement

AnyBus = InProcessBus | RabbitMQBus
DELAYS = RetryDelays(first=0.1, longest=0.8, aside=0.2)
CLEAR_EVERY = 0.3


async def until(condition: Callable[[], object], what: str, within: float = 30.0) -> None:
    """Returns when the condition holds; fails the test after the deadline, naming what was waited for."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.01)


async def until_async(condition: Callable[[], Awaitable[object]], what: str, within: float = 30.0) -> None:
    """As `until`, for a condition that has to ask."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.1)


def change(host: str, sequence: int, epoch: int = 1, present: bool = True) -> DnsChange:
    """A statement whose age is its sequence."""
    return DnsChange(host=host, present=present, revision=Revision(epoch, sequence), serial=sequence)


def hosts_of(topology: Topology, stage: Stage, partition: int, count: int) -> list[str]:
    """Names of vCenters that belong to a partition."""
    names = (f"vc-{number}.example.test" for number in range(100_000))
    found = (name for name in names if topology.partition(stage, name) == partition)
    return [next(found) for _ in range(count)]


class EpochsInMemory:
    """Epochs for all replicas of a test."""

    def __init__(self) -> None:
        self.raised: defaultdict[str, int] = defaultdict(int)
        self.failing: set[str] = set()

    async def raise_epoch(self, name: str) -> int:
        self.raised[name] += 1
        return self.raised[name]


@dataclass(eq=False)
class Recorder:
    """A consumer that notes everything that happens to it. `work` and `taking` are what it does meanwhile."""

    name: str = ""
    work: Callable[[Statement, Ownership], Awaitable[None]] | None = None
    taking: Callable[[Ownership], Awaitable[None]] | None = None
    answering: Callable[[ResyncRequest], Awaitable[None]] | None = None
    owned: dict[int, Ownership] = field(default_factory=dict)
    taken: list[Ownership] = field(default_factory=list)
    released: list[Ownership] = field(default_factory=list)
    started: list[Statement] = field(default_factory=list)
    handled: list[Statement] = field(default_factory=list)
    requests: list[ResyncRequest] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    overlaps: int = 0
    log: list[Ownership] | None = None
    """Shared by replicas: every ownership in the order in which it was taken."""

    async def take(self, ownership: Ownership) -> None:
        self.taken.append(ownership)
        if self.log is not None:
            self.log.append(ownership)
        if self.taking is not None:
            await self.taking(ownership)
        self.owned[ownership.partition] = ownership

    async def release(self, ownership: Ownership) -> None:
        self.released.append(ownership)
        if self.owned.get(ownership.partition) is ownership:
            del self.owned[ownership.partition]

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        self.overlaps += statement.host in self.busy
        self.busy.add(statement.host)
        self.started.append(statement)
        try:
            if self.work is not None:
                await self.work(statement, ownership)
            self.handled.append(statement)
        finally:
            self.busy.discard(statement.host)

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        self.requests.append(request)
        if self.answering is not None:
            await self.answering(request)

    def sequences(self, host: str) -> list[int]:
        """The sequences of a vCenter's statements, as they were handled."""
        return [s.revision.sequence for s in self.handled if isinstance(s, DnsChange) and s.host == host]

    def tries(self, host: str) -> int:
        """How often a statement on a vCenter was begun."""
        return sum(statement.host == host for statement in self.started)


class Harness(Protocol):
    """One broker, empty at the start of a test."""

    topology: Topology
    epochs: EpochsInMemory

    async def replica(self, stop_within: float = 5.0) -> AnyBus:
        """A new replica."""
        ...

    def serve(self, bus: AnyBus, consumer: Consumer, stage: Stage = Stage.COLLECTOR) -> asyncio.Task[None]:
        """Has a replica serve a stage until the task is cancelled, or the test ends."""
        ...

    async def crash(self, bus: AnyBus) -> None:
        """As a SIGKILL would: its connections are gone, nothing is finished."""
        ...

    async def remove_queue(self, stage: Stage, partition: int) -> None:
        """A partition's queue is gone."""
        ...

    async def request_raw(self, stage: Stage, partition: int, body: bytes) -> None:
        """Sends bytes where resync requests go."""
        ...

    async def waiting(self, stage: Stage) -> int:
        """How many statements wait in the broker for a stage, in partition queues or put off; not those in work."""
        ...

    async def everything_stored(self) -> bytes:
        """Every byte of every message that the broker holds, headers included."""
        ...


class _Tasks:
    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def serve(self, bus: AnyBus, consumer: Consumer, stage: Stage = Stage.COLLECTOR) -> asyncio.Task[None]:
        task = asyncio.create_task(bus.serve(stage, consumer))
        self._tasks.append(task)
        return task

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        failed = [r for r in results if isinstance(r, Exception)]
        assert not failed, f"serving ended by itself: {failed}"


class InProcessHarness(_Tasks):
    """Replicas on one `Broker`."""

    def __init__(self, topology: Topology) -> None:
        super().__init__()
        self.topology = topology
        self.epochs = EpochsInMemory()
        self._broker = Broker(topology)
        self._buses: list[InProcessBus] = []

    async def replica(self, stop_within: float = 5.0) -> InProcessBus:
        bus = InProcessBus(self._broker, self.epochs, delays=DELAYS, stop_within=stop_within, clear_every=CLEAR_EVERY)
        self._buses.append(bus)
        return self._buses[-1]

    async def crash(self, bus: AnyBus) -> None:
        assert isinstance(bus, InProcessBus)
        bus.crash()

    async def remove_queue(self, stage: Stage, partition: int) -> None:
        del self._broker.statements[stage, partition]

    async def request_raw(self, stage: Stage, partition: int, body: bytes) -> None:
        self._broker.requests[stage, partition].put(_Queued(body))

    async def waiting(self, stage: Stage) -> int:
        queues = (queue for (receiver, _), queue in self._broker.statements.items() if receiver is stage)
        return sum(len(queue.items) + queue.put_off for queue in queues)

    async def everything_stored(self) -> bytes:
        queued = (item.body for queue in self._broker.statements.values() for item in queue.items)
        parked = (repr(item).encode() + item.body for items in self._broker.parked.values() for item in items)
        return b"\n".join((*queued, *parked))

    async def close(self) -> None:
        await self.stop()
        for bus in self._buses:
            await bus.close()


class RabbitMQHarness(_Tasks):
    """Replicas that reach a real broker each through a proxy of its own."""

    def __init__(self, url: str, topology: Topology, heartbeat: int = 10) -> None:
        super().__init__()
        self.url = url
        self.topology = topology
        self.epochs = EpochsInMemory()
        self.names = Names(topology, DELAYS.steps)
        self.proxies: dict[AnyBus, Proxy] = {}
        self._heartbeat = heartbeat

    async def replica(self, stop_within: float = 5.0) -> RabbitMQBus:
        proxy, url = await in_front_of(self.url)
        bus = await RabbitMQBus.connect(
            url,
            self.topology,
            self.epochs,
            heartbeat=self._heartbeat,
            stop_within=stop_within,
            delays=DELAYS,
            clear_every=CLEAR_EVERY,
        )
        self.proxies[bus] = proxy
        return bus

    async def crash(self, bus: AnyBus) -> None:
        self.proxies[bus].refuse()

    async def remove_queue(self, stage: Stage, partition: int) -> None:
        async with await aio_pika.connect(self.url) as connection, connection.channel() as channel:
            underlay = await channel.get_underlay_channel()
            await underlay.queue_delete(self.names.partition(stage, partition))

    async def request_raw(self, stage: Stage, partition: int, body: bytes) -> None:
        async with await aio_pika.connect(self.url) as connection, connection.channel() as channel:
            exchange = await channel.get_exchange(self.names.resync(stage), ensure=False)
            await exchange.publish(aio_pika.Message(body), str(partition))

    async def waiting(self, stage: Stage) -> int:
        async with await aio_pika.connect(self.url) as connection, connection.channel() as channel:
            return sum([await _count(channel, queue) for queue in self._queues(stage)])

    async def everything_stored(self) -> bytes:
        stored: list[bytes] = []
        async with await aio_pika.connect(self.url) as connection:
            for stage in ARROWS:
                stored += await _read(connection, self.names.archive(stage), stream=True)
                for queue in self._queues(stage):
                    stored += await _read(connection, queue)
            for stage in Stage:
                stored += await _read(connection, self.names.parked(stage))
        return b"\n".join(stored)

    def _queues(self, stage: Stage) -> Iterable[str]:
        for partition in range(self.topology.partitions_of(stage)):
            yield self.names.partition(stage, partition)
        for delay in self.names.delays:
            yield self.names.retry(stage, delay)

    async def close(self) -> None:
        for proxy in self.proxies.values():
            proxy.forward()
        await self.stop()
        for bus, proxy in self.proxies.items():
            await bus.close()
            await proxy.close()


async def _count(channel: aio_pika.abc.AbstractChannel, queue: str) -> int:
    underlay = await channel.get_underlay_channel()
    return (await underlay.queue_declare(queue, passive=True)).message_count or 0


async def _read(connection: aio_pika.abc.AbstractConnection, queue: str, *, stream: bool = False) -> list[bytes]:
    """Every message of a queue as bytes, headers included; the channel's end returns them."""
    async with connection.channel() as channel:
        await channel.set_qos(prefetch_count=1000)
        count = await _count(channel, queue)
        if not count:
            return []
        declared = await channel.get_queue(queue, ensure=False)
        arguments: FieldTable = {"x-stream-offset": "first"} if stream else {}
        messages: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
        await declared.consume(messages.put, arguments=arguments)
        async with asyncio.timeout(30):
            found = [await messages.get() for _ in range(count)]
        return [repr((m.headers, m.info())).encode() + m.body for m in found]
