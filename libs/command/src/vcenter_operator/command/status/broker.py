"""The broker, asked by passive declarations: they tell how many messages and consumers a queue has, and need no plugin.

Messages that a consumer has in hand are not counted by the broker.
"""

from __future__ import annotations

import os
import socket
from types import TracebackType
from typing import Self

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint, Link, answered
from vcenter_operator.common.bus.rabbitmq.topology import Names, Queue
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.settings import Settings


def names_of(settings: Settings) -> Names:
    """The queues by these settings, which have to be those of the stages."""
    return Names(Topology(settings.partitions, settings.generation), RetryDelays().steps)


class Broker:
    """One connection, made when it is needed and again when it was lost. An async context manager."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Raises ConfigurationError: the URL or the CA bundle is wrong."""
        self._endpoint = Endpoint.parse(
            url, settings.heartbeat, settings.bus_ca, settings.bus_certificate, settings.bus_certificate_key
        )
        self._queues = [item.name for item in names_of(settings).everything() if isinstance(item, Queue)]
        self._link: Link | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def counts(self) -> dict[str, tuple[int, int] | None]:
        """Messages and consumers of every queue; None: there is no such queue.

        Raises:
            BusUnavailable: the broker is away.
            ConfigurationError: it refuses user or password, or its certificate is not to be trusted.
        """
        try:
            return await self._counts(await self._connected())
        except BaseException:
            await self._close()
            raise

    async def _connected(self) -> Link:
        if self._link is None or self._link.lost.is_set():
            await self._close()
            self._link = await self._endpoint.open(f"{socket.gethostname()}/{os.getpid()} status")
        return self._link

    async def _counts(self, link: Link) -> dict[str, tuple[int, int] | None]:
        found: dict[str, tuple[int, int] | None] = {}
        channel = None
        for name in self._queues:
            channel = channel or await _channel(link)
            try:
                async with answered(f"asking for queue {name}"):
                    answer = await channel.queue_declare(name, passive=True)
            except BusUnavailable as error:
                if not isinstance(error.__cause__, ChannelNotFoundEntity):
                    raise
                found[name], channel = None, None  # the broker closes the channel
            else:
                found[name] = answer.message_count or 0, answer.consumer_count or 0
        if channel is not None:
            await channel.close()
        return found

    async def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()


async def _channel(link: Link) -> AbstractChannel:
    return await (await link.channel()).get_underlay_channel()
