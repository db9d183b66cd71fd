"""The bus inside one process: same semantics as on RabbitMQ, nothing outlives the process.

A `Broker` holds the queues; every replica has an `InProcessBus` on it. Messages pass through the wire format, so
that what works here is what works there.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from vcenter_operator.common import metrics, tracing
from vcenter_operator.common.bus.dispatch import CLEAR_EVERY, Dispatcher
from vcenter_operator.common.bus.port import Consumer, Epochs, Ownership, Parked, Topology
from vcenter_operator.common.bus.pulse import PROBE_EVERY, Pulse, Pulses
from vcenter_operator.common.bus.sharing import Sharing, tenure
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import BusUnavailable, MalformedMessage
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.wire import encode, request_in, statement_for

log = logger(__name__)

_REBALANCE_EVERY = 0.05
_MAX_PARKED = 10_000


@dataclass(eq=False)
class _Queued:
    body: bytes
    attempts: int = 0
    probe: bool = False
    began_at: float | None = None
    published_at: float = field(default_factory=time.time)

    @classmethod
    def of(cls, message: Statement | ResyncRequest) -> _Queued:
        now = time.time()
        return cls(encode(message), began_at=message.trace.began_at or now, published_at=now)


@dataclass(eq=False)
class _Queue:
    """First in, first out; what is returned goes back to the front."""

    items: deque[_Queued] = field(default_factory=deque)
    put_off: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, item: _Queued) -> None:
        self.items.append(item)
        self.arrived.set()

    def put_later(self, item: _Queued, delay: float) -> None:
        def now() -> None:
            self.put_off -= 1
            self.put(item)

        self.put_off += 1
        asyncio.get_running_loop().call_later(delay, now)

    def put_back(self, items: list[_Queued]) -> None:
        self.items.extendleft(reversed(items))
        self.arrived.set()

    async def get(self) -> _Queued:
        while not self.items:
            self.arrived.clear()
            await self.arrived.wait()
        return self.items.popleft()


class Broker:
    """Queues, locks and members of all stages."""

    def __init__(self, topology: Topology | None = None) -> None:
        self.topology = topology or Topology()
        self.statements: dict[tuple[Stage, int], _Queue] = {}
        self.requests: dict[tuple[Stage, int], _Queue] = {}
        self.parked: dict[Stage, deque[Parked]] = {stage: deque(maxlen=_MAX_PARKED) for stage in Stage}
        self.owners: dict[tuple[Stage, int], InProcessBus] = {}
        self.members: dict[Stage, set[InProcessBus]] = {stage: set() for stage in Stage}
        for stage in Stage:
            for partition in range(self.topology.partitions_of(stage)):
                self.statements[stage, partition] = _Queue()


class InProcessBus:
    """One replica's view of a `Broker`."""

    def __init__(
        self,
        broker: Broker,
        epochs: Epochs,
        *,
        delays: RetryDelays | None = None,
        stop_within: float = 5.0,
        probe_every: float = PROBE_EVERY,
        clear_every: float = CLEAR_EVERY,
    ) -> None:
        self.topology = broker.topology
        self.broker = broker
        self.epochs = epochs
        self.delays = delays or RetryDelays()
        self.stop_within = stop_within
        self.clear_every = clear_every
        self.pulses = Pulses(probe_every)
        self._closed = asyncio.Event()
        self._serving: dict[asyncio.Task[None], list[_Seat]] = {}

    async def publish(self, statement: Statement) -> None:
        """See `Bus.publish`."""
        stage = statement.receiver
        partition = self.topology.partition(stage, statement.host)
        with metrics.publishing(statement), tracing.sending(statement, stage, partition) as sent:
            self._put(stage, partition, _Queued.of(sent))

    async def publish_raw(self, stage: Stage, partition: int, body: bytes) -> None:
        """Bytes as they are, for putting back what was parked. Raises BusUnavailable."""
        self._put(stage, partition, _Queued(body))

    async def request(self, request: ResyncRequest) -> None:
        """See `Bus.request`."""
        self._check_open()
        queue = self.broker.requests.get((request.stage, request.partition))
        if queue is not None:
            with tracing.sending(request, request.stage, request.partition) as sent:
                queue.put(_Queued.of(sent))

    async def parked(self, stage: Stage) -> list[Parked]:
        """See `Bus.parked`."""
        self._check_open()
        return list(self.broker.parked[stage])

    async def serve(self, stage: Stage, consumer: Consumer) -> None:
        """See `Bus.serve`."""
        self._check_open()
        task = asyncio.current_task()
        assert task is not None
        seat = _Seat(self, stage, consumer)
        self._serving.setdefault(task, []).append(seat)
        partitions = self.topology.partitions_of(stage)
        sharing = Sharing(stage, partitions, seat)
        try:
            while not self._closed.is_set():
                if not await sharing.balance(len(self.broker.members[stage])):
                    await _either(self._closed, _REBALANCE_EVERY)
        finally:
            await sharing.stop()
            self._serving[task].remove(seat)

    @property
    def connected(self) -> bool:
        """See `Bus.connected`."""
        return not self._closed.is_set()

    def stopped(self) -> list[str]:
        """See `Bus.stopped`."""
        return self.pulses.stopped()

    async def close(self) -> None:
        """See `Bus.close`."""
        self._closed.set()
        current = asyncio.current_task()
        if serving := [task for task in self._serving if task is not current]:
            await asyncio.wait(serving)

    def crash(self) -> None:
        """As a SIGKILL would: nothing is finished, what was not acknowledged is delivered again to others."""
        self._closed.set()
        for seats in self._serving.values():
            for seat in seats:
                seat.vanish()

    def _put(self, stage: Stage, partition: int, queued: _Queued) -> None:
        self._check_open()
        queue = self.broker.statements.get((stage, partition))
        if queue is None:
            raise BusUnavailable(f"there is no queue for partition {partition} of {stage}")
        queue.put(queued)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise BusUnavailable("the bus is closed")


@dataclass(eq=False)
class _Holding:
    """What one owner has of a partition: its queues, and the deliveries without an answer, in order."""

    queue: _Queue
    requests: _Queue
    unanswered: dict[int, _Queued] = field(default_factory=dict)
    over: bool = False
    ownership: Ownership | None = None

    def give_back(self) -> None:
        if not self.over:
            self.over = True
            self.queue.put_back(list(self.unanswered.values()))


class _Seat:
    """See `sharing.Seat`."""

    def __init__(self, bus: InProcessBus, stage: Stage, consumer: Consumer) -> None:
        self._bus = bus
        self._broker = bus.broker
        self._stage = stage
        self._consumer = consumer
        self._holdings: dict[int, _Holding] = {}

    async def join(self) -> None:
        self._broker.members[self._stage].add(self._bus)

    async def leave(self) -> None:
        self._broker.members[self._stage].discard(self._bus)

    async def acquire(self, partition: int) -> bool:
        key = (self._stage, partition)
        if key in self._broker.owners:
            return False
        self._broker.owners[key] = self._bus
        requests = self._broker.requests[key] = _Queue()
        self._holdings[partition] = _Holding(self._broker.statements[key], requests)
        return True

    async def work(self, partition: int) -> None:
        holding = self._holdings[partition]
        epoch = await self._bus.epochs.raise_epoch(f"{self._stage}-{partition}")
        holding.ownership = ownership = Ownership(self._stage, partition, epoch)

        async def probe() -> None:
            holding.queue.put(_Queued(b"", probe=True))

        with self._bus.pulses.of(self._stage, partition) as pulse:
            async with (
                tenure(ownership, self._consumer, self._bus.delays, grace=self._bus.stop_within) as dispatcher,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(pulse.beat(probe))
                group.create_task(self._statements(partition, holding, dispatcher, pulse))
                group.create_task(self._requests(holding, dispatcher))
                group.create_task(self._clearing(dispatcher))

    async def release(self, partition: int) -> None:
        holding = self._holdings.pop(partition)
        if holding.over:
            return
        holding.give_back()
        del self._broker.owners[self._stage, partition]
        del self._broker.requests[self._stage, partition]

    def vanish(self) -> None:
        """As if the process were gone."""
        self._broker.members[self._stage].discard(self._bus)
        for partition, holding in self._holdings.items():
            if holding.ownership is not None:
                holding.ownership.end()
            holding.give_back()
            del self._broker.owners[self._stage, partition]
            del self._broker.requests[self._stage, partition]

    async def _statements(self, partition: int, holding: _Holding, dispatcher: Dispatcher, pulse: Pulse) -> None:
        dispatcher.expect(len(holding.queue.items))
        while True:
            queued = await holding.queue.get()
            pulse.arrived()
            dispatcher.arrived()
            if queued.probe:
                continue
            holding.unanswered[id(queued)] = queued
            delivery = _Delivery(self._broker, self._stage, holding, queued)
            try:
                statement = statement_for(self._stage, queued.body)
                self._bus.topology.expect(statement, partition)
            except MalformedMessage as error:
                dispatcher.reject(delivery, str(error))
            else:
                delivery.host = statement.host
                await dispatcher.deliver(statement.since(queued.began_at), delivery)
            await asyncio.sleep(0)

    async def _requests(self, holding: _Holding, dispatcher: Dispatcher) -> None:
        while True:
            queued = await holding.requests.get()
            try:
                request = request_in(queued.body)
            except MalformedMessage as error:
                dispatcher.reject(_Request(self._broker, self._stage, holding, queued), str(error))
            else:
                dispatcher.resync(request.since(queued.began_at))

    async def _clearing(self, dispatcher: Dispatcher) -> None:
        """Takes away what was parked and is superseded by now."""
        parked = self._broker.parked[self._stage]
        while True:
            await asyncio.sleep(self._bus.clear_every)
            for one in [each for each in parked if each.host is None or dispatcher.knows(each.host)]:
                if _superseded(one, dispatcher) and one in parked:
                    parked.remove(one)
                await asyncio.sleep(0)


def _superseded(parked: Parked, dispatcher: Dispatcher) -> bool:
    try:
        statement = statement_for(parked.stage, parked.body)
    except MalformedMessage:
        return False  # nobody can tell what is newer
    return dispatcher.supersedes(statement.host, statement.age)


@dataclass(eq=False)
class _Delivery:
    broker: Broker
    stage: Stage
    holding: _Holding
    queued: _Queued
    host: str | None = None

    @property
    def attempts(self) -> int:
        return self.queued.attempts

    @property
    def published_at(self) -> float:
        return self.queued.published_at

    async def ack(self) -> None:
        self._answered()

    async def retry(self, delay: float, attempts: int) -> None:
        if self._answered():
            self.holding.queue.put_later(replace(self.queued, attempts=attempts), delay)

    async def park(self, reason: str) -> None:
        if self._answered():
            self.broker.parked[self.stage].append(
                Parked(self.stage, reason, self.attempts + 1, datetime.now(UTC), self.queued.body, self.host)
            )

    def _answered(self) -> bool:
        """Whether it was still ours to answer."""
        return not self.holding.over and self.holding.unanswered.pop(id(self.queued), None) is not None


class _Request(_Delivery):
    """A resync request, which is not returned to any queue."""

    def _answered(self) -> bool:
        return not self.holding.over


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
