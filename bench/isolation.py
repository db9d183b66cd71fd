"""Isolation: what a vCenter that hangs and one that refuses logins cost the others.

Changes are made in the healthy vCenters of a region, in turn, and timed to the object in the API server: while all
twenty are well, and while one is stopped (SIGSTOP) and another one refuses its account; phases of both alternate.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import report
from bench.bare import Session
from bench.observing import Observer, Written, observing
from bench.starting import prepared, wait_for_all
from tests.e2e.processes import Fleet
from tests.e2e.region import Region
from tests.stack import Stack
from tests.waiting import eventually

PARTITIONS = 11
CLUSTERS = 2
WELL, ILL = "all are well", "one hangs, one refuses logins"
IMPATIENT = {
    "vcenter_wait": "5",
    "vcenter_connect_timeout": "2",
    "vcenter_read_timeout": "5",
    "retry_longest": "2",
    "login_pause": "3",
}
"""Shorter than the defaults, so that the ill ones are tried often within a phase: that makes it harder."""
AIM = 1.2
console = Console(width=110)


def main() -> None:
    """Starts the servers, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-isolation", description=__doc__)
    parser.add_argument("--vcenters", type=int, default=20)
    parser.add_argument("--phases", type=int, default=3, help="of each kind")
    parser.add_argument("--samples", type=int, default=36, help="in each phase")
    options = parser.parse_args()
    stack = Stack()
    try:
        run(stack, options.vcenters, options.phases, options.samples)
    finally:
        stack.close()


def run(stack: Stack, vcenters: int, phases: int, samples: int) -> None:
    """The benchmark on a stack."""
    console.print(f"building {vcenters} vCenters with {CLUSTERS} clusters each")
    region = prepared(stack, vcenters, CLUSTERS)
    settings = {"partitions": str(PARTITIONS), "heartbeat": "10", "dns_poll_every": "10", **IMPATIENT}
    fleet = region.fleet(1, (), **settings)
    try:
        wait_for_all(region, 1, vcenters * CLUSTERS, fleet.check_alive)
        timed = asyncio.run(measured(region, fleet, phases, samples))
    except BaseException:
        console.print(region.logs(), markup=False, soft_wrap=True)
        raise
    finally:
        region.close()
    finish(stack, timed, vcenters, phases)


@dataclass
class Healthy:
    """A vCenter in which a port group is renamed again and again."""

    vcenter: Any
    block: int
    session: Session = field(init=False)
    port_group: Any = field(init=False)

    def __post_init__(self) -> None:
        self.session = Session(self.vcenter)
        network = self.session.cluster(f"productionbb{self.block:03}").network
        self.port_group = next(each for each in network if each.name.startswith("br-"))

    async def sample(self, observer: Observer, number: int) -> float:
        """Seconds from the renaming to the object."""
        name = f"br-pg{number}"
        await observer.quiet(0.2)
        observer.forget()

        def rename() -> float:
            began = time.perf_counter()
            self.port_group.Rename_Task(newName=name)
            return began

        began = await asyncio.to_thread(rename)
        written = await observer.see(partial(self._shows, observer, began, f"port group {name}\n"), f"{name} is shown")
        return written.at - began

    def _shows(self, observer: Observer, began: float, text: str) -> Written | None:
        return observer.object(
            f"ConfigMap/nova-compute-bb{self.block}-etc",
            began,
            lambda each: text in each.item["data"]["nova-compute.conf"],
        )


async def measured(region: Region, fleet: Fleet, phases: int, samples: int) -> dict[str, list[float]]:
    """Seconds of the changes in each kind of phase."""
    *names, hung, refusing = region.vcenters
    timed: dict[str, list[float]] = {WELL: [], ILL: []}
    async with observing(region, PARTITIONS, ("ConfigMap",)) as observer:
        healthy = [
            await asyncio.to_thread(Healthy, region.vcenters[name], 1 + number * CLUSTERS)
            for number, name in enumerate(names)
        ]
        for each in healthy:
            await each.sample(observer, 0)  # does not count
        number = 0
        for phase in range(2 * phases):
            kind = (WELL, ILL)[phase % 2]
            await asyncio.to_thread(fall_ill if kind is ILL else recover, region, hung, refusing)
            for _ in range(samples):
                number += 1
                timed[kind].append(await healthy[number % len(healthy)].sample(observer, number))
            fleet.check_alive()
            console.print(f"phase {phase + 1} of {2 * phases}: {kind}")
        await asyncio.to_thread(recover, region, hung, refusing)
        for each in healthy:
            await asyncio.to_thread(each.session.close)
    return timed


def fall_ill(region: Region, hung: str, refusing: str) -> None:
    """One hangs, one ends its sessions and lets nobody in. Returns when both are noticed."""
    region.vcenters[hung].pause()
    vcenter = region.vcenters[refusing]
    vcenter.control(password=secrets.token_urlsafe(16))
    vcenter.expire_sessions()
    for name in (hung, refusing):
        eventually(partial(_connected, region, name, "False"), f"{name} shows as not connected", within=120)


def recover(region: Region, hung: str, refusing: str) -> None:
    """Both are well again. Returns when they are watched."""
    region.vcenters[hung].resume()
    region.vcenters[refusing].set_password(region.vcenters[refusing].password)
    for name in (hung, refusing):
        eventually(partial(_connected, region, name, "True"), f"{name} shows as connected", within=120)


def _connected(region: Region, name: str, status: str) -> bool:
    return bool(region.condition(name, "Connected").get("status") == status)


def finish(stack: Stack, timed: dict[str, list[float]], vcenters: int, phases: int) -> None:
    """Prints and writes what was measured."""
    well, ill = (report.summary(timed[kind]) for kind in (WELL, ILL))
    ratios = {part: ill[part] / well[part] for part in ("median", "p99")}
    report.show(
        f"Latency of changes in the {vcenters - 2} healthy ones of {vcenters} vCenters, in ms",
        ("", "samples", "median", "p99", "max", "ratio", "ratio p99"),
        [
            (kind, str(len(timed[kind])), *(f"{found[part] * 1000:.0f}" for part in ("median", "p99", "max")), *shown)
            for kind, found, shown in (
                (WELL, well, ("", "")),
                (ILL, ill, (f"{ratios['median']:.2f}", f"{ratios['p99']:.2f}")),
            )
        ],
        caption=f"Aim: a ratio near 1 (at most {AIM:g}). {phases} phases of each, alternating.",
    )
    servers = {served.name: served.version for served in stack.served if not served.name.startswith("vc-")}
    path = report.write(
        "isolation",
        "what a vCenter that hangs and one that refuses logins cost the others",
        {"aim_ratio": AIM, "vcenters": vcenters, "phases_of_each": phases, "settings": IMPATIENT,
         "seconds": {WELL: well, ILL: ill}, "ratios": ratios},
        servers,
    )  # fmt: skip
    console.print(f"written to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
