"""The bus inside one process: same semantics as on RabbitMQ, nothing outlives the process.

A `Broker` holds the queues; every replica has an `InProcessBus` on it. Messages pass through the wire format, so
that what works here is what works there.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from vcenter_operator.common.bus.dispatch import Dispatcher, RetryDelays
from vcenter_operator.common.bus.port import Consumer, Epochs, Ownership, Parked, Topology
from vcenter_operator.common.errors import BusUnavailable, MalformedMessage, TransientError
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.wire import decode, encode

log = logger(__name__)

_REBALANCE_EVERY = 0.05


@dataclass
class _Queued:
    body: bytes
    attempts: int = 0


@dataclass
class _Queue:
    """One partition queue: first in, first out, what is returned goes back to the front."""

    items: deque[_Queued] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, item: _Queued) -> None:
        self.items.append(item)
        self.arrived.set()

    def put_back(self, item: _Queued) -> None:
        self.items.appendleft(item)
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
        self.parked: dict[Stage, list[Parked]] = {stage: [] for stage in Stage}
        self.owners: dict[tuple[Stage, int], InProcessBus] = {}
        self.members: dict[Stage, set[InProcessBus]] = {stage: set() for stage in Stage}
        for stage in Stage:
            for partition in range(self.topology.partitions_of(stage)):
                self.statements[stage, partition] = _Queue()
                self.requests[stage, partition] = _Queue()


@dataclass
class _Delivery:
    broker: Broker
    stage: Stage
    queue: _Queue
    queued: _Queued
    statement: Statement
    settled: Callable[[], None]

    @property
    def attempts(self) -> int:
        return self.queued.attempts

    async def ack(self) -> None:
        self.settled()

    async def give_back(self) -> None:
        self.settled()
        self.queue.put_back(self.queued)

    async def retry(self, delay: float) -> None:
        self.settled()
        again = _Queued(self.queued.body, self.queued.attempts + 1)
        asyncio.get_running_loop().call_later(delay, self.queue.put, again)

    async def park(self, reason: str) -> None:
        self.settled()
        self.broker.parked[self.stage].append(_parked(self.stage, self.queued, reason, self.statement.host))


class InProcessBus:
    """One replica's view of a `Broker`."""

    def __init__(
        self,
        broker: Broker,
        epochs: Epochs,
        *,
        delays: RetryDelays | None = None,
        stop_within: float = 5.0,
    ) -> None:
        self.topology = broker.topology
        self._broker = broker
        self._epochs = epochs
        self._delays = delays or RetryDelays()
        self._stop_within = stop_within
        self._closed = False
        self._serving: set[asyncio.Task[None]] = set()
        self._unacked: dict[int, tuple[_Queue, _Queued]] = {}

    async def publish(self, statement: Statement) -> None:
        """See `Bus.publish`."""
        stage = statement.receiver
        self._put(self._broker.statements, stage, self.topology.partition(stage, statement.host), encode(statement))

    async def publish_raw(self, stage: Stage, partition: int, body: bytes) -> None:
        """Bytes as they are, for putting back what was parked."""
        self._put(self._broker.statements, stage, partition, body)

    async def request(self, request: ResyncRequest) -> None:
        """See `Bus.request`."""
        if (request.stage, request.partition) in self._broker.owners:
            self._put(self._broker.requests, request.stage, request.partition, encode(request))

    async def parked(self, stage: Stage) -> list[Parked]:
        """See `Bus.parked`."""
        return list(self._broker.parked[stage])

    async def serve(self, stage: Stage, consumer: Consumer) -> None:
        """See `Bus.serve`."""
        owned: dict[int, asyncio.Task[None]] = {}
        self._broker.members[stage].add(self)
        try:
            while not self._closed:
                await self._balance(stage, consumer, owned)
                await asyncio.sleep(_REBALANCE_EVERY)
        finally:
            self._broker.members[stage].discard(self)
            for task in owned.values():
                task.cancel()
            await asyncio.gather(*owned.values(), return_exceptions=True)

    async def close(self) -> None:
        """See `Bus.close`."""
        self._closed = True

    def crash(self) -> None:
        """As a SIGKILL would: nothing is finished, what was not acknowledged is delivered again to others."""
        self._closed = True
        for stage in Stage:
            self._broker.members[stage].discard(self)
        for key in [key for key, owner in self._broker.owners.items() if owner is self]:
            del self._broker.owners[key]
        for queue, queued in reversed(list(self._unacked.values())):
            queue.put_back(queued)
        self._unacked.clear()

    async def _balance(self, stage: Stage, consumer: Consumer, owned: dict[int, asyncio.Task[None]]) -> None:
        for partition, task in list(owned.items()):
            if task.done():
                del owned[partition]
        count = self.topology.partitions_of(stage)
        share = math.ceil(count / max(1, len(self._broker.members[stage])))
        for partition in sorted(owned, reverse=True)[: max(0, len(owned) - share)]:
            task = owned.pop(partition)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for partition in range(count):
            if len(owned) < share and (stage, partition) not in self._broker.owners:
                self._broker.owners[stage, partition] = self
                owned[partition] = asyncio.create_task(
                    self._own(stage, partition, consumer), name=f"{stage} {partition}"
                )

    async def _own(self, stage: Stage, partition: int, consumer: Consumer) -> None:
        ownership: Ownership | None = None
        dispatcher: Dispatcher | None = None
        try:
            ownership = Ownership(stage, partition, await self._epochs.raise_epoch(f"{stage}-{partition}"))
            dispatcher = Dispatcher(consumer, ownership, self._delays)
            await consumer.take(ownership)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._statements(stage, partition, dispatcher))
                group.create_task(self._requests(stage, partition, dispatcher))
        except TransientError as error:
            log.warning("partition could not be taken", stage=stage, partition=partition, error=str(error))
        finally:
            if dispatcher is not None:
                await dispatcher.close(self._stop_within)
            if ownership is not None:
                ownership.end()
                await consumer.release(ownership)
            if self._broker.owners.get((stage, partition)) is self:
                del self._broker.owners[stage, partition]

    async def _statements(self, stage: Stage, partition: int, dispatcher: Dispatcher) -> None:
        queue = self._broker.statements[stage, partition]
        while True:
            queued = await queue.get()
            try:
                statement = decode(queued.body)
                if not isinstance(statement, Statement) or statement.receiver is not stage:
                    raise MalformedMessage(f"a {type(statement).__name__} is nothing for {stage}")
            except MalformedMessage as error:
                log.error("parked", stage=stage, partition=partition, error=str(error))
                self._broker.parked[stage].append(_parked(stage, queued, str(error)))
                continue
            self._unacked[id(queued)] = (queue, queued)
            settled = self._settling(queued)
            await dispatcher.deliver(_Delivery(self._broker, stage, queue, queued, statement, settled))

    def _settling(self, queued: _Queued) -> Callable[[], None]:
        return lambda: self._unacked.pop(id(queued), None) and None

    async def _requests(self, stage: Stage, partition: int, dispatcher: Dispatcher) -> None:
        queue = self._broker.requests[stage, partition]
        while True:
            request = decode((await queue.get()).body)
            assert isinstance(request, ResyncRequest)
            await dispatcher.resync(request)

    def _put(self, queues: dict[tuple[Stage, int], _Queue], stage: Stage, partition: int, body: bytes) -> None:
        if self._closed:
            raise BusUnavailable("the bus is closed")
        if (stage, partition) not in queues:
            raise BusUnavailable(f"no queue for partition {partition} of {stage}")
        queues[stage, partition].put(_Queued(body))


def _parked(stage: Stage, queued: _Queued, reason: str, host: str | None = None) -> Parked:
    return Parked(stage, reason, queued.attempts + 1, datetime.now(UTC), queued.body, host)
