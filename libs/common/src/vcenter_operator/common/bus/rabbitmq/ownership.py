"""Who owns a partition: broker-held locks, and what keeps them honest.

The lock of a partition is an exclusive queue: it lives and dies with the connection that declared it, and for any
other one its declaration is refused (405 RESOURCE_LOCKED, which closes the channel that asked). How many replicas
there are is the consumer count of the members queue.

One question a second, that count, tells that the connection is alive, and renews every ownership. Whether a partition
is free is seen by its queue having no consumer, so that the lock is tried, with an error in the broker's log, only
then. An idle replica asks about two questions a second and stage.
"""

from __future__ import annotations

import asyncio
import time

from aio_pika.abc import AbstractChannel
from aiormq.abc import AbstractChannel as UnderlayChannel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelLockedResource

from vcenter_operator.common.bus.dispatch import Dispatcher
from vcenter_operator.common.bus.port import Consumer, Epochs, Ownership
from vcenter_operator.common.bus.pulse import Pulses
from vcenter_operator.common.bus.rabbitmq.clearing import Clearing
from vcenter_operator.common.bus.rabbitmq.connection import Link, answered
from vcenter_operator.common.bus.rabbitmq.consuming import Consumption
from vcenter_operator.common.bus.rabbitmq.publishing import Publisher
from vcenter_operator.common.bus.rabbitmq.topology import Names, declare
from vcenter_operator.common.bus.sharing import Sharing, tenure
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import BusUnavailable, TransientError
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_ASK_EVERY = 1.0
"""Seconds; less where a short heartbeat leaves less time."""
_EPOCH_WITHIN = 30.0


class Owner:
    """One replica's part of one stage, on one connection: it ends with it."""

    def __init__(
        self,
        link: Link,
        stage: Stage,
        consumer: Consumer,
        *,
        names: Names,
        publisher: Publisher,
        epochs: Epochs,
        delays: RetryDelays,
        grace: float,
        valid_for: float,
        prefetch: int,
        pulses: Pulses,
        clear_every: float,
    ) -> None:
        self._link = link
        self._stage = stage
        self._consumer = consumer
        self._names = names
        self._publisher = publisher
        self._epochs = epochs
        self._delays = delays
        self._grace = grace
        self._valid_for = valid_for
        self._prefetch = prefetch
        self._pulses = pulses
        self._partitions = names.topology.partitions_of(stage)
        self._owned: dict[int, Ownership] = {}
        self._dispatchers: dict[int, Dispatcher] = {}
        self._clearing = Clearing(link, names, stage, clear_every)
        self._confirmed_at = time.monotonic()
        self._members = 0
        self._counted = asyncio.Event()
        self._asking: UnderlayChannel
        self._looking: UnderlayChannel
        self._locking: AbstractChannel | None = None
        self._membership: str | None = None

    async def run(self) -> None:
        """Holds a fair share until cancelled; then it gives everything up in good order.

        Raises:
            BusUnavailable: the connection is lost; every ownership has ended.
        """
        await self._prepare()
        sharing = Sharing(self._stage, self._partitions, self)
        tasks = [
            asyncio.create_task(work, name=f"{self._stage} {name}")
            for name, work in (
                ("connection", self._end_all_when_lost()),
                ("ownership", self._keep_asking()),
                ("sharing", self._keep_balanced(sharing)),
                ("clearing", self._clearing.run(self._dispatchers)),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # Questions go on meanwhile, so that what is under way is still ours while it finishes.
            try:
                await sharing.stop()
            finally:
                self._end_all()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _prepare(self) -> None:
        channel = await self._link.channel()
        async with answered(f"declaring the queues of {self._stage}", within=60.0):
            await declare(channel, self._names.of(self._stage))
            self._looking = await channel.get_underlay_channel()
            self._looking.on_consumer_cancel_callbacks.add(self._no_member_any_more)
            self._asking = await (await self._link.channel()).get_underlay_channel()
        self._confirmed_at = time.monotonic()

    async def _end_all_when_lost(self) -> None:
        await self._link.lost.wait()
        self._end_all()
        raise BusUnavailable("the connection of the owner was lost")

    def _end_all(self) -> None:
        for ownership in self._owned.values():
            ownership.end()

    async def _keep_asking(self) -> None:
        try:
            while True:
                await self._count_members()
                await asyncio.sleep(min(_ASK_EVERY, self._valid_for / 4))
        except BusUnavailable:
            self._link.abort()  # whoever gets no answer does not know how long the locks are its own
            raise

    async def _count_members(self) -> None:
        """The question that keeps the partitions: it has to be answered before they expire."""
        sent = time.monotonic()
        left = self._confirmed_at + self._valid_for - sent
        if left <= 0:
            raise BusUnavailable(f"no answer from the broker for {sent - self._confirmed_at:.1f} s")
        async with answered("counting the replicas", within=left):
            answer = await self._asking.queue_declare(self._names.members(self._stage), passive=True)
        self._confirmed_at = sent
        for ownership in self._owned.values():
            ownership.renew(sent)
        self._members = answer.consumer_count or 0
        self._counted.set()

    async def _keep_balanced(self, sharing: Sharing) -> None:
        """After every count; it may take longer than the next one."""
        try:
            while True:
                await self._counted.wait()
                self._counted.clear()
                if await sharing.balance(self._members):
                    await self._count_members()
        except BusUnavailable:
            self._link.abort()
            raise

    async def _no_member_any_more(self, _: object) -> None:
        log.warning("the broker ended the membership", stage=str(self._stage))
        self._link.abort()

    async def join(self) -> None:
        """See `sharing.Seat`."""
        async with answered("joining the replicas"):
            answer = await self._looking.basic_consume(self._names.members(self._stage), _nothing, no_ack=True)
        self._membership = answer.consumer_tag

    async def leave(self) -> None:
        """See `sharing.Seat`."""
        if self._membership is not None and not self._link.lost.is_set():
            async with answered("leaving the replicas", within=2.0):
                await self._looking.basic_cancel(self._membership)
            self._membership = None

    async def acquire(self, partition: int) -> bool:
        """See `sharing.Seat`."""
        queue = self._names.of_partition(self._stage, partition)
        async with answered("looking for an owner"):
            answer = await self._looking.queue_declare(queue.name, durable=True, arguments=queue.arguments)
        if answer.consumer_count:
            return False
        name = self._names.owner(self._stage, partition)
        try:
            async with answered("locking a partition"):
                if self._locking is None or self._locking.is_closed:
                    self._locking = await self._link.channel()
                lock = await self._locking.declare_queue(name, exclusive=True, arguments=self._names.owner_arguments())
                await lock.bind(self._names.resync(self._stage), str(partition))
        except BusUnavailable as error:
            if isinstance(error.__cause__, ChannelLockedResource):
                return False
            raise
        return True

    async def work(self, partition: int) -> None:
        """See `sharing.Seat`."""
        try:
            async with asyncio.timeout(_EPOCH_WITHIN):
                epoch = await self._epochs.raise_epoch(f"{self._stage}-{partition}")
        except TimeoutError:
            raise TransientError(f"the epoch was not raised within {_EPOCH_WITHIN:g} s") from None
        if self._link.lost.is_set():
            raise BusUnavailable("the connection was lost while the partition was taken")
        ownership = Ownership(self._stage, partition, epoch, self._valid_for, self._confirmed_at)
        self._owned[partition] = ownership
        with self._pulses.of(self._stage, partition) as pulse:
            consumption = Consumption(
                self._link, self._names, self._publisher, self._stage, partition, pulse, prefetch=self._prefetch
            )
            try:
                async with tenure(
                    ownership, self._consumer, self._delays, grace=self._grace, capacity=self._prefetch // 2
                ) as dispatcher:
                    self._dispatchers[partition] = dispatcher
                    await consumption.run(dispatcher)
            finally:
                self._dispatchers.pop(partition, None)
                del self._owned[partition]
                await consumption.close()

    async def release(self, partition: int) -> None:
        """See `sharing.Seat`."""
        if self._link.lost.is_set():
            return
        name = self._names.owner(self._stage, partition)
        try:
            async with answered("unlocking a partition", within=3.0):
                if self._locking is None or self._locking.is_closed:
                    self._locking = await self._link.channel()
                underlay = await self._locking.get_underlay_channel()
                await underlay.queue_delete(name)
        except BusUnavailable as error:
            log.warning("lock not freed, cutting the connection that has it", error=str(error))
            self._link.abort()


async def _nothing(_: DeliveredMessage) -> None:
    """Nothing is ever published to the members queue."""
