"""Consumption of one owned partition: its statements and the requests to its owner, in the order of arrival."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from aio_pika import IncomingMessage
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage

from vcenter_operator.common.bus.dispatch import Dispatcher
from vcenter_operator.common.bus.pulse import Pulse
from vcenter_operator.common.bus.rabbitmq.connection import Link, answered
from vcenter_operator.common.bus.rabbitmq.publishing import BEGAN_AT, PROBE, PUBLISHED_AT, Publisher
from vcenter_operator.common.bus.rabbitmq.topology import Names, declare
from vcenter_operator.common.errors import BusUnavailable, MalformedMessage
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.wire import request_in, statement_for

log = logger(__name__)

PREFETCH = 100
"""Statements of a partition that are on their way or in work: so many vCenters may take long at once without holding up
another, and so many bodies are in memory at most. A backlog is worked on once for each vCenter as long as a partition
has no more of them: what supersedes what is seen within this window."""


@dataclass(frozen=True, eq=False)
class Delivery:
    """See `dispatch.Delivery`. A channel that died took its deliveries along: the broker delivers them again."""

    message: IncomingMessage
    publisher: Publisher
    stage: Stage
    partition: int

    @property
    def attempts(self) -> int:
        """How often it was tried before, from a header of our own."""
        attempts = self.message.headers.get("attempts")
        return attempts if isinstance(attempts, int) and attempts > 0 else 0

    @property
    def published_at(self) -> float | None:
        """See `dispatch.Delivery`; from a header, as is `began_at`."""
        return self._time(PUBLISHED_AT)

    @property
    def began_at(self) -> float | None:
        """When the chain began that the message is part of (seconds since the epoch)."""
        return self._time(BEGAN_AT)

    def _time(self, header: str) -> float | None:
        milliseconds = self.message.headers.get(header)
        return milliseconds / 1000 if isinstance(milliseconds, int) else None

    async def ack(self) -> None:
        """See `dispatch.Delivery`."""
        tag = self.message.delivery_tag
        assert tag is not None
        try:
            async with answered("acknowledging"):
                await self.message.channel.basic_ack(tag, wait=False)
        except BusUnavailable as error:
            log.debug("not acknowledged, it will be delivered again", error=str(error))

    async def retry(self, delay: float, attempts: int) -> None:
        """See `dispatch.Delivery`."""
        await self.publisher.retry(self.stage, self.partition, self.message, delay, attempts)
        await self.ack()

    async def park(self, reason: str) -> None:
        """See `dispatch.Delivery`."""
        await self.publisher.park(self.stage, self.partition, self.message, reason, self.attempts + 1)
        await self.ack()


class Request(Delivery):
    """A resync request, for which the broker waits for no answer."""

    async def ack(self) -> None:
        """There is nothing to say."""


@dataclass(eq=False)
class Consumption:
    """The consumers of one partition, on a channel of its own."""

    link: Link
    names: Names
    publisher: Publisher
    stage: Stage
    partition: int
    pulse: Pulse
    prefetch: int = PREFETCH
    _arrivals: asyncio.Queue[Delivery | None] = field(default_factory=asyncio.Queue)
    """None: the broker will send nothing more."""
    _channel: AbstractChannel | None = None
    _tags: list[str] = field(default_factory=list)

    async def run(self, dispatcher: Dispatcher) -> None:
        """Feeds the dispatcher until cancelled.

        Raises:
            BusUnavailable: the channel was closed, or the broker ended a consumer (a queue deleted, a node moved).
        """
        self._channel = channel = await self.link.channel()
        closed = asyncio.ensure_future(channel.closed())
        closed.add_done_callback(lambda _: self._arrivals.put_nowait(None))
        probing = asyncio.create_task(self.pulse.beat(lambda: self.publisher.probe(self.stage, self.partition)))
        try:
            await self._consume(channel, dispatcher)
            while (arrival := await self._arrivals.get()) is not None:
                if isinstance(arrival, Request):
                    self._request(arrival, dispatcher)
                else:
                    await self._statement(arrival, dispatcher)
                await asyncio.sleep(0)  # a backlog is there at once, and must not hold up the loop
            raise BusUnavailable(f"the broker ended the consumption of partition {self.partition} of {self.stage}")
        finally:
            probing.cancel()
            closed.cancel()
            await self._stop()

    async def close(self) -> None:
        """Returns what was not answered to the queue, in its order. Never raises."""
        if self._channel is None:
            return
        try:
            async with answered("closing a channel", within=3.0):
                await self._channel.close()
        except BusUnavailable:
            if not self.link.lost.is_set():
                self.link.abort()  # what it holds unanswered must not stay with us

    async def _consume(self, channel: AbstractChannel, dispatcher: Dispatcher) -> None:
        async with answered(f"consuming partition {self.partition} of {self.stage}"):
            await declare(channel, [self.names.of_partition(self.stage, self.partition)])
            await channel.set_qos(prefetch_count=self.prefetch)
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(self._cancelled)
            owner = await underlay.basic_consume(
                self.names.owner(self.stage, self.partition), self._request_arrived, no_ack=True
            )
            queue = self.names.partition(self.stage, self.partition)
            dispatcher.expect((await underlay.queue_declare(queue, passive=True)).message_count or 0)
            statements = await underlay.basic_consume(queue, self._statement_arrived)
            self._tags = [tag for tag in (owner.consumer_tag, statements.consumer_tag) if tag]

    async def _stop(self) -> None:
        """Ends the consumers; what arrived and was not taken yet stays unanswered."""
        channel = self._channel
        if channel is None or channel.is_closed or self.link.lost.is_set():
            return
        try:
            async with answered("ending a consumer", within=3.0):
                underlay = await channel.get_underlay_channel()
                for tag in self._tags:
                    await underlay.basic_cancel(tag)
        except BusUnavailable as error:
            log.debug("consumer not ended", error=str(error))

    async def _statement(self, delivery: Delivery, dispatcher: Dispatcher) -> None:
        self.pulse.arrived()
        dispatcher.arrived()
        if delivery.message.type == PROBE:
            await delivery.ack()
            return
        try:
            statement = statement_for(self.stage, delivery.message.body)
            self.names.topology.expect(statement, self.partition)
        except MalformedMessage as error:
            dispatcher.reject(delivery, str(error))
        else:
            await dispatcher.deliver(statement.since(delivery.began_at), delivery)

    def _request(self, delivery: Request, dispatcher: Dispatcher) -> None:
        try:
            request = request_in(delivery.message.body)
        except MalformedMessage as error:
            dispatcher.reject(delivery, str(error))
        else:
            dispatcher.resync(request.since(delivery.began_at))

    # aiormq runs each callback as a task of its own. They start in the order of arrival, and what does not wait before
    # it puts keeps that order.

    async def _statement_arrived(self, delivered: DeliveredMessage) -> None:
        message = IncomingMessage(delivered)
        self._arrivals.put_nowait(Delivery(message, self.publisher, self.stage, self.partition))

    async def _request_arrived(self, delivered: DeliveredMessage) -> None:
        message = IncomingMessage(delivered, no_ack=True)
        self._arrivals.put_nowait(Request(message, self.publisher, self.stage, self.partition))

    async def _cancelled(self, _: object) -> None:
        log.warning("the broker ended a consumer", stage=str(self.stage), partition=self.partition)
        self._arrivals.put_nowait(None)
