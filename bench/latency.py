"""Latency: from a change in a vCenter, in DNS or in a template to the object in the API server.

Four processes over RabbitMQ, on the real servers of the test stack. Each round makes every kind of change once, one
after the other, and beside them runs the bare chain (`bench.bare`) on the same servers: what one property read, three
confirmed publishes and deliveries and one server-side apply take without us.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import bare, report
from bench.changes import Change, Changes
from bench.observing import Observer, observing
from bench.proxies import NotifyRelay
from bench.stages import NOTIFIED, PUSH, Passage, spine
from bench.starting import prepared, wait_for_all
from tests.e2e.processes import Service
from tests.e2e.region import Region
from tests.ports import free_port
from tests.stack import Stack

PARTITIONS = 11
VCENTERS, CLUSTERS, FIRST_BLOCK = 4, 4, 10
AIM_MEDIAN, AIM_P99 = 2.0, 5.0
WARM_UP = 3
"""Rounds that do not count."""
console = Console(width=110)


def main() -> None:
    """Starts the servers, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-latency", description=__doc__)
    parser.add_argument("--samples", type=int, default=50, help="of each kind of change")
    parser.add_argument("--poll-every", type=float, default=2.0, help="seconds between two looks at the zone's serial")
    parser.add_argument("--only", default="", help="kinds of change, by parts of their names, comma-separated")
    options = parser.parse_args()
    stack = Stack()
    try:
        run(stack, options.samples, options.poll_every, [part for part in options.only.split(",") if part])
    finally:
        stack.close()


def run(stack: Stack, samples: int, poll_every: float, only: Sequence[str]) -> None:
    """The benchmark on a stack."""
    region = prepared(stack, VCENTERS, CLUSTERS, first_block=FIRST_BLOCK)
    notify = "127.0.0.1", free_port("127.0.0.1")
    settings = {
        "partitions": str(PARTITIONS),
        "heartbeat": "10",
        "notify_address": notify[0],
        "notify_port": str(notify[1]),
        "deletion_share": "1",
    }
    fleet = region.fleet(1, (), dns_poll_every=f"{poll_every:g}", **settings)

    def leave_it_to_notify() -> None:
        fleet["discovery"][0].stop()
        service = Service("discovery", 1, region.environment(dns_poll_every="600", **settings), region.folder)
        fleet["discovery"][0] = service
        service.start()

    try:
        wait_for_all(region, FIRST_BLOCK, VCENTERS * CLUSTERS, fleet.check_alive)
        passages, chains = asyncio.run(phases(stack, region, notify, leave_it_to_notify, samples, only))
        fleet.check_alive()
    except BaseException:
        console.print(region.logs(), markup=False, soft_wrap=True)
        raise
    finally:
        region.close()
    finish(stack, passages, chains, poll_every)


async def phases(
    stack: Stack,
    region: Region,
    notify: tuple[str, int],
    leave_it_to_notify: Callable[[], None],
    samples: int,
    only: Sequence[str],
) -> tuple[list[Passage], list[bare.Sample]]:
    """Every kind of change; at last the one in DNS once more, with servers that send NOTIFY: Knot, then BIND."""
    async with observing(region, PARTITIONS, ("ConfigMap", "Secret", "Deployment", "VCenterTemplate")) as observer:
        changes = await asyncio.to_thread(Changes, region, observer)
        pushes = Pushes(region.vcenters["vc-a-0"])
        try:
            async with bare.connected(region, region.vcenters["vc-a-0"]) as chain:
                rounds = Rounds(observer, pushes, NotifyRelay(*notify), changes, chain, samples, only)
                await rounds.run([*changes.kinds, changes.in_dns("polled")])
                await asyncio.to_thread(leave_it_to_notify)
                await observer.quiet(5.0)
                port = await rounds.relay.start()
                await asyncio.to_thread(region.zone.notify_to, "127.0.0.1", port)
                await rounds.run([changes.in_dns("NOTIFY of Knot")])
                await asyncio.to_thread(move_to_bind, stack, region, port)
                await observer.quiet(5.0)
                await rounds.run([changes.in_dns("NOTIFY of BIND")])
        finally:
            await asyncio.to_thread(pushes.close)
            await asyncio.to_thread(changes.close)
    return rounds.passages, rounds.chains


def move_to_bind(stack: Stack, region: Region, notified: int) -> None:
    """The zone is BIND's from now on, which sends NOTIFY at once, where Knot waits a second."""
    knot = region.zone
    bind = stack.start_bind(key=knot.key, notify=("127.0.0.1", notified), serial=knot.serial())
    for name, rtype, value in knot.records():
        if name not in ("@", "ns"):
            bind.add(name, rtype, value)
    region.zone = bind
    region.put_secret()


@dataclass
class Rounds:
    """Every kind of change in turn, and the bare chain after each."""

    observer: Observer
    pushes: Pushes
    relay: NotifyRelay
    changes: Changes
    chain: bare.Chain
    samples: int
    only: Sequence[str]
    passages: list[Passage] = field(default_factory=list)
    chains: list[bare.Sample] = field(default_factory=list)

    async def run(self, kinds: Sequence[Change]) -> None:
        """So many rounds as samples are wanted, after some that do not count."""
        kinds = [kind for kind in kinds if not self.only or any(part in kind.name for part in self.only)]
        for number in range(-WARM_UP, self.samples if kinds else -WARM_UP):
            for kind in kinds:
                seen = await self._measure(kind, number)
                self.changes.remember()
                sample = await self.chain.run(self.changes.bodies, self.changes.manifest)
                if number >= 0:
                    self.passages += seen
                    self.chains.append(sample)
            if number % 10 == 9:
                console.print(f"{number + 1} of {self.samples} rounds with {len(kinds)} kinds of change")

    async def _measure(self, kind: Change, number: int) -> list[Passage]:
        """One change, from the call that makes it to what it leads to; and the way back, if that is a change too."""
        await kind.prepare(number)
        passages = []
        for step in kind.steps(number):
            await self.observer.quiet()
            self.observer.forget()
            began = await step.make()
            written = await self.observer.see(partial(step.wanted, began), f"{step.name} {number}")
            await self.observer.quiet()
            told = self._told(kind, began, written.at)
            passages.append(Passage.of(step.name, began, told, written, self.observer))
        return passages

    def _told(self, kind: Change, began: float, until: float) -> tuple[str, float] | None:
        """Who told of the change first, to those who only wait."""
        sources = ((PUSH, self.pushes.at),) if kind.in_vcenter else ((NOTIFIED, self.relay.at),)
        return next(((who, at) for who, times in sources for at in list(times) if began <= at <= until), None)


class Pushes(threading.Thread):
    """When a vCenter reports changes to somebody who does nothing but wait for them."""

    def __init__(self, vcenter: Any) -> None:
        super().__init__(daemon=True)
        self._session = bare.Session(vcenter)
        self._session.watch()
        self.at: list[float] = []
        self._ended = False
        self.start()

    def run(self) -> None:
        """Waits, again and again."""
        while not self._ended:
            if self._session.wait(2):
                self.at.append(time.perf_counter())

    def close(self) -> None:
        """Ends the session."""
        self._ended = True
        self.join(10)
        self._session.close()


def finish(stack: Stack, passages: list[Passage], chains: list[bare.Sample], poll_every: float) -> None:
    """Prints and writes what was measured."""
    chain = report.summary([sample.total for sample in chains])
    steps = {step: report.summary([sample.steps[step] for sample in chains]) for step in bare.STEPS}
    by_name: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        by_name[passage.name].append(passage)
    rows: list[tuple[str, ...]] = [("the bare chain", *_ms(chain), "", "", "", "")]
    results = {}
    for name, each in by_name.items():
        total = report.summary([passage.total for passage in each])
        ours = report.summary([passage.total - passage.told for passage in each])
        ratios = {
            f"{of}_{part}": found[part] / chain[part]
            for of, found in (("total", total), ("ours", ours))
            for part in ("median", "p99")
        }
        rows.append((name, *_ms(total), *(f"{ratio:.1f}" for ratio in ratios.values())))
        results[name] = {
            **total,
            "ratios": ratios,
            "ours": ours,
            "stages": _stages(each),
            "last_object": report.summary([passage.last for passage in each]),
        }
    report.show(
        "Latency to the object in the API server, in ms",
        ("", "median", "p99", "max", "x", "x p99", "x of ours", "x p99 of ours"),
        rows,
        caption=f"x: times the bare chain. Aims: median <= {AIM_MEDIAN:g} x, p99 <= {AIM_P99:g} x. Ours: from when the "
        "vCenter, the DNS server or the API server tells somebody who only waits. The zone's serial is looked at "
        f"every {poll_every:g} s.",
    )
    report.show(
        "The bare chain, in ms", ("", "median", "p99", "max"), [(step, *_ms(steps[step])) for step in bare.STEPS]
    )
    for name in by_name:
        shown = [(stage, *_ms(found)) for stage, found in results[name]["stages"].items()]
        shown.append(("to the last object of the change", *_ms(results[name]["last_object"])))
        report.show(f"{name}: where the time goes, in ms", ("", "median", "p99", "max"), shown)
    servers = {served.name: served.version for served in stack.served if not served.name.startswith("vc-")}
    path = report.write(
        "latency",
        "from a change to the object in the API server, four processes, beside the bare chain",
        {
            "aims": {"ratio_median": AIM_MEDIAN, "ratio_p99": AIM_P99},
            "dns_poll_every_seconds": poll_every,
            "vcenters": VCENTERS,
            "clusters_each": CLUSTERS,
            "seconds": results,
            "bare_chain_seconds": {**chain, "steps": steps},
        },
        servers,
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


def _stages(passages: list[Passage]) -> dict[str, dict[str, Any]]:
    """By name, in the order in which they are passed; details are indented."""
    found: dict[str, list[float]] = {}
    for passage in passages:
        for stage, seconds in passage.stages:
            found.setdefault(stage, []).append(seconds)
    order = [name for name in spine(passages) if name in found]
    return {name: report.summary(found[name]) for name in order}


def _ms(summary: dict[str, Any]) -> tuple[str, str, str]:
    return tuple(f"{summary[name] * 1000:.0f}" for name in ("median", "p99", "max"))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
