"""Idling: what four processes ask of everybody while nothing changes, and what that costs them.

Twenty vCenters, every object written, default settings. Requests to the API server and DNS queries are counted by
proxies, SOAP calls by the simulators, messages by the broker, CPU and memory by the kernel.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import report
from bench.proxies import CountingApi, CountingDns, Loop, Request
from bench.starting import prepared, wait_for_all
from tests.e2e.processes import STAGES, Service
from tests.e2e.region import Region
from tests.stack import Stack

_TICK = os.sysconf("SC_CLK_TCK")
_MESSAGES = ("messages_received_total", "messages_confirmed_total", "messages_delivered_total")
console = Console(width=110)


def main() -> None:
    """Starts the servers, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--vcenters", type=int, default=20)
    parser.add_argument("--clusters", type=int, default=4, help="clusters of each vCenter")
    options = parser.parse_args()
    stack = Stack()
    try:
        run(stack, options.seconds, options.vcenters, options.clusters)
    finally:
        stack.close()


@dataclass(frozen=True)
class Usage:
    """Of a process and its children."""

    cpu: float
    """Seconds, user and system."""
    memory: float
    """MiB, what is shared counted in parts (PSS)."""
    threads: int
    processes: int


@dataclass
class Counts:
    """Everything counted so far."""

    soap: Counter[str]
    dns: Counter[str]
    api: Counter[Request]
    messages: Counter[str]
    frames: int
    usage: dict[str, Usage]


def run(stack: Stack, seconds: float, vcenters: int, clusters: int) -> None:
    """The benchmark on a stack."""
    console.print(f"building {vcenters} vCenters with {clusters} clusters each")
    region = prepared(stack, vcenters, clusters)
    proxies = Loop()
    api = CountingApi(region.kubernetes, stack.ca.server("localhost", "127.0.0.1"), region.folder)
    dns = CountingDns(region.zone.address, region.zone.port)
    region.put_secret(dns_port=str(proxies.do(dns.start())))
    kubeconfigs = proxies.do(api.start(STAGES))
    defaults = {"partitions": "8", "heartbeat": "10", "dns_poll_every": "10"}
    services = {
        stage: Service(stage, 0, region.environment(str(kubeconfigs[stage]), **defaults), region.folder)
        for stage in STAGES
    }

    def check_alive() -> None:
        assert all(service.running for service in services.values()), "a service has ended"

    for service in services.values():
        service.start()
    try:
        objects = wait_for_all(region, 1, vcenters * clusters, check_alive)
        settle(api)
        before = counts(stack, region, api, dns, services)
        console.print(f"{objects} objects are written; counting for {seconds:g} s")
        time.sleep(seconds)
        after = counts(stack, region, api, dns, services)
        check_alive()
    finally:
        for service in services.values():
            service.kill()
        proxies.do(api.close())
        proxies.close()
        region.close()
    finish(stack, before, after, seconds, (vcenters, clusters))


def settle(api: CountingApi, quiet: float = 10.0, within: float = 120.0) -> None:
    """Returns when nothing was asked of the API server for a while but watches, or it does not come to rest."""
    deadline = time.monotonic() + within
    last, since = -1, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < quiet:
        asked = sum(count for request, count in list(api.counted.items()) if request.verb != "WATCH")
        if asked != last:
            last, since = asked, time.monotonic()
        time.sleep(0.5)


def counts(stack: Stack, region: Region, api: CountingApi, dns: CountingDns, services: dict[str, Service]) -> Counts:
    """As things are now."""
    broker = stack.rabbitmq()
    overview = broker.rabbitmqctl("eval", "rabbit_global_counters:overview().")
    messages: Counter[str] = Counter()
    for name in _MESSAGES:
        messages[name] = sum(int(count) for count in re.findall(rf"{name} => (\d+)", overview))
    frames = broker.rabbitmqctl("list_connections", "recv_cnt")
    return Counts(
        sum((Counter(vcenter.calls()) for vcenter in region.vcenters.values()), Counter[str]()),
        Counter(dns.counted),
        Counter(api.counted),
        messages,
        sum(int(count) for count in re.findall(r"^\d+$", frames, re.MULTILINE)),
        {stage: usage(service.process.pid) for stage, service in services.items()},
    )


def usage(root: int) -> Usage:
    """Of a process and those that it started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = _stat(int(folder.name))
        except OSError:
            continue
    family = {root}
    while more := {pid for pid, fields in parents.items() if int(fields[1]) in family} - family:
        family |= more
    cpu = sum(int(parents[pid][11]) + int(parents[pid][12]) for pid in family) / _TICK
    threads = sum(int(parents[pid][17]) for pid in family)
    return Usage(cpu, sum(_pss(pid) for pid in family), threads, len(family))


def _stat(pid: int) -> list[str]:
    """proc(5), from the third field (the state) on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _pss(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def finish(stack: Stack, before: Counts, after: Counts, seconds: float, size: tuple[int, int]) -> None:
    """Prints and writes what was counted."""
    minutes = seconds / 60
    asked = {
        "SOAP": after.soap - before.soap,
        "DNS": after.dns - before.dns,
        "RabbitMQ": after.messages - before.messages,
    }
    requests = after.api - before.api
    rows = [(f"{what}: {name}", str(count), f"{count / minutes:.1f}") for what, each in asked.items()
            for name, count in each.most_common()]  # fmt: skip
    frames = after.frames - before.frames
    rows.append(("RabbitMQ: frames received", str(frames), f"{frames / minutes:.1f}"))
    watches = sum(count for request, count in requests.items() if request.verb == "WATCH")
    others = sum(requests.values()) - watches
    rows.append(("Kubernetes: watches begun", str(watches), f"{watches / minutes:.1f}"))
    rows.append(("Kubernetes: other requests (aim: 0)", str(others), f"{others / minutes:.1f}"))
    report.show(
        f"{seconds:g} s with {size[0]} vCenters and nothing changing",
        ("", "count", "a minute"),
        rows,
        caption="Aims: no request to Kubernetes but watches, no inventory read (RetrievePropertiesEx) but the periodic "
        "one.",
    )
    report.show(
        "Requests to Kubernetes",
        ("stage", "verb", "resource", "count"),
        [(each.stage, each.verb, each.resource, str(count)) for each, count in requests.most_common()],
        caption=f"User agents: {', '.join(sorted({request.agent for request in requests}))}",
    )
    used = {stage: (before.usage[stage], after.usage[stage]) for stage in STAGES}
    report.show(
        "The processes",
        ("", "CPU s", "CPU %", "MiB", "threads", "processes"),
        [
            (stage, f"{late.cpu - early.cpu:.1f}", f"{(late.cpu - early.cpu) / seconds * 100:.2f}",
             f"{late.memory:.0f}", str(late.threads), str(late.processes))
            for stage, (early, late) in used.items()
        ],
    )  # fmt: skip
    agents = {request.agent for request in requests}
    servers = {served.name: served.version for served in stack.served if not served.name.startswith("vc-")}
    path = report.write(
        "idle",
        "what is asked of everybody while nothing changes",
        {
            "seconds": seconds,
            "vcenters": size[0],
            "clusters_each": size[1],
            "soap_calls": dict(asked["SOAP"]),
            "dns": dict(asked["DNS"]),
            "messages": {**asked["RabbitMQ"], "frames_received": frames},
            "kubernetes": [{**each._asdict(), "count": count} for each, count in requests.most_common()],
            "kubernetes_other_than_watches": others,
            "user_agents": sorted(agents),
            "services": {stage: _used(early, late) for stage, (early, late) in used.items()},
        },
        servers,
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


def _used(early: Usage, late: Usage) -> dict[str, Any]:
    return {
        "cpu_seconds": late.cpu - early.cpu,
        "memory_mib": late.memory,
        "threads": late.threads,
        "processes": late.processes,
    }


if __name__ == "__main__":
    main()
