"""The bus port beside bare aio-pika: statements a second from a publish to its acknowledgement by the consumer.

Both send statements of the same size to the same number of quorum queues with the same arguments, with confirms and so
many at once on their way, while one consumer with the same prefetch takes them: each on a vCenter of its own, so that
none supersedes another. They take turns on one broker, in one process. Bare aio-pika is measured a second time with
what the port does besides, as one would write it: a copy of each statement to the archive. The port bundles its copies.

Then the memory of a replica that starts behind a long backlog, and of the publisher that made it.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from rich.console import Console

from bench import report
from tests.contract.harness import DELAYS, EpochsInMemory, change
from tests.contract.replicas import Replica
from tests.stack import Stack
from vcenter_operator.common import telemetry
from vcenter_operator.common.bus import Ownership, Topology
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus
from vcenter_operator.common.bus.rabbitmq.consuming import PREFETCH
from vcenter_operator.common.bus.rabbitmq.topology import Names, declare
from vcenter_operator.common.messages import DnsChange, ResyncRequest, Stage, Statement
from vcenter_operator.common.wire import encode

STAGE = Stage.COLLECTOR
TOPOLOGY = Topology(partitions=4)
NAMES = Names(TOPOLOGY, DELAYS.steps)
SIZE = 1024
console = Console(width=110)

Publish = Callable[[int], Awaitable[None]]
Prepare = Callable[[range], None]


def main() -> None:
    """Starts the broker, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-bus", description=__doc__)
    parser.add_argument("--statements", type=int, default=4000, help="in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window", type=int, default=100, help="statements that wait for their confirm at once")
    parser.add_argument("--backlog", type=int, default=100_000)
    options = parser.parse_args()
    telemetry.configure("ERROR", json=False)
    stack = Stack()
    try:
        broker = stack.rabbitmq()
        vhosts = [broker.create_vhost(f"bench-{name}-{secrets.token_hex(4)}") for name in ("port", "bare", "backlog")]
        rates = asyncio.run(throughput(vhosts[0], vhosts[1], options.statements, options.rounds, options.window))
        memory = asyncio.run(backlog(vhosts[2], options.backlog))
        finish(stack, options, rates, memory)
    finally:
        stack.close()


def statement(host: int, sequence: int) -> DnsChange:
    """About `SIZE` bytes on the wire."""
    return change(f"vc-{host}.example.test", sequence).model_copy(update={"addresses": ("x" * (SIZE - 227),)})


@dataclass
class Arrived:
    """A consumer that does nothing but count."""

    count: int = 0
    owned: set[int] = field(default_factory=set)
    _wanted: int = 0
    _there: asyncio.Event = field(default_factory=asyncio.Event)

    def more(self) -> None:
        """One more."""
        self.count += 1
        if self.count >= self._wanted:
            self._there.set()

    async def all(self, number: int) -> None:
        """Returns when so many have come in all."""
        self._wanted = number
        if self.count < number:
            self._there.clear()
            await self._there.wait()

    async def take(self, ownership: Ownership) -> None:
        """See `Consumer`."""
        self.owned.add(ownership.partition)

    async def release(self, ownership: Ownership) -> None:
        """See `Consumer`."""

    async def handle(self, _: Statement, __: Ownership) -> None:
        """See `Consumer`."""
        self.more()

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        """See `Consumer`."""


async def through(publish: Publish, prepare: Prepare, arrived: Arrived, statements: int, window: int) -> float:
    """Statements a second: `window` publishers, until the last statement was handled."""
    wanted = arrived.count + statements
    prepare(range(arrived.count, wanted))
    numbers = iter(range(arrived.count, wanted))

    async def one_after_the_other() -> None:
        for number in numbers:
            await publish(number)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(window):
            group.create_task(one_after_the_other())
        group.create_task(arrived.all(wanted))
    return statements / (time.perf_counter() - began)


async def throughput(port_url: str, bare_url: str, statements: int, rounds: int, window: int) -> dict[str, list[float]]:
    """Rates of the port, of bare aio-pika, and of that with an archive, in turns."""
    rates: dict[str, list[float]] = {"port": [], "bare": [], "bare with archive": []}
    async with (
        over_the_port(port_url) as port,
        over_aio_pika(bare_url, archive=False) as bare,
        over_aio_pika(f"{bare_url}", archive=True) as archiving,
    ):
        for number in range(rounds + 1):
            for name, contestant in (("bare", bare), ("port", port), ("bare with archive", archiving)):
                rate = await through(*contestant, statements, window)
                if number > 0:  # the first one warms up
                    rates[name].append(rate)
            if number > 0:
                console.print(
                    f"round {number}: " + ", ".join(f"{name} {found[-1]:.0f}/s" for name, found in rates.items())
                )
    return rates


@asynccontextmanager
async def over_the_port(url: str) -> AsyncIterator[tuple[Publish, Prepare, Arrived]]:
    """A replica that publishes to itself."""
    bus, arrived = await RabbitMQBus.connect(url, TOPOLOGY, EpochsInMemory(), delays=DELAYS), Arrived()
    serving = asyncio.create_task(bus.serve(STAGE, arrived))
    while len(arrived.owned) < TOPOLOGY.partitions:
        await asyncio.sleep(0.05)

    prepared: dict[int, DnsChange] = {}

    def prepare(numbers: range) -> None:
        prepared.clear()
        prepared.update((number, statement(number, 1)) for number in numbers)

    async def publish(number: int) -> None:
        await bus.publish(prepared[number])

    yield publish, prepare, arrived
    serving.cancel()
    await asyncio.wait({serving})
    await bus.close()


@asynccontextmanager
async def over_aio_pika(url: str, *, archive: bool) -> AsyncIterator[tuple[Publish, Prepare, Arrived]]:
    """The same queues and the library alone: bytes in, acknowledged as they come out."""
    names = Names(Topology(TOPOLOGY.partitions, generation=2 if archive else 1), ())
    arrived, body = Arrived(), encode(statement(0, 1))

    async def taken(message: AbstractIncomingMessage) -> None:
        await message.ack()
        arrived.more()

    async with await aio_pika.connect(url) as sending, await aio_pika.connect(url) as receiving:
        channel = await sending.channel(publisher_confirms=True, on_return_raises=True)
        copies = await sending.channel(publisher_confirms=False)
        for stage in (Stage.DISCOVERY, STAGE):
            await declare(channel, names.of(stage))
        exchange = await channel.get_exchange(names.arrow(STAGE))
        archived = await copies.get_exchange(names.archive(STAGE))
        for partition in range(TOPOLOGY.partitions):
            consuming = await receiving.channel()
            await consuming.set_qos(prefetch_count=PREFETCH)
            await (await consuming.get_queue(names.partition(STAGE, partition))).consume(taken)

        async def publish(number: int) -> None:
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await exchange.publish(message, str(number % TOPOLOGY.partitions))
            if archive:
                await archived.publish(message, "", mandatory=False)

        yield publish, lambda _: None, arrived


async def backlog(url: str, length: int) -> dict[str, Any]:
    """Memory of the publisher and of a replica that starts behind so many statements on 50 vCenters, in bytes."""
    bus = await RabbitMQBus.connect(url, Topology(1), EpochsInMemory(), delays=DELAYS)
    hosts = 50
    await asyncio.gather(*(bus.publish(statement(host, 1)) for host in range(hosts)))
    before = resident()
    for sequence in range(2, length // hosts + 1):
        await asyncio.gather(*(bus.publish(statement(host, sequence)) for host in range(hosts)))
        if sequence % 400 == 0:
            console.print(f"backlog: {sequence * hosts} statements")
    published = resident() - before
    await bus.close()
    replica = await Replica.start(url, Path(tempfile.mkdtemp()), partitions=1)
    while not replica.of("take"):
        await asyncio.sleep(0.01)
    at_start, began = replica.memory(), time.perf_counter()
    newest = str(statement(0, length // hosts).revision)
    while len({each["host"] for each in replica.of("done") if each["age"] == newest}) < hosts:
        await asyncio.sleep(0.05)
    seconds, works = time.perf_counter() - began, len(replica.of("done"))
    grown = replica.memory() - at_start
    await replica.end()
    return {"statements": length, "publisher": published, "replica": grown, "seconds": seconds, "works": works}


def resident() -> int:
    """Memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def finish(stack: Stack, options: argparse.Namespace, rates: dict[str, list[float]], memory: dict[str, Any]) -> None:
    """Prints and writes what was measured."""
    found = {name: report.summary(samples) for name, samples in rates.items()}
    ratios = paired(rates["port"], rates["bare"]), paired(rates["port"], rates["bare with archive"])
    report.show(
        f"Statements of {SIZE} bytes a second, {options.window} at once, {options.rounds} rounds in turns",
        ("", "median", "min", "max", "port / this"),
        [
            (name, f"{its['median']:.0f}", f"{min(its['samples']):.0f}", f"{its['max']:.0f}", ratio)
            for (name, its), ratio in zip(found.items(), ("", *(f"{each:.2f}" for each in ratios)), strict=True)
        ],
        caption="From the publish to the acknowledgement. The aim is 0.9.",
    )
    report.show(
        f"Behind a backlog of {memory['statements']} statements on 50 vCenters",
        ("", ""),
        [
            ("memory that the replica gained, MiB", f"{memory['replica'] / 2**20:.1f}"),
            ("memory that the publisher gained, MiB", f"{memory['publisher'] / 2**20:.1f}"),
            ("seconds until the newest of each was worked on", f"{memory['seconds']:.1f}"),
            ("statements worked on", str(memory["works"])),
        ],
    )
    path = report.write(
        "bus",
        "statements a second through the bus port beside bare aio-pika, and memory behind a backlog",
        {"rates": found, "ratio": ratios[0], "ratio_with_archive": ratios[1], "backlog": memory},
        {served.name: served.version for served in stack.served},
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round: the two ran right after each other."""
    return float(report.summary([mine / bare for mine, bare in zip(ours, theirs, strict=True)])["median"])


if __name__ == "__main__":
    main()
