"""Reading the archive: the streams beside the arrows. Nothing is taken away by it, and nothing published.

A stream has no end to read to, so its newest messages are looked at first: what is published after that look is not
read. RabbitMQ finds the place for a time by the chunks of the stream, which may begin earlier, and starts after the end
where all is older; so what is older is left out here, and a stream whose newest message is older is not read at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import NamedTuple

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from vcenter_operator.common.bus.rabbitmq.archiving import Archived, archived
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint, Link, answered
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.errors import BusUnavailable, ConfigurationError
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_PREFETCH = 20
_ANSWERED_EVERY = 10
_CLOCKS_DIFFER = timedelta(minutes=1)
"""By so much the clocks of broker and publishers may."""

OnProgress = Callable[[Stage, int, int], None]
"""Told of a stream how many bundles of statements were read, and about how many there are to read."""


class Bundle(NamedTuple):
    """What travelled together; no statements: it is nothing that this version can read."""

    offset: int
    statements: list[Archived]


class Archive:
    """The archive of one topology."""

    def __init__(self, endpoint: Endpoint, names: Names, on_progress: OnProgress | None = None) -> None:
        self._endpoint = endpoint
        self._names = names
        self._on_progress = on_progress

    async def read(self, stage: Stage, since: datetime | None = None) -> AsyncGenerator[Archived, None]:
        """What was said to a stage, oldest first, up to what is there now. Close it where it is not read to the end.

        Raises:
            BusUnavailable: the broker is away, or stopped answering.
            ConfigurationError: there is no such archive, or the broker refuses user, password or certificate.
        """
        async with self._endpoint.linked("archive") as link:
            newest = await self._newest(link, stage)
            if newest is None:
                return
            if since is not None and newest.statements and newest.statements[-1].at < since - _CLOCKS_DIFFER:
                return
            start = "first" if since is None else since - 2 * _CLOCKS_DIFFER
            count = unread = 0
            async with aclosing(self._from(link, stage, start)) as bundles:
                async for bundle in bundles:
                    count += 1
                    if self._on_progress is not None:
                        self._on_progress(stage, count, count + newest.offset - bundle.offset)
                    unread += not bundle.statements
                    for one in bundle.statements:
                        if since is None or one.at >= since:
                            yield one
                    if bundle.offset >= newest.offset:
                        break
            if unread:
                log.warning("in the archive is what this version cannot read", stage=str(stage), messages=unread)

    async def _newest(self, link: Link, stage: Stage) -> Bundle | None:
        """The newest; None: there are none.

        A consumer that begins with the last chunk is sent all of it before anything else is answered on its channel
        (RabbitMQ 3.10; the prefetch bounds chunks there, not messages). The broker's count lags by seconds.
        """
        queue = self._names.archive(stage)
        arrivals: asyncio.Queue[Bundle] = asyncio.Queue()
        channel = await _consuming(link, queue)
        async with answered(f"reading {queue}"):
            await _consume(channel, queue, stage, "last", arrivals)
            if not await _count(channel, queue) and arrivals.empty():
                return None
            newest = await arrivals.get()
            await _count(channel, queue)
            while not arrivals.empty():
                newest = arrivals.get_nowait()
            await channel.close()
        return newest

    async def _from(self, link: Link, stage: Stage, start: str | datetime) -> AsyncGenerator[Bundle, None]:
        queue = self._names.archive(stage)
        arrivals: asyncio.Queue[Bundle] = asyncio.Queue()
        channel = await _consuming(link, queue)
        tag = 0
        async with answered(f"reading {queue}"):
            await _consume(channel, queue, stage, start, arrivals)
        while True:
            async with answered(f"reading {queue}"):
                bundle = await arrivals.get()
                tag += 1
                if tag % _ANSWERED_EVERY == 0:
                    await channel.basic_ack(tag, multiple=True)
            yield bundle


async def _consuming(link: Link, queue: str) -> AbstractChannel:
    channel = await (await link.channel()).get_underlay_channel()
    try:
        async with answered(f"reading {queue}"):
            await channel.basic_qos(prefetch_count=_PREFETCH)
            await _count(channel, queue)
    except BusUnavailable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            raise ConfigurationError(f"RabbitMQ: there is no {queue}: no stage ever ran with these settings") from None
        raise
    return channel


async def _count(channel: AbstractChannel, queue: str) -> int:
    return (await channel.queue_declare(queue, passive=True)).message_count or 0


async def _consume(
    channel: AbstractChannel, queue: str, stage: Stage, start: str | datetime, arrivals: asyncio.Queue[Bundle]
) -> None:
    async def arrived(delivered: DeliveredMessage) -> None:
        offset = (delivered.header.properties.headers or {}).get("x-stream-offset")
        assert isinstance(offset, int)
        arrivals.put_nowait(Bundle(offset, archived(stage, offset, delivered.body)))

    await channel.basic_consume(queue, arrived, arguments={"x-stream-offset": start})
