"""Latency: from a change in a vCenter, in DNS or in a template to the object in the API server.

Four processes over RabbitMQ, on the real servers of the test stack. Each round makes every kind of change once, one
after the other, and beside them runs the bare chain (`bench.bare`) on the same servers: what one property read, three
confirmed publishes and deliveries and one server-side apply take without us.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import bare, report
from bench.changes import Change, Changes
from bench.observing import Observer, observing
from bench.stages import Passage, spine
from tests.e2e.region import Region, of_cluster
from tests.stack import Stack
from tests.waiting import eventually

PARTITIONS = 8
VCENTERS, CLUSTERS = 4, 4
TEMPLATES = ("nova-compute-etc", "nova-compute", "neutron-dvs-agent")
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
    region = prepared(stack)
    fleet = region.fleet(
        partitions=str(PARTITIONS), heartbeat="10", dns_poll_every=f"{poll_every:g}", deletion_share="1"
    )
    try:
        eventually(
            lambda: region.objects().keys() >= of_cluster(*range(10, 10 + CLUSTERS)),
            "the first objects",
            within=120,
            otherwise=region.logs,
        )
        passages, chains = asyncio.run(rounds(region, samples, only))
        fleet.check_alive()
    except BaseException:
        console.print(region.logs(), markup=False, soft_wrap=True)
        raise
    finally:
        region.close()
    finish(stack, passages, chains, poll_every)


def prepared(stack: Stack) -> Region:
    """A namespace, a zone, vCenters and templates."""
    zone = stack.dns()
    zone.clear()
    region = Region(stack.kubernetes(), zone, "", "", stack.start_vcsim, Path(tempfile.mkdtemp(dir=stack.folder)))
    region.namespace = f"bench-{secrets.token_hex(4)}"
    region.kubernetes.create_namespace(region.namespace)
    region.amqp_url = stack.rabbitmq().create_vhost(region.namespace)
    for number in range(VCENTERS):
        region.vcenter(f"vc-a-{number}", f"QA-DE-1{chr(ord('A') + number)}", CLUSTERS, block=10 + number * CLUSTERS)
    region.prepare(TEMPLATES)
    return region


async def rounds(region: Region, samples: int, only: Sequence[str]) -> tuple[list[Passage], list[bare.Sample]]:
    """Every kind of change in turn, and the bare chain after each."""
    passages: list[Passage] = []
    chains: list[bare.Sample] = []
    async with observing(region, PARTITIONS, ("ConfigMap", "Secret", "Deployment", "VCenterTemplate")) as observer:
        changes = await asyncio.to_thread(Changes, region, observer)
        pushes = Pushes(region.vcenters["vc-a-0"])
        kinds = [kind for kind in changes.kinds if not only or any(part in kind.name for part in only)]
        try:
            async with bare.connected(region, region.vcenters["vc-a-0"]) as chain:
                for number in range(-WARM_UP, samples):
                    for kind in kinds:
                        seen = await measure(observer, pushes, kind, number)
                        changes.remember()
                        sample = await chain.run(changes.bodies, changes.manifest)
                        if number >= 0:
                            passages += seen
                            chains.append(sample)
                    if number % 10 == 9:
                        console.print(f"{number + 1} of {samples} rounds")
        finally:
            await asyncio.to_thread(pushes.close)
            await asyncio.to_thread(changes.close)
    return passages, chains


async def measure(observer: Observer, pushes: Pushes, kind: Change, number: int) -> list[Passage]:
    """One change, from the call that makes it to what it leads to; and the way back, where that is a change too."""
    await kind.prepare(number)
    passages = []
    for step in kind.steps(number):
        await observer.quiet()
        observer.forget()
        began = await step.make()
        written = await observer.see(partial(step.wanted, began), f"{step.name} {number}")
        await observer.quiet()
        pushed = pushes.first(began, written.at) if kind.in_vcenter else None
        passages.append(Passage.of(step.name, began, pushed, written, observer))
    return passages


class Pushes(threading.Thread):
    """When a vCenter reports changes to somebody who does nothing but wait for them."""

    def __init__(self, vcenter: Any) -> None:
        super().__init__(daemon=True)
        self._session = bare.Session(vcenter)
        self._session.watch()
        self._at: list[float] = []
        self._ended = False
        self.start()

    def run(self) -> None:
        """Waits, again and again."""
        while not self._ended:
            if self._session.wait(2):
                self._at.append(time.perf_counter())

    def first(self, since: float, until: float) -> float | None:
        """The first report within a time."""
        return next((at for at in list(self._at) if since <= at <= until), None)

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
        "vCenter (or the API server, for templates) tells somebody who only waits. The zone's serial is looked at "
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
