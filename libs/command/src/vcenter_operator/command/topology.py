"""What `vcenter-operator topology` does: shows it as RabbitMQ takes it, and removes that of another generation."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint, Link, answered
from vcenter_operator.common.bus.rabbitmq.definitions import definitions
from vcenter_operator.common.bus.rabbitmq.topology import Exchange, Names, Queue
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import BusUnavailable, ConfigurationError
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.settings import Settings

EXIT_REMOVED, EXIT_NOTHING_REMOVED = 0, 1


def show(settings: Settings, vhost: str) -> str:
    """The definitions file of these settings."""
    names = Names(Topology(settings.partitions, settings.generation), RetryDelays().steps)
    return json.dumps(definitions(names, vhost), indent=2) + "\n"


async def remove(settings: Settings, generation: int, ask: Callable[[str], bool]) -> int:
    """Deletes every queue and exchange of a generation that nobody uses any more. Returns the exit code.

    Whoever joins between the look and the deletion loses its partitions, declares them again and asks for a resync:
    quorum queues know no deletion on condition.

    Raises:
        ConfigurationError: it is the generation in use, or the broker refuses.
        BusUnavailable: the broker is away.
    """
    if generation == settings.generation:
        raise ConfigurationError(f"generation {generation} is the one in use (VCENTER_OPERATOR_GENERATION)")
    endpoint = Endpoint.parse(
        settings.bus, settings.heartbeat, settings.bus_ca, settings.bus_certificate, settings.bus_certificate_key
    )
    link = await endpoint.open(f"{socket.gethostname()}/{os.getpid()} removing a generation")
    try:
        return await _remove(link, generation, ask)
    finally:
        await link.close()


async def _remove(link: Link, generation: int, ask: Callable[[str], bool]) -> int:
    found = {item.name: counts for item in await _items(link, generation) if (counts := await _counts(link, item))}
    if not found:
        _say(f"generation {generation}: there is nothing of it")
        return EXIT_REMOVED
    used = [name for name, (_, consumers) in found.items() if consumers]
    if used:
        _say(f"not removed: somebody still works on generation {generation}: {', '.join(used)}")
        return EXIT_NOTHING_REMOVED
    for name, (messages, _) in found.items():
        if messages:
            _say(f"{name}: {messages} messages")
    if not ask(f"Delete the {len(found)} queues of generation {generation}, with all that is in them?"):
        _say("not removed")
        return EXIT_NOTHING_REMOVED
    for item in await _items(link, generation):
        channel = await _channel(link)
        async with answered(f"deleting {item.name}"):
            if isinstance(item, Exchange):
                await channel.exchange_delete(item.name)
            else:
                await channel.queue_delete(item.name)
            await channel.close()
    _say(f"removed: generation {generation}")
    return EXIT_REMOVED


async def _items(link: Link, generation: int) -> list[Exchange | Queue]:
    """With as many partitions as it has: its number is not known, so they are counted."""
    partitions = 0
    while True:
        names = Names(Topology(partitions + 1, generation), RetryDelays().steps)
        if await _counts(link, names.of_partition(Stage.APPLIER, partitions)) is None:
            return Names(Topology(partitions, generation), RetryDelays().steps).everything()
        partitions += 1


async def _counts(link: Link, item: Exchange | Queue) -> tuple[int, int] | None:
    """Messages and consumers of a queue; None: there is none of that name."""
    if isinstance(item, Exchange):
        return None
    channel = await _channel(link)
    try:
        async with answered(f"asking for queue {item.name}"):
            answer = await channel.queue_declare(item.name, passive=True)
            await channel.close()
    except BusUnavailable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            return None
        raise
    return answer.message_count or 0, answer.consumer_count or 0


async def _channel(link: Link) -> AbstractChannel:
    return await (await link.channel()).get_underlay_channel()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
