"""Fail-over on RabbitMQ: how long partitions have no owner after a death and after a hang, and how replicas share them.

Replicas of one stage as processes (`tests/contract/replica.py`), which own the partitions of an idle pipeline with the
default heartbeat. One is killed (SIGKILL) or stopped (SIGSTOP); the clock stops when the last of its partitions is
taken by another one. Then replicas join and leave one by one, and the spread is noted when it has settled.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import report
from tests.contract.replicas import Replica
from tests.stack import Stack

HEARTBEAT = 10
WITHIN = 90.0
console = Console(width=110)


def main() -> None:
    """Starts the broker, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-failover", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--hangs", type=int, default=5)
    parser.add_argument("--partitions", type=int, default=11)
    options = parser.parse_args()
    stack = Stack()
    try:
        url = stack.rabbitmq().create_vhost(f"bench-{secrets.token_hex(4)}")
        found = asyncio.run(run(url, options.kills, options.hangs, options.partitions))
        finish(stack, *found)
    finally:
        stack.close()


class Group:
    """Replicas of one stage."""

    def __init__(self, url: str, partitions: int) -> None:
        self._url = url
        self._partitions = partitions
        self._folder = Path(tempfile.mkdtemp())
        self.replicas: list[Replica] = []

    async def join(self) -> Replica:
        """One more."""
        replica = await Replica.start(self._url, self._folder, heartbeat=HEARTBEAT, partitions=self._partitions)
        self.replicas.append(replica)
        return replica

    async def leave(self, replica: Replica) -> None:
        """One less: it is killed, unless it is dead already."""
        self.replicas.remove(replica)
        await replica.end()

    @property
    def spread(self) -> list[int]:
        """How many partitions each has, most first."""
        return sorted((len(replica.owned()) for replica in self.replicas), reverse=True)

    async def settled(self) -> float:
        """Returns when each partition has an owner and nobody more than a fair share: after how many seconds."""
        began, share = time.monotonic(), -(-self._partitions // len(self.replicas))
        await until(lambda: sum(self.spread) == self._partitions and self.spread[0] <= share, "an even spread")
        return time.monotonic() - began

    async def taken_from(self, victim: Replica, how: signal.Signals) -> float:
        """Seconds from the signal until others have taken all that the victim had."""
        partitions = victim.owned()
        others = [replica for replica in self.replicas if replica is not victim]
        began = time.monotonic()
        victim.process.send_signal(how)

        def since(partition: int) -> float | None:
            takes = (each for other in others for each in other.of("take") if each["partition"] == partition)
            return min((each["at"] for each in takes if each["at"] > began), default=None)

        await until(lambda: all(since(partition) for partition in partitions), "all to be taken")
        return max(since(partition) or 0.0 for partition in partitions) - began


async def until(condition: Callable[[], Any], what: str) -> None:
    """Polls; RuntimeError after `WITHIN` seconds."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {WITHIN:g} s: {what}")
        await asyncio.sleep(0.02)


Spread = tuple[int, list[int], float]
"""Replicas, partitions of each, seconds until it was so."""


async def run(url: str, kills: int, hangs: int, partitions: int) -> tuple[list[float], list[float], list[Spread]]:
    """The benchmark: seconds after kills, seconds after hangs, and the spreads."""
    group, spreads = Group(url, partitions), []
    for number in (1, 2, 3, 4):
        await group.join()
        seconds = await group.settled()
        spreads.append((number, group.spread, seconds))
    for number in (3, 2, 1):
        await group.leave(random.choice(group.replicas))
        seconds = await group.settled()
        spreads.append((number, group.spread, seconds))
    for number, spread, seconds in spreads:
        console.print(f"{number} replicas: {spread} after {seconds:.1f} s")

    while len(group.replicas) < 3:
        await group.join()
    after_kill, after_hang = [], []
    for number in range(1, kills + 1):
        await group.settled()
        victim = random.choice(group.replicas)
        after_kill.append(await group.taken_from(victim, signal.SIGKILL))
        await group.leave(victim)
        await group.join()
        console.print(f"kill {number}: {after_kill[-1]:.2f} s")
    for number in range(1, hangs + 1):
        await group.settled()
        victim = random.choice(group.replicas)
        after_hang.append(await group.taken_from(victim, signal.SIGSTOP))
        victim.process.send_signal(signal.SIGCONT)
        await until(lambda victim=victim: not victim.owned() or group.spread[-1] > 0, "it to wake")  # type: ignore[misc]
        console.print(f"hang {number}: {after_hang[-1]:.2f} s")
    for replica in group.replicas:
        await replica.end()
    return after_kill, after_hang, spreads


def finish(stack: Stack, after_kill: Sequence[float], after_hang: Sequence[float], spreads: list[Spread]) -> None:
    """Prints and writes what was measured."""
    summaries = {"killed": report.summary(after_kill), "stopped": report.summary(after_hang)}
    report.show(
        f"Seconds until every partition of a replica has a new owner, heartbeat {HEARTBEAT} s",
        ("", "samples", "median", "max", "aim"),
        [
            (name, str(len(found["samples"])), f"{found['median']:.2f}", f"{found['max']:.2f}", aim)
            for (name, found), aim in zip(summaries.items(), ("2", f"{2.5 * HEARTBEAT:g}"), strict=True)
        ],
    )
    report.show(
        "Partitions as replicas join and leave one by one",
        ("replicas", "partitions of each", "after s"),
        [(str(number), " ".join(map(str, spread)), f"{seconds:.1f}") for number, spread, seconds in spreads],
    )
    path = report.write(
        "failover",
        "seconds without an owner after a kill and a hang, and the spread of partitions over replicas",
        {"heartbeat": HEARTBEAT, **summaries, "spreads": spreads},
        {served.name: served.version for served in stack.served},
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
