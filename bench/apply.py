"""Applying: the applier's objects/s for creates, updates and no-ops, at several concurrencies, beside a bare loop.

Ours is the whole stage as it runs in its process: statements from RabbitMQ, manifests opened, everything planned, the
record written before and after, watches on all that is owned. The clock starts before the first statement is published
and stops when the last is finished. Bare is kubernetes-asyncio's server-side apply of the same manifests at the same
concurrency, and as many connections: as its methods are called, and without making objects of the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import report
from bench.bareapply import BareLoop, bare_loop
from bench.landscape import CLUSTERS_EACH, DOMAIN, manifests
from bench.noting import NotingBus
from bench.statements import Stated, stated
from tests.stack import Stack
from vcenter_operator.applier.settings import ApplierSettings
from vcenter_operator.applier.wiring import on_kubernetes
from vcenter_operator.common.bus.port import Bus
from vcenter_operator.common.kubernetes.platform import open_platform
from vcenter_operator.common.messages import ManifestDelta, Stage, Statement
from vcenter_operator.common.telemetry import configure

CONCURRENCIES = (1, 10, 50)
OURS, BARE, UNPARSED = "the applier", "the bare loop", "the bare loop, answers not parsed"
CREATES, UPDATES, UNCHANGED = "created", "updated", "unchanged"
AIMS = {CREATES: 0.9, UPDATES: 0.9, UNCHANGED: 20.0}
REPEATS = 5
"""An unchanged index takes so little that it is stated several times for one sample."""
console = Console(width=110)

Key = tuple[str, int, str]
"""What is done, concurrency, and by whom."""
Seconds = defaultdict[Key, list[float]]
Way = Callable[[str, Sequence[ManifestDelta]], Awaitable[float]]
"""Does it with what these state, and says how long that took."""


def main() -> None:
    """Starts the servers, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-apply", description=__doc__)
    parser.add_argument("--vcenters", type=int, default=4, help=f"each with {7 * CLUSTERS_EACH} objects")
    parser.add_argument("--concurrency", type=int, nargs="+", default=CONCURRENCIES)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    stack = Stack()
    log = stack.folder / "applier.log"
    try:
        with log.open("w") as errors, contextlib.redirect_stderr(errors):
            configure("INFO", json=True)
            bench = Bench(stack, options.vcenters)
            for concurrency in options.concurrency:
                asyncio.run(bench.compare(concurrency, options.rounds))
                console.print(f"concurrency {concurrency}: {options.rounds} rounds done")
        finish(stack, bench, options.concurrency)
    except BaseException:
        console.print(log.read_text()[-3000:], markup=False, soft_wrap=True)
        raise
    finally:
        stack.close()


class Bench:
    """What is measured, in seconds for all objects of a round."""

    def __init__(self, stack: Stack, vcenters: int) -> None:
        self.kubernetes: Any = stack.kubernetes()
        self.amqp_url = stack.rabbitmq().create_vhost(f"apply-{secrets.token_hex(4)}")
        self.vcenters = vcenters
        self.seconds: Seconds = defaultdict(list)
        self.asked: list[int] = []
        """Requests that an unchanged index led to."""
        os.environ["KUBECONFIG"] = str(self.kubernetes.kubeconfig)

    @property
    def objects(self) -> int:
        """How many a round has."""
        return self.vcenters * CLUSTERS_EACH * 7

    async def compare(self, concurrency: int, rounds: int) -> None:
        """Rounds of all ways in turns, each way in a namespace of its own, everything connected beforehand."""
        own, *others = self._namespaces()
        kubeconfig = self.kubernetes.kubeconfig
        async with (
            running_applier(own, self.amqp_url, concurrency) as applier,
            bare_loop(kubeconfig, others[0], concurrency=concurrency) as bare,
            bare_loop(kubeconfig, others[1], concurrency=concurrency, parsed=False) as unparsed,
        ):
            warm_up = await stated(own, [0])
            await applier.finish(warm_up.first)
            for loop in (bare, unparsed):
                await loop.apply(warm_up.manifests(warm_up.first))
            for number in range(rounds):
                vcenters = range(1 + number * self.vcenters, 1 + (number + 1) * self.vcenters)
                made = await stated(own, vcenters)
                ways: list[tuple[str, Way]] = [
                    (OURS, partial(self._ours, applier)),
                    (BARE, partial(_alone, bare, made)),
                    (UNPARSED, partial(_alone, unparsed, made)),
                ]
                first = number % len(ways)
                for what, deltas in ((CREATES, made.first), (UPDATES, made.edited), (UNCHANGED, made.repeated)):
                    for whose, way in (*ways[first:], *ways[:first]):
                        self.seconds[what, concurrency, whose].append(await way(what, deltas))

    async def _ours(self, applier: RunningApplier, what: str, deltas: Sequence[ManifestDelta]) -> float:
        if what != UNCHANGED:
            return await applier.finish(deltas)
        before = self._requests()
        times = [await applier.finish([each.repeated() for each in deltas]) for _ in range(REPEATS)]
        self.asked.append((self._requests() - before).total())
        return statistics.fmean(times)

    def _namespaces(self) -> list[str]:
        names = [f"apply-{secrets.token_hex(4)}" for _ in range(3)]
        for name in names:
            self.kubernetes.create_namespace(name)
        self._put_secret(names[0])
        return names

    def _put_secret(self, namespace: str) -> None:
        (secret,) = manifests("Secret")
        metadata = {"name": secret["metadata"]["name"], "namespace": namespace}
        self.kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/secrets", {**secret, "metadata": metadata})

    def _requests(self) -> Counter[str]:
        """Requests that the API server answered so far about what the applier reads and writes, but for watches."""
        counted: Counter[str] = Counter()
        for line in self.kubernetes.metrics().splitlines():
            if line.startswith("apiserver_request_total{"):
                labelled, value = line.rsplit(" ", 1)
                labels = dict(each.split("=", 1) for each in labelled.partition("{")[2].rstrip("}").split(","))
                if labels["resource"].strip('"') in ("secrets", "configmaps", "deployments", "vcenters"):
                    counted[labels["verb"].strip('"')] += int(float(value))
        del counted["WATCH"]
        return counted


@dataclass(frozen=True)
class RunningApplier:
    """The stage, all partitions its own."""

    bus: Bus
    finished: dict[str, asyncio.Event]

    async def finish(self, statements: Sequence[ManifestDelta]) -> float:
        """States these; seconds until all are carried out and recorded."""
        events = {each.trace.message_id: asyncio.Event() for each in statements}
        self.finished.update(events)
        began = time.perf_counter()
        async with asyncio.timeout(300):
            await asyncio.gather(*(self.bus.publish(each) for each in statements))
            await asyncio.gather(*(event.wait() for event in events.values()))
        return time.perf_counter() - began


@contextlib.asynccontextmanager
async def running_applier(namespace: str, amqp_url: str, concurrency: int) -> AsyncIterator[RunningApplier]:
    """The stage on Kubernetes and RabbitMQ, composed as its command does it."""
    settings = ApplierSettings.load(bus=amqp_url, namespace=namespace, service_domain=DOMAIN, concurrency=concurrency)
    finished: dict[str, asyncio.Event] = {}
    owned: set[int] = set()
    all_owned = asyncio.Event()

    def handled(statement: Statement) -> None:
        if (event := finished.get(statement.trace.message_id)) is not None:
            event.set()

    async with open_platform(settings) as platform:

        def taken(partition: int) -> None:
            owned.add(partition)
            if len(owned) == platform.bus.topology.partitions_of(Stage.APPLIER):
                all_owned.set()

        noting = NotingBus(platform.bus, taken=lambda ownership: taken(ownership.partition), handled=handled)
        async with on_kubernetes(settings, replace(platform, bus=noting)) as service:
            task = asyncio.create_task(service.run())
            try:
                async with asyncio.timeout(60):
                    await all_owned.wait()
                yield RunningApplier(platform.bus, finished)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def _alone(loop: BareLoop, made: Stated, what: str, deltas: Sequence[ManifestDelta]) -> float:
    bodies = made.manifests(made.edited if what == UNCHANGED else deltas)
    began = time.perf_counter()
    await loop.apply(bodies)
    return time.perf_counter() - began


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as fast as theirs ours is, from seconds for the same: the median of the rounds' ratios."""
    return statistics.median(bare / mine for mine, bare in zip(ours, theirs, strict=True))


def finish(stack: Stack, bench: Bench, concurrencies: Sequence[int]) -> None:
    """Prints and writes what was measured."""
    kinds = [(what, concurrency) for what in AIMS for concurrency in concurrencies]
    speeds = {key: report.summary([bench.objects / each for each in found]) for key, found in bench.seconds.items()}
    ratios = {
        (*kind, whose): ratio(bench.seconds[*kind, OURS], bench.seconds[*kind, whose])
        for kind in kinds
        for whose in (BARE, UNPARSED)
    }
    rounds = len(bench.asked) // len(concurrencies)
    report.show(
        f"{bench.objects} objects of {bench.vcenters} vCenters, objects/s",
        ("", "concurrency", OURS, BARE, "ratio", "answers not parsed", "ratio", "aim"),
        [
            (what, str(concurrency), *(
                f"{speeds[what, concurrency, OURS]['median']:.0f}",
                f"{speeds[what, concurrency, BARE]['median']:.0f}",
                f"{ratios[what, concurrency, BARE]:.2f}",
                f"{speeds[what, concurrency, UNPARSED]['median']:.0f}",
                f"{ratios[what, concurrency, UNPARSED]:.2f}",
                f"{AIMS[what]:g}",
            ))
            for what, concurrency in kinds
        ],
        caption=f"Medians of {rounds} rounds in turns, ratios of each round's. An unchanged index was stated {REPEATS} "
        f"times a round, and led to {max(bench.asked)} requests at most.",
    )  # fmt: skip
    servers = {served.name: served.version for served in stack.served}
    path = report.write(
        "apply",
        "objects applied by the applier stage, beside a bare server-side-apply loop",
        {
            "objects": bench.objects,
            "vcenters": bench.vcenters,
            "rounds": rounds,
            "objects_per_second": [
                {"what": what, "concurrency": concurrency, "by": whose, **found}
                for (what, concurrency, whose), found in speeds.items()
            ],
            "ratios": _listed(ratios),
            "requests_for_an_unchanged_index": bench.asked,
        },
        servers,
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


def _listed(ratios: Mapping[Key, float]) -> list[dict[str, Any]]:
    return [
        {"what": what, "concurrency": concurrency, "to": whose, "ratio": found, "aim": AIMS[what]}
        for (what, concurrency, whose), found in ratios.items()
    ]


if __name__ == "__main__":
    main()
