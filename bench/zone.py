"""How long the event loop stands still while a zone of 10,000 and of 100,000 names is transferred.

Beside it, in the same run, the bare call: dnspython's asynchronous transfer into its own zone, in the loop. Both from
the same Knot, signed; whole (AXFR), and incremental (IXFR) after a change of one name.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.exception
import dns.name
import dns.query
import dns.tsigkeyring
import dns.update
import dns.versioned
import dns.xfr
from rich.console import Console

from bench import report
from tests.stack import Stack
from tests.stack.dns import Knot
from vcenter_operator.discovery.adapters.process import TransferProcess
from vcenter_operator.discovery.adapters.transfer import Order

SIZES = (10_000, 100_000)
WITHIN = 300.0
TICK = 0.001
console = Console(width=110)


@dataclass
class Measured:
    """One way of transferring one zone, over the runs."""

    pauses: list[float] = field(default_factory=list)
    """Longest of each run: how much later than due the loop came back, in seconds."""
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """CPU seconds of this process."""
    failures: list[str] = field(default_factory=list)


Results = dict[tuple[int, str, str], Measured]


def main() -> None:
    """Starts a server, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-zone", description=__doc__)
    parser.add_argument("--names", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    stack = Stack()
    try:
        knot = stack.start_dns()
        results: Results = {}
        memory: dict[int, int] = {}
        for names in sorted(options.names):
            console.print(f"filling a zone with {names} names")
            fill(knot, names)
            for _ in range(options.runs):
                asyncio.run(ours(knot, names, results, memory))
                asyncio.run(bare(knot, names, results))
                gc.collect()
        finish(stack, results, memory)
    finally:
        stack.close()


async def ours(knot: Knot, names: int, results: Results, memory: dict[int, int]) -> None:
    """As the discovery does it."""

    def order(*, afresh: bool) -> Order:
        return Order(knot.zone, knot.address, knot.port, knot.tsig_key, None, afresh, 60.0, WITHIN)

    async with TransferProcess() as transfers:
        await transfers.transfer(order(afresh=True))  # the process is there
        await measured(results, (names, "discovery", "AXFR"), lambda: transfers.transfer(order(afresh=True)))
        await transfers.transfer(order(afresh=False))  # it has tidied up
        knot.add("changed", "A", "10.9.9.9")
        await measured(results, (names, "discovery", "IXFR"), lambda: transfers.transfer(order(afresh=False)))
        knot.remove("changed")
        memory[names] = max(memory.get(names, 0), resident(transfers.pid))


async def bare(knot: Knot, names: int, results: Results) -> None:
    """The library alone."""
    zone = dns.versioned.Zone(dns.name.from_text(knot.zone), relativize=False)

    async def transfer() -> None:
        query, _ = dns.xfr.make_query(zone, keyring=keyring(knot), keyname=dns.name.from_text(knot.key.name))
        await dns.asyncquery.inbound_xfr(knot.address, zone, query, knot.port, 60.0, WITHIN)

    await measured(results, (names, "bare", "AXFR"), transfer)
    if (names, "bare", "AXFR") in results and results[names, "bare", "AXFR"].failures:
        return
    knot.add("changed", "A", "10.9.9.9")
    await measured(results, (names, "bare", "IXFR"), transfer)
    knot.remove("changed")


async def measured(results: Results, key: tuple[int, str, str], transfer: Callable[[], Awaitable[object]]) -> None:
    """Runs a transfer while a clock ticks in the same loop."""
    found = results.setdefault(key, Measured())
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            longest = max(longest, time.perf_counter() - due)

    gc.collect()
    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.05)
    longest = 0.0
    started, cpu = time.perf_counter(), time.process_time()
    try:
        await transfer()
    except (OSError, EOFError, dns.exception.DNSException) as error:
        found.failures.append(f"{type(error).__name__} after {time.perf_counter() - started:.1f} s")
    else:
        found.seconds.append(time.perf_counter() - started)
        found.cpu.append(time.process_time() - cpu)
    await asyncio.sleep(2 * TICK)  # a pause at the very end is seen, too
    found.pauses.append(longest)
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking


def fill(knot: Knot, names: int) -> None:
    """Names of hosts, up to as many; those that are there already stay."""
    for start in range(0, names, 1000):
        update = dns.update.UpdateMessage(knot.zone, keyring=keyring(knot))
        for number in range(start, min(names, start + 1000)):
            update.replace(f"host-{number}", 60, "A", "10.1.2.3")
        dns.query.tcp(update, knot.address, timeout=60, port=knot.port)


def keyring(knot: Knot) -> dict[dns.name.Name, Any]:
    """The zone's key, as dnspython takes it."""
    made: dict[dns.name.Name, Any] = dns.tsigkeyring.from_text({knot.key.name: (knot.key.algorithm, knot.key.secret)})
    return made


def resident(pid: int | None) -> int:
    """MiB of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


def finish(stack: Stack, results: Results, memory: dict[int, int]) -> None:
    """Prints and writes what was measured."""
    rows = []
    for (names, how, kind), found in results.items():
        seconds = report.summary(found.seconds)["median"] if found.seconds else None
        rows.append(
            (
                f"{names:,} names, {kind}, {how}",
                f"{1000 * report.summary(found.pauses)['max']:.0f}",
                f"{1000 * report.summary(found.pauses)['median']:.0f}",
                f"{seconds:.2f}" if seconds is not None else "-",
                f"{report.summary(found.cpu)['median']:.2f}" if found.cpu else "-",
                f"{len(found.failures)} of {len(found.pauses)}",
            )
        )
    report.show(
        "The loop while a zone is transferred",
        ("", "longest pause ms", "median of runs", "seconds", "CPU here s", "failed"),
        rows,
        caption="Failed: the server cut the transfer off, because parsing in the loop keeps it from reading. "
        f"Memory of the transferring process: {', '.join(f'{value} MiB at {key:,}' for key, value in memory.items())}.",
    )
    servers = {served.name: served.version for served in stack.served} | {"dnspython": version("dnspython")}
    path = report.write(
        "zone",
        "longest pause of the event loop during zone transfers, beside dnspython's own asynchronous transfer",
        {
            "results": [
                {
                    "names": names,
                    "by": how,
                    "kind": kind,
                    "longest_pause_seconds": report.summary(found.pauses),
                    "seconds": report.summary(found.seconds) if found.seconds else None,
                    "cpu_seconds_in_the_loops_process": report.summary(found.cpu) if found.cpu else None,
                    "failures": found.failures,
                }
                for (names, how, kind), found in results.items()
            ],
            "transferring_process_mib": {str(names): value for names, value in memory.items()},
        },
        servers,
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
