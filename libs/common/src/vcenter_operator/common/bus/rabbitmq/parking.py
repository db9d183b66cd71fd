"""What the stages parked: looked at, taken away, put back. On connections of its own, beside the stages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime

from aio_pika import IncomingMessage
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage

from vcenter_operator.common.bus.port import Parked
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint, Link, answered
from vcenter_operator.common.bus.rabbitmq.publishing import carried_on, confirmed
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.messages import Stage

_READ_WITHIN = 60.0

Settle = Callable[[Parked, IncomingMessage], Awaitable[bool]]
"""Says whether a parked message is to go."""


class Parking:
    """The parked queues. Whoever reads one is alone at it: a second reader is told that the broker is unavailable."""

    def __init__(self, endpoint: Endpoint, names: Names) -> None:
        self._endpoint = endpoint
        self._names = names

    async def all(self, stage: Stage) -> list[Parked]:
        """Everything that a stage parked, oldest first; it stays parked. Raises BusUnavailable."""

        async def keep(_: Parked, __: IncomingMessage) -> bool:
            return False

        async with self._endpoint.linked("parked") as link:
            return await self._each(link, stage, keep)

    async def drop(self, stage: Stage, ids: Collection[str]) -> list[Parked]:
        """Takes away those with these ids, and returns them. Raises BusUnavailable."""
        gone: list[Parked] = []

        async def is_named(parked: Parked, _: IncomingMessage) -> bool:
            if parked.id in ids:
                gone.append(parked)
            return parked.id in ids

        async with self._endpoint.linked("parked") as link:
            await self._each(link, stage, is_named)
        return gone

    async def put_back(self, stage: Stage, partition: int, wanted: str) -> bool:
        """The message with this id back to the queue of its partition; it leaves the parked ones once it is there.

        False: it is not parked any more. Raises BusUnavailable: it is still parked, and may be in its queue as well.
        """
        found = False

        async with self._endpoint.linked("parked") as link:
            channel = await link.channel(confirms=True)

            async def publish(parked: Parked, message: IncomingMessage) -> bool:
                nonlocal found
                if parked.id != wanted:
                    return False
                if not found:
                    await confirmed(link, channel, self._names.arrow(stage), str(partition), carried_on(message, {}))
                found = True
                return True

            await self._each(link, stage, publish)
        return found

    async def _each(self, link: Link, stage: Stage, settle: Settle) -> list[Parked]:
        """All of them in order; those that `settle` says so are gone afterwards, the rest is back in its order."""
        queue = self._names.parked(stage)
        arrivals: asyncio.Queue[IncomingMessage] = asyncio.Queue()

        async def arrived(delivered: DeliveredMessage) -> None:
            arrivals.put_nowait(IncomingMessage(delivered))

        channel = await link.channel()
        async with answered(f"reading {queue}", within=_READ_WITHIN):
            underlay = await channel.get_underlay_channel()
            count = (await underlay.queue_declare(queue, passive=True)).message_count or 0
            if not count:
                return []
            consumer = await underlay.basic_consume(queue, arrived, exclusive=True)
            messages = [await arrivals.get() for _ in range(count)]
            await underlay.basic_cancel(consumer.consumer_tag or "")
        parked = [_parked(stage, message) for message in messages]
        left = await self._settle(channel, list(zip(parked, messages, strict=True)), settle)
        async with answered(f"reading {queue}", within=_READ_WITHIN):
            while ((await underlay.queue_declare(queue, passive=True)).message_count or 0) < left:
                await asyncio.sleep(0.02)  # whoever reads next finds them there
        return parked

    async def _settle(
        self, channel: AbstractChannel, parked: list[tuple[Parked, IncomingMessage]], settle: Settle
    ) -> int:
        """Returns how many are left. What is not answered for an error goes back with the connection's end."""
        left = len(parked)
        for one, message in parked:
            if await settle(one, message):
                async with answered("taking a message away"):
                    await message.ack()
                left -= 1
        if left:
            async with answered("giving back what stays"):
                underlay = await channel.get_underlay_channel()
                await underlay.basic_nack(0, multiple=True, requeue=True)  # 0: all
        return left


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
