"""A large region: 10,000 clusters of 500 vCenters, 7 templates, 70,000 objects, through renderer and planner.

Inventories are published, as a collector would, on RabbitMQ; a renderer renders all of it, and an applier plans and
carries out all of it on a cluster in memory, each a process of its own (`bench.staged`). Then all is stated again with
nothing changed, clusters are changed one after the other, and a template is edited. With the same for fewer clusters,
what grows faster than the region shows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from bench import report
from bench.idle import Usage, usage
from bench.landscape import CLUSTERS_EACH, host, inventory, manifests, seven_templates
from tests.stack import Stack
from vcenter_operator.common.bus.port import Bus, Topology
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.messages import Inventory, ResyncRequest, Stage
from vcenter_operator.common.telemetry import configure

SIZES = (1_000, 3_000, 10_000)
STAGES = ("renderer", "applier")
WITHIN = 600.0
console = Console(width=110)

_ROWS = {
    "all: seconds": "everything for the first time, s",
    "all: CPU s renderer": "  CPU s of the renderer",
    "all: CPU s applier": "  CPU s of the applier",
    "again: seconds": "everything again, nothing changed, s",
    "again: CPU s renderer": "  CPU s of the renderer",
    "again: CPU s applier": "  CPU s of the applier",
    "template: seconds": "one of the templates edited, s",
    "template: CPU s renderer": "  CPU s of the renderer",
    "template: CPU s applier": "  CPU s of the applier",
    "change: median": "one cluster changed, ms, median",
    "change: p99": "  99th percentile",
    "change: max": "  max",
    "renderer: MiB": "memory of the renderer, MiB",
    "renderer: MiB at most": "  at most, without its rendering processes",
    "renderer: KiB a cluster": "  above empty, KiB a cluster",
    "applier: MiB": "memory of the applier, MiB",
    "applier: MiB at most": "  at most",
    "applier: KiB a cluster": "  above empty, KiB a cluster",
}

Values = dict[str, float]
"""What one run measured, by name."""


@dataclass(frozen=True)
class Run:
    """One region, from nothing known on."""

    values: Values
    changes: list[float]
    """Milliseconds of each changed cluster."""


def main() -> None:
    """Starts a broker, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__)
    parser.add_argument("--clusters", type=int, nargs="+", default=SIZES, help="how many in all, several sizes")
    parser.add_argument("--changes", type=int, default=30, help="clusters changed one after the other")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    configure("WARNING")
    stack = Stack()
    found: dict[int, list[Run]] = {clusters: [] for clusters in sorted(options.clusters)}
    try:
        stack.rabbitmq()
        for number in range(1, options.runs + 1):
            for clusters, runs in found.items():
                runs.append(asyncio.run(one_run(stack, clusters, options.changes)))
                console.print(f"run {number}: {clusters:,} clusters in {runs[-1].values['all: seconds']:.1f} s")
        finish(stack, found)
    finally:
        stack.close()


async def one_run(stack: Stack, clusters: int, changes: int) -> Run:
    """Everything about a region of that size, with processes that know nothing."""
    vcenters = clusters // CLUSTERS_EACH
    url = stack.rabbitmq().create_vhost(f"scale-{secrets.token_hex(4)}")
    folder = stack.folder / f"scale-{secrets.token_hex(4)}"
    write_templates(folder, edited=0)
    bus = await RabbitMQBus.connect(url, Topology(), FolderEpochs(None))
    try:
        async with started("renderer", url, folder) as renderer, started("applier", url, folder) as applier:
            scene = Scene(bus, folder, vcenters, renderer, applier)
            await scene.states([inventory()], [0])  # imports, rendering processes and connections are there
            await scene.states([inventory(clusters=0, edition=2)], [0])
            return await scene.measured(changes)
    finally:
        await bus.close()


def write_templates(folder: Path, *, edited: int) -> None:
    """What the stages read: the example's Secret and cells, and templates."""
    folder.mkdir(exist_ok=True)
    others = [*manifests("Secret"), *manifests("ConfigMap")]
    made = folder / ".made"
    made.write_text(yaml.safe_dump_all([*others, *seven_templates(edited=edited)]))
    made.rename(folder / "all.yaml")


@dataclass
class Process:
    """A stage, and what it told: when it published a statement about a vCenter, or finished one, last."""

    stage: str
    process: asyncio.subprocess.Process
    log: Path
    told: dict[str, float] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Takes over what it tells until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            told = json.loads(line)
            self.told[told["host"]] = told["at"]
            self.news.set()
        self.news.set()

    async def has_told(self, hosts: Sequence[str], since: float) -> float:
        """When (monotonic) it had told of each of these vCenters since then."""
        async with asyncio.timeout(WITHIN):
            while any(self.told.get(each, 0.0) < since for each in hosts):
                if self.process.returncode is not None:
                    raise RuntimeError(f"the {self.stage} has ended:\n{self.log.read_text()[-2000:]}")
                self.news.clear()
                await self.news.wait()
        return max(self.told[each] for each in hosts)

    @property
    def peak(self) -> float:
        """MiB that were resident at most, of the process alone."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0


@contextlib.asynccontextmanager
async def started(stage: str, url: str, templates: Path) -> AsyncIterator[Process]:
    """A stage, until it is not needed any more."""
    log = templates.parent / f"{templates.name}-{stage}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.staged", stage, url, str(templates), stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )  # fmt: skip
    stage_process = Process(stage, process, log)
    listening = asyncio.create_task(stage_process.listen())
    try:
        yield stage_process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await listening


@dataclass
class Scene:
    """A region of which nothing is known yet."""

    bus: Bus
    folder: Path
    vcenters: int
    renderer: Process
    applier: Process

    async def measured(self, changes: int) -> Run:
        """All phases, one after the other."""
        everybody = range(self.vcenters)
        empty = self._usage()
        found = await self._phase(
            "all", lambda: self.states([inventory(number, edition=3) for number in everybody], everybody)
        )
        full = self._usage()
        for each in (self.renderer, self.applier):
            more = full[each.stage].memory - empty[each.stage].memory
            found[f"{each.stage}: MiB"] = full[each.stage].memory
            found[f"{each.stage}: MiB at most"] = each.peak
            found[f"{each.stage}: KiB a cluster"] = more * 1024 / (self.vcenters * CLUSTERS_EACH)
        found |= await self._phase("again", self._again)
        times = [await self._one_changed(number * self.vcenters // changes, 4 + number) for number in range(changes)]
        found |= await self._phase("template", self._edit)
        return Run(found, [each * 1000 for each in times])

    async def states(self, inventories: Sequence[Inventory], vcenters: Sequence[int]) -> float:
        """States inventories; returns when (monotonic) the applier had finished with what followed for `vcenters`."""
        since = time.monotonic()
        limit = asyncio.Semaphore(10)

        async def publish(each: Inventory) -> None:
            async with limit:
                await self.bus.publish(each)

        await asyncio.gather(*(publish(each) for each in inventories))
        return await self.applier.has_told([host(number) for number in vcenters], since)

    async def _again(self) -> float:
        """The renderer is asked to state everything again, as an applier asks that starts."""
        since = time.monotonic()
        for partition in range(self.bus.topology.partitions):
            await self.bus.request(ResyncRequest(stage=Stage.RENDERER, partition=partition))
        return await self.applier.has_told([host(number) for number in range(self.vcenters)], since)

    async def _one_changed(self, vcenter: int, edition: int) -> float:
        began = time.monotonic()
        return await self.states([inventory(vcenter, edition=edition, changed=1)], [vcenter]) - began

    async def _edit(self) -> float:
        since = time.monotonic()
        write_templates(self.folder, edited=1)
        return await self.applier.has_told([host(number) for number in range(self.vcenters)], since)

    async def _phase(self, name: str, work: Callable[[], Coroutine[Any, Any, float]]) -> Values:
        before, began = self._usage(), time.monotonic()
        found = {f"{name}: seconds": await work() - began}
        after = self._usage()
        return found | {f"{name}: CPU s {stage}": after[stage].cpu - before[stage].cpu for stage in STAGES}

    def _usage(self) -> dict[str, Usage]:
        return {each.stage: usage(each.process.pid) for each in (self.renderer, self.applier)}


def grown(values: Sequence[float]) -> float:
    """How many times the first the last is."""
    return values[-1] / values[0] if values[0] else float("inf")


def finish(stack: Stack, found: dict[int, list[Run]]) -> None:
    """Prints and writes what was measured."""
    sizes = list(found)
    changes = {
        clusters: report.summary([each for run in runs for each in run.changes]) for clusters, runs in found.items()
    }
    summaries = {
        clusters: {name: report.summary([run.values[name] for run in runs]) for name in runs[0].values}
        for clusters, runs in found.items()
    }
    medians = {
        clusters: {name: each["median"] for name, each in summaries[clusters].items()}
        | {f"change: {name}": changes[clusters][name] for name in ("median", "p99", "max")}
        for clusters in sizes
    }
    growth = {name: grown([medians[clusters][name] for clusters in sizes]) for name in _ROWS}
    report.show(
        f"Clusters, {CLUSTERS_EACH} a vCenter, 7 objects a cluster",
        ("", *(f"{size:,}" for size in sizes), "grows x"),
        [
            (label, *(f"{medians[clusters][name]:,.3g}" for clusters in sizes), f"{growth[name]:.1f}")
            for name, label in _ROWS.items()
        ],
        caption=f"Medians of runs: {len(found[sizes[0]])}; clusters changed: {len(changes[sizes[0]]['samples'])} each. "
        f"In step with the region is x {sizes[-1] / sizes[0]:g}; what one cluster takes should not grow.",
    )
    servers = {served.name: served.version for served in stack.served}
    path = report.write(
        "scale",
        "a large region through renderer and planner, by statements on the bus",
        {
            "clusters": sizes,
            "clusters_each": CLUSTERS_EACH,
            "objects_of_a_cluster": 7,
            "measured": {str(clusters): summaries[clusters] for clusters in sizes},
            "change_milliseconds": {str(clusters): changes[clusters] for clusters in sizes},
            "growth": growth,
        },
        servers,
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
