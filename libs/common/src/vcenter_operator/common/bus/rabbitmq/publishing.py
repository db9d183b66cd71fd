"""Publishing: one channel with confirms for all, on a connection of its own.

Of its own, since a broker under an alarm stops reading from connections that publish; acknowledgements and the
questions that keep partitions alive have to get through all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from aio_pika import DeliveryMode, IncomingMessage, Message
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused

from vcenter_operator.common import tracing
from vcenter_operator.common.bus.rabbitmq.archiving import Archiver
from vcenter_operator.common.bus.rabbitmq.confirming import Unroutable, confirmed
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint, Link, answered, keep_connected
from vcenter_operator.common.bus.rabbitmq.topology import Names, declare, find
from vcenter_operator.common.errors import BusUnavailable, PermanentError
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.wire import CONTENT_TYPE, MAX_BYTES, encode

log = logger(__name__)

PROBE = "Probe"
"""The type of a message that only shows that messages flow."""
_APP_ID = "vcenter-operator"
_REASON_AT_MOST = 4000
"""Headers have to fit into one frame."""
PUBLISHED_AT = "published-at"
"""Header: milliseconds since the epoch. The timestamp of AMQP has seconds only."""
BEGAN_AT = "began-at"
"""Header: when the chain began, which this message is part of; likewise."""
_CARRIED_ON = ("key", "causation-id", "traceparent", PUBLISHED_AT, BEGAN_AT)


class Publisher:
    """Publishes for one process; `run` keeps it connected."""

    def __init__(self, endpoint: Endpoint, names: Names, name: str) -> None:
        self.ready = asyncio.Event()
        self._endpoint = endpoint
        self._names = names
        self._name = name
        self._link: Link | None = None
        self._channel: AbstractChannel | None = None
        self._archiver: Archiver | None = None
        self._renew = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        await keep_connected(self._endpoint, self._name, self._use)

    async def statement(self, statement: Statement) -> None:
        """Returns when the partition's queue has it. Raises BusUnavailable."""
        stage = statement.receiver
        partition = self._names.topology.partition(stage, statement.host)
        with tracing.sending(statement, stage, partition) as sent:
            message, at = message_of(sent), time.time()
            await self._confirmed(self._names.arrow(stage), str(partition), message)
        if self._archiver is not None:
            self._archiver.add(sent, message.body, at)

    async def body(self, stage: Stage, partition: int, body: bytes) -> None:
        """Bytes as they are, to a partition's queue. Raises BusUnavailable."""
        if len(body) > MAX_BYTES:
            raise PermanentError(f"{len(body)} bytes: the bus takes {MAX_BYTES} at most")
        message = _persistent(body, message_id=None, correlation_id=None, kind=None, headers={})
        await self._confirmed(self._names.arrow(stage), str(partition), message)

    async def request(self, request: ResyncRequest) -> None:
        """To the owner of a partition, if there is one. Raises BusUnavailable."""
        exchange = self._names.resync(request.stage)
        with tracing.sending(request, request.stage, request.partition) as sent:
            await self._confirmed(exchange, str(request.partition), message_of(sent), mandatory=False)

    async def probe(self, stage: Stage, partition: int) -> None:
        """To the owner of a partition, by way of its queue. Raises BusUnavailable."""
        message = _persistent(b"", message_id=None, correlation_id=None, kind=PROBE, headers={})
        await self._confirmed(self._names.again(stage), str(partition), message)

    async def retry(self, stage: Stage, partition: int, message: IncomingMessage, delay: float, attempts: int) -> None:
        """To a delay's queue, from where it comes back. Raises BusUnavailable."""
        steps = self._names.delays
        step = next((step for step in steps if step >= delay), steps[-1])
        again = carried_on(message, {"attempts": attempts}, expiration=min(delay, step))
        await self._confirmed(self._names.retry(stage, step), str(partition), again)

    async def park(self, stage: Stage, partition: int, message: IncomingMessage, reason: str, attempts: int) -> None:
        """To the stage's parked queue. Raises BusUnavailable."""
        headers = {
            "reason": reason[:_REASON_AT_MOST],
            "attempts": attempts,
            "stage": str(stage),
            "partition": partition,
            "parked-at": datetime.now(UTC).isoformat(),
        }
        await self._confirmed(self._names.parked(stage), str(partition), carried_on(message, headers))

    async def _use(self, link: Link) -> None:
        channel = await link.channel(confirms=True)
        await declare_all(link, self._names)
        archive = await link.channel(confirms=True)
        archiver = Archiver(link, archive, self._names)
        self._renew.clear()
        ends = (link.lost.wait(), self._renew.wait(), channel.closed(), archive.closed())
        futures = [asyncio.ensure_future(end) for end in ends]
        try:
            self._link, self._channel, self._archiver = link, channel, archiver
            self.ready.set()
            log.debug("connected for publishing", broker=str(self._endpoint))
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.ready.clear()
            self._link = self._channel = self._archiver = None
            for future in futures:
                future.cancel()
            await archiver.finish()
        raise BusUnavailable("the connection for publishing was lost")

    async def _confirmed(self, exchange: str, key: str, message: Message, *, mandatory: bool = True) -> None:
        link, channel = self._link, self._channel
        if link is None or channel is None:
            raise BusUnavailable("the broker is away")
        try:
            await confirmed(link, channel, exchange, key, message, mandatory=mandatory)
        except Unroutable:
            self._renew.set()  # somebody deleted a queue: connecting anew declares it
            raise


async def declare_all(link: Link, names: Names) -> None:
    """Declares the whole topology; what this user has no right to declare has to be there.

    Raises BusUnavailable, ConfigurationError.
    """
    for stage in Stage:
        async with _channel(link) as channel, answered(f"declaring what belongs to {stage}", within=60.0):
            try:
                await declare(channel, names.of(stage))
            except ChannelAccessRefused:
                refused = True
            else:
                refused = False
        if refused:
            async with _channel(link) as channel, answered(f"looking for what belongs to {stage}", within=60.0):
                await find(channel, names.of(stage))


@asynccontextmanager
async def _channel(link: Link) -> AsyncIterator[AbstractChannel]:
    channel = await link.channel()
    try:
        yield channel
    finally:
        with suppress(BusUnavailable):
            async with answered("closing a channel"):
                await channel.close()


def message_of(message: Statement | ResyncRequest) -> Message:
    """The message as it is published; its headers tell what it is about without its being decoded."""
    trace = message.trace
    now = time.time_ns() // 1_000_000
    times = {PUBLISHED_AT: now, BEGAN_AT: now if trace.began_at is None else int(trace.began_at * 1000)}
    optional = {"key": message.host, "causation-id": trace.causation_id, "traceparent": trace.traceparent}
    return _persistent(
        encode(message),
        message_id=trace.message_id,
        correlation_id=trace.correlation_id,
        kind=type(message).__name__,
        headers={**times, **{name: each for name, each in optional.items() if each}},
    )


def carried_on(message: IncomingMessage, headers: dict[str, Any], expiration: float | None = None) -> Message:
    """The same message to be published again, with other headers of ours; those that say who caused it stay."""
    carried = {name: message.headers[name] for name in _CARRIED_ON if name in message.headers}
    return _persistent(
        message.body,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        kind=message.type,
        headers={**carried, **headers},
        expiration=expiration,
    )


def _persistent(
    body: bytes,
    *,
    message_id: str | None,
    correlation_id: str | None,
    kind: str | None,
    headers: dict[str, Any],
    expiration: float | None = None,
) -> Message:
    return Message(
        body,
        headers=headers,
        content_type=CONTENT_TYPE,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=message_id,
        correlation_id=correlation_id,
        expiration=expiration,
        timestamp=datetime.now(UTC),
        type=kind,
        app_id=_APP_ID,
    )
