"""The way into the archive, and what is in there: bundles of statements, each as it was published.

A copy that is a message of its own costs broker and publisher as much as its statement. So there is one bundle on its
way at a time, there is a pause before the next unless this one was full, and what is published meanwhile goes with that
one: alone and at once where little is said, together where much.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgpack
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel

from vcenter_operator.common.bus.rabbitmq.confirming import confirmed
from vcenter_operator.common.bus.rabbitmq.connection import Link, answered
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.messages import Stage, Statement
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.wire import CONTENT_TYPE, MAX_BYTES

log = logger(__name__)

_WITHIN = 1.0
"""Seconds that the archive has for a bundle."""
_PAUSE = 0.1
"""Seconds between two bundles."""
_BUNDLE = 1024 * 1024
"""Bytes of a bundle; a statement that is larger goes alone."""


@dataclass(frozen=True)
class Archived:
    """A statement as it was published. What it is about is known without decoding `body`."""

    stage: Stage
    """The stage that it is for."""
    offset: int
    """The place of its bundle in the stream."""
    at: datetime
    kind: str
    host: str
    message_id: str
    correlation_id: str
    body: bytes = field(repr=False)


class Archiver:
    """Sends copies over a channel with confirms. What fails holds nothing up: the statements themselves are safe."""

    def __init__(self, link: Link, channel: AbstractChannel, names: Names) -> None:
        self._link = link
        self._channel = channel
        self._names = names
        self._waiting: defaultdict[Stage, deque[bytes]] = defaultdict(deque)
        self._sending: asyncio.Task[None] | None = None
        self._finishing = asyncio.Event()

    def add(self, statement: Statement, body: bytes, at: float) -> None:
        """A copy of what was published at that time (seconds since the epoch)."""
        trace = statement.trace
        about = (type(statement).__name__, statement.host, trace.message_id, trace.correlation_id)
        copy: bytes = msgpack.packb((round(at * 1000), *about, body))
        self._waiting[statement.receiver].append(copy)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name="archiving")

    async def finish(self) -> None:
        """Returns when what was added is sent, or after a while; what is not is said."""
        self._finishing.set()
        if self._sending is not None:
            _, pending = await asyncio.wait({self._sending}, timeout=_WITHIN)
            if pending:
                self._sending.cancel()
                await asyncio.wait(pending)
        if left := sum(map(len, self._waiting.values())):
            log.warning("statements are missing in the archive", count=left, error="there was no time for them")

    async def _send(self) -> None:
        while any(self._waiting.values()):
            more = False
            for stage, copies in list(self._waiting.items()):
                if copies:
                    bundle = list(_taken(copies))
                    more |= bool(copies)
                    try:
                        await self._send_bundle(stage, bundle)
                    except asyncio.CancelledError:
                        copies.extendleft(reversed(bundle))
                        raise
            if more:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self._finishing.wait()

    async def _send_bundle(self, stage: Stage, copies: list[bytes]) -> None:
        body = b"".join(copies)
        if len(body) > MAX_BYTES:
            log.warning("a statement is too large for the archive", bytes=len(body))
            return
        message = Message(body, content_type=CONTENT_TYPE, delivery_mode=DeliveryMode.PERSISTENT)
        try:
            async with answered("archiving", _WITHIN):
                await confirmed(self._link, self._channel, self._names.archive(stage), "", message)
        except BusUnavailable as error:
            count = len(copies) + len(self._waiting[stage])
            self._waiting[stage].clear()  # or it would pile up while the archive takes nothing
            log.warning("statements are missing in the archive", count=count, error=str(error))


def archived(stage: Stage, offset: int, body: bytes) -> list[Archived]:
    """The statements of a bundle, in the order in which they were published; none: it is no bundle."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(body) or 1)
    unpacker.feed(body)
    try:
        return [_one(stage, offset, *copy) for copy in unpacker]
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return []


def _one(
    stage: Stage, offset: int, at: int, kind: str, host: str, message_id: str, correlation_id: str, body: bytes
) -> Archived:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return Archived(stage, offset, moment, kind, host, message_id, correlation_id, body)


def _taken(copies: deque[bytes]) -> Iterator[bytes]:
    """The first ones, as many as fit into a bundle."""
    size = len(copies[0])
    yield copies.popleft()
    while copies and (size := size + len(copies[0])) <= _BUNDLE:
        yield copies.popleft()
