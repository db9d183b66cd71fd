"""What the stages parked: looked at, taken away, put back.

Whoever reads a parked queue has all of it in hand until the end, and is alone at it; the next one waits. In hand means
without an answer, so that it goes back to its place with the channel, whatever happens. No more than the chosen bodies
are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aio_pika import IncomingMessage
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelLockedResource
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random

from vcenter_operator.common.bus.port import Parked
from vcenter_operator.common.bus.rabbitmq.confirming import confirmed
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint, Link, answered
from vcenter_operator.common.bus.rabbitmq.publishing import carried_on
from vcenter_operator.common.bus.rabbitmq.topology import PARKED_AT_MOST, Names
from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.messages import Stage

_ALONE_WITHIN = 10.0
"""Seconds that whoever reads has for it, while the next one waits."""

Chosen = Callable[[Parked], bool]
"""Says whether a parked message is meant."""


class Parking:
    """The parked queues, for people: on connections of its own, beside the stages."""

    def __init__(self, endpoint: Endpoint, names: Names) -> None:
        self._endpoint = endpoint
        self._names = names

    async def all(self, stage: Stage) -> list[Parked]:
        """Everything that a stage parked, oldest first; it stays parked. Raises BusUnavailable."""
        found: list[Parked] = []

        def none(parked: Parked) -> bool:
            found.append(parked)
            return False

        async with self._endpoint.linked("parked") as link, taking(link, self._names, stage, none):
            return found

    async def drop(self, stage: Stage, ids: Collection[str]) -> list[Parked]:
        """Takes away those with these ids, and returns them. Raises BusUnavailable."""
        gone: list[Parked] = []

        def named(parked: Parked) -> bool:
            if parked.id in ids:
                gone.append(parked)
            return parked.id in ids

        async with self._endpoint.linked("parked") as link, taking(link, self._names, stage, named):
            return gone

    async def put_back(self, stage: Stage, partition: int, wanted: str) -> bool:
        """The message with this id back to the queue of its partition; it leaves the parked ones once it is there.

        False: it is not parked any more. Raises BusUnavailable: it is still parked, and may be in its queue as well.
        """

        def named(parked: Parked) -> bool:
            return parked.id == wanted

        async with self._endpoint.linked("parked") as link, taking(link, self._names, stage, named) as found:
            if found:
                channel = await link.channel(confirms=True)
                again = carried_on(found[0], {})
                await confirmed(link, channel, self._names.arrow(stage), str(partition), again)
            return bool(found)


async def count_parked(link: Link, names: Names, stage: Stage) -> int:
    """How many messages a stage parked, those left out that somebody has in hand. Raises BusUnavailable."""
    channel = await (await link.channel()).get_underlay_channel()
    async with answered("counting what is parked"):
        ready, _ = await _look(channel, names.parked(stage))
        await channel.close()
    return ready


@asynccontextmanager
async def taking(link: Link, names: Names, stage: Stage, chosen: Chosen) -> AsyncIterator[list[IncomingMessage]]:
    """All that a stage parked is shown to `chosen`, oldest first. What it chose is gone after the block.

    Raises BusUnavailable, also where others read for too long. Then, and where the block raises, all of it stays.
    """
    queue = names.parked(stage)
    arrivals: asyncio.Queue[IncomingMessage] = asyncio.Queue()

    async def arrived(delivered: DeliveredMessage) -> None:
        arrivals.put_nowait(IncomingMessage(delivered))

    async with _alone(link, names.parked_reader(stage)):
        channel = await (await link.channel()).get_underlay_channel()
        try:
            async with answered(f"reading {queue}"):
                count, _ = await _look(channel, queue)
                await channel.basic_qos(prefetch_count=PARKED_AT_MOST)  # unlimited means 2,000 to a quorum queue
                await channel.basic_consume(queue, arrived)
            taken: list[IncomingMessage] = []
            for _ in range(count):
                async with answered(f"reading {queue}"):
                    message = await arrivals.get()
                if chosen(_parked(stage, message)):
                    taken.append(message)
                await asyncio.sleep(0)
            yield taken
            async with answered("taking messages away"):
                for message in taken:
                    await message.ack()
        finally:
            async with answered("giving back what stays"):
                await channel.close()
                await _given_back(link, queue)


@asynccontextmanager
async def _alone(link: Link, lock: str) -> AsyncIterator[None]:
    """A lock as that of a partition: an exclusive queue. Quorum queues do not keep a second consumer away."""
    channel = await _locked(link, lock)
    try:
        yield
    finally:
        async with answered("unlocking what is parked"):
            await channel.queue_delete(lock)
            await channel.close()


class _SomebodyElse(BusUnavailable):
    """Another one reads the queue."""


@retry(
    retry=retry_if_exception_type(_SomebodyElse),
    stop=stop_after_delay(_ALONE_WITHIN),
    wait=wait_random(0.05, 0.2),
    reraise=True,
)
async def _locked(link: Link, lock: str) -> AbstractChannel:
    channel = await (await link.channel()).get_underlay_channel()
    try:
        async with answered("locking what is parked"):
            await channel.queue_declare(lock, exclusive=True)
    except BusUnavailable as error:
        if isinstance(error.__cause__, ChannelLockedResource):
            raise _SomebodyElse(f"somebody else reads what is parked: {lock} is locked") from None
        raise
    return channel


async def _look(channel: AbstractChannel, queue: str) -> tuple[int, int]:
    """How many messages nobody has in hand, and how many consumers there are."""
    told = await channel.queue_declare(queue, passive=True)
    return told.message_count or 0, told.consumer_count or 0


async def _given_back(link: Link, queue: str) -> None:
    """Returns when whoever reads next finds them there: the queue hears a little later that the channel is closed."""
    channel = await (await link.channel()).get_underlay_channel()
    while (await _look(channel, queue))[1]:
        await asyncio.sleep(0.02)
    await channel.close()


def _parked(stage: Stage, message: IncomingMessage) -> Parked:
    """From the headers that `Publisher.park` writes, or those of the broker where its delivery limit did it."""
    headers = message.headers
    reason = headers.get("reason")
    attempts = headers.get("attempts")
    at = headers.get("parked-at")
    key = headers.get("key")
    return Parked(
        stage=stage,
        reason=reason if isinstance(reason, str) else "delivered again and again, and never answered",
        attempts=attempts if isinstance(attempts, int) else 0,
        parked_at=datetime.fromisoformat(at) if isinstance(at, str) else message.timestamp or datetime.now(UTC),
        body=message.body,
        host=key if isinstance(key, str) else None,
    )
