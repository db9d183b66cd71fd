"""A hundred vCenters: what one collector costs, and how several share them and replace one that dies or hangs.

Processes of discovery and collector over RabbitMQ, default settings. Beside the one collector, bare pyVmomi with a
session and a thread for each vCenter; and how long one reading of a very large cluster takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import socket
import statistics
import string
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from bench import report
from bench.idle import Usage, usage
from tests.e2e.processes import Service
from tests.e2e.region import USERNAME, Region
from tests.stack import Stack
from vcenter_operator.collector.adapters.connection import tls_context
from vcenter_operator.collector.adapters.vcenter import PyVmomiVCenters
from vcenter_operator.collector.ports import Credentials, Endpoint
from vcenter_operator.common import labels

T = TypeVar("T")
SETTINGS = {"partitions": "8", "heartbeat": "10", "dns_poll_every": "10"}
console = Console(width=110)


def main() -> None:
    """Starts the servers, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-vcenters", description=__doc__)
    parser.add_argument("--vcenters", type=int, default=100)
    parser.add_argument("--clusters", type=int, default=2, help="clusters of each vCenter")
    parser.add_argument("--seconds", type=float, default=60.0, help="of idling")
    parser.add_argument("--replicas", type=int, nargs="*", default=[1, 2, 4])
    options = parser.parse_args()
    stack = Stack()
    try:
        run(stack, options)
    finally:
        stack.close()


def run(stack: Stack, options: argparse.Namespace) -> None:
    """The benchmark on a stack."""
    console.print(f"building {options.vcenters} vCenters with {options.clusters} clusters each")
    region = Region(
        stack.kubernetes(), stack.dns(), "", "", stack.start_vcsim, Path(tempfile.mkdtemp(dir=stack.folder))
    )
    region.zone.clear()
    for number in range(options.vcenters):
        name = f"vc-{string.ascii_lowercase[number // 10]}-{number % 10}"
        region.vcenter(name, "QA-DE-1A", options.clusters, block=1 + number * options.clusters)
    rounds = []
    for replicas in options.replicas:
        rounds.append(Round(stack, region, replicas).measured(options.seconds if replicas == 1 else 0))
        console.print(json.dumps(rounds[-1], default=str))
    bare = bare_sessions(region, options.seconds)
    large = large_cluster(stack, region)
    region.close()
    finish(stack, options, rounds, bare, large)


class Round:
    """So many replicas of the collector on a namespace and a virtual host of their own, from nothing known."""

    def __init__(self, stack: Stack, region: Region, replicas: int) -> None:
        self.region = region
        self.replicas = replicas
        self.addresses = {vcenter.address for vcenter in region.vcenters.values()}
        region.namespace = f"bench-{secrets.token_hex(4)}"
        region.kubernetes.create_namespace(region.namespace)
        region.amqp_url = stack.rabbitmq().create_vhost(region.namespace)
        region.prepare(("none",))
        self.discovery = Service("discovery", replicas, region.environment(**SETTINGS), region.folder)
        self.collectors = [self._collector(number) for number in range(replicas)]

    def measured(self, idle: float) -> dict[str, Any]:
        """Everything that is measured of them. Times in seconds."""
        try:
            return self._measured(idle)
        finally:
            for service in (self.discovery, *self.collectors):
                if service.running:
                    service.resume()
                    service.kill()

    def _measured(self, idle: float) -> dict[str, Any]:
        self.discovery.start()
        self._until(lambda: len(self._records()) == len(self.addresses), "all discovered")
        started = time.monotonic()
        for collector in self.collectors:
            collector.start()
        self._until(lambda: len(self._epochs()) == len(self.addresses), "all stated")
        result: dict[str, Any] = {"replicas": self.replicas, "all_stated": time.monotonic() - started}
        result["shares"] = self._shares()
        if idle:
            before, began = usage(self.collectors[0].process.pid), time.monotonic()
            time.sleep(idle)
            after = usage(self.collectors[0].process.pid)
            result["idle"] = used(before, after, time.monotonic() - began)
        result["killed"] = self._replaced(lambda service: service.kill())
        if self.replicas > 1:
            result["shares_of_the_rest"] = self._shares()
            self.collectors.append(self._collector(len(self.collectors)))
            self.collectors[-1].start()
            result["shares_after"] = self._shares()
            result["stopped"] = self._replaced(lambda service: service.pause())
        return result

    def _collector(self, number: int) -> Service:
        return Service(
            "collector", 10 * self.replicas + number, self.region.environment(**SETTINGS), self.region.folder
        )

    def _replaced(self, fail: Callable[[Service], None]) -> dict[str, Any]:
        """What the busiest replica watched is stated anew by others, or by its successor where it is alone."""
        running = [collector for collector in self.collectors if collector.running]
        victim = max(running, key=lambda collector: len(watched(collector.process.pid, self._port)))
        lost = {host for host, vcenter in self._hosts().items() if vcenter in watched(victim.process.pid, self._port)}
        before, failed = self._epochs(), time.monotonic()
        fail(victim)
        if self.replicas == 1:
            self.collectors.append(self._collector(len(self.collectors)))
            self.collectors[-1].start()
        first: float | None = None

        def restated() -> bool:
            nonlocal first
            now = self._epochs()
            done = {host for host in lost if now[host] > before[host]}
            if done and first is None:
                first = time.monotonic() - failed
            return done == lost

        self._until(restated, "all that it watched is stated anew")
        return {"vcenters": len(lost), "first": first, "all": time.monotonic() - failed}

    def _shares(self) -> list[int]:
        """How many vCenters each running replica has sessions with, once that is the same for 5 s and sums up.

        What decides is `crc32(FQDN) % partitions`, which spreads names that differ in a digit alone very unevenly.
        """
        last: list[int] = []
        since = time.monotonic()

        def settled() -> bool:
            nonlocal last, since
            running = [collector for collector in self.collectors if collector.running]
            shares = [len(watched(collector.process.pid, self._port) & self.addresses) for collector in running]
            if shares != last or sum(shares) != len(self.addresses):
                last, since = shares, time.monotonic()
            return time.monotonic() - since > 5

        self._until(settled, "the vCenters are shared out")
        return last

    @property
    def _port(self) -> int:
        port: int = next(iter(self.region.vcenters.values())).port
        return port

    def _hosts(self) -> dict[str, str]:
        return {f"{name}.{self.region.zone.zone}": each.address for name, each in self.region.vcenters.items()}

    def _records(self) -> list[dict[str, Any]]:
        path = f"/apis/{labels.GROUP}/v1/namespaces/{self.region.namespace}/vcenters"
        found: list[dict[str, Any]] = self.region.kubernetes.request("GET", path)["items"]
        return found

    def _epochs(self) -> dict[str, int]:
        """FQDN to the epoch of the last Inventory, of those that have one."""
        stated = {each["metadata"]["name"]: each.get("status", {}).get("collector", {}) for each in self._records()}
        return {
            host: int(section["revision"].split(".")[0])
            for host, section in stated.items()
            if section.get("revision", "0.0") != "0.0"
        }

    def _until(self, condition: Callable[[], bool], what: str, within: float = 120.0) -> None:
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                logs = [service.log.read_text()[-2000:] for service in (self.discovery, *self.collectors)]
                raise RuntimeError("\n".join([f"not within {within:g} s: {what}", *logs]))
            time.sleep(0.5)  # what is asked for is every record, which is not for free


def watched(pid: int, port: int) -> set[str]:
    """The addresses that a process has connections with on a port (proc(5), /proc/pid/fd and /proc/net/tcp)."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if found := re.fullmatch(r"socket:\[(\d+)\]", target):
            sockets.add(found[1])
    addresses = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        address, _, remote = fields[2].partition(":")
        if fields[3] == "01" and int(remote, 16) == port and fields[9] in sockets:
            addresses.add(socket.inet_ntoa(struct.pack("<L", int(address, 16))))
    return addresses


def used(before: Usage, after: Usage, seconds: float) -> dict[str, Any]:
    """Of a process, over a time."""
    cpu = after.cpu - before.cpu
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "cpu_percent": cpu / seconds * 100,
        "memory_mib": after.memory,
        "threads": after.threads,
    }


def bare_sessions(region: Region, seconds: float) -> dict[str, Any]:
    """The same vCenters watched by bare pyVmomi."""
    vcenters = list(region.vcenters.values())
    told = {
        "ca": str(vcenters[0].ca),
        "port": vcenters[0].port,
        "username": USERNAME,
        "vcenters": [(vcenter.address, vcenter.password) for vcenter in vcenters],
    }
    command = [sys.executable, "-m", "bench.sessions"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            json.dump(told, process.stdin)
            process.stdin.close()
            if process.stdout.readline() != "waiting\n":
                raise RuntimeError("the bare sessions ended")
            before, began = usage(process.pid), time.monotonic()
            time.sleep(seconds)
            return used(before, usage(process.pid), time.monotonic() - began)
        finally:
            process.kill()


def large_cluster(stack: Stack, region: Region, readings: int = 10) -> dict[str, Any]:
    """Seconds for reading a cluster of 64 hosts, 200 datastores and 300 port groups, in one answer and in pages."""
    vcenter = region.vcenter("vc-large-0", "QA-DE-1A", 0)
    networks = [f"segment-{number:03}" for number in range(299)] + ["br-last"]
    datastores = [f"eph-large-{number:03}" for number in range(200)]
    vcenter.add_cluster("QA-DE-1A", "productionbb064", datastores, networks, hosts=64, mounting=1)

    async def read(page_size: int | None) -> list[float]:
        vcenters = PyVmomiVCenters(tls_context(str(stack.ca.certificate)), port=vcenter.port, page_size=page_size)
        session = await vcenters.log_on(
            Endpoint(vcenter.fqdn, (vcenter.address,)), Credentials(USERNAME, vcenter.password)
        )
        try:
            times = []
            for _ in range(readings):
                began = time.perf_counter()
                await session.snapshot()
                times.append(time.perf_counter() - began)
            return times
        finally:
            await session.close()

    return {name: report.summary(asyncio.run(read(size))) for name, size in (("whole", None), ("pages_of_100", 100))}


def finish(
    stack: Stack, options: argparse.Namespace, rounds: list[dict[str, Any]], bare: dict[str, Any], large: dict[str, Any]
) -> None:
    """Prints and writes what was measured."""
    processes = [("one collector", each["idle"]) for each in rounds if "idle" in each] + [("bare pyVmomi", bare)]
    report.show(
        f"{options.vcenters} vCenters in one process, {options.seconds:g} s with nothing changing",
        ("", "MiB", "KiB a vCenter", "threads", "CPU s", "CPU %"),
        [
            (name, f"{each['memory_mib']:.0f}", f"{each['memory_mib'] * 1024 / options.vcenters:.0f}",
             str(each["threads"]), f"{each['cpu_seconds']:.2f}", f"{each['cpu_percent']:.2f}")
            for name, each in processes
        ],
        caption="MiB: proportional set size, interpreter and libraries included.",
    )  # fmt: skip
    report.show(
        f"{options.vcenters} vCenters, several replicas (heartbeat {SETTINGS['heartbeat']} s)",
        ("replicas", "all stated s", "shares", "killed: first s", "all s", "stopped: first s", "all s"),
        [
            (str(each["replicas"]), f"{each['all_stated']:.1f}", "+".join(map(str, each["shares"])),
             *(f"{each[how][when]:.1f}" if how in each else "" for how in ("killed", "stopped")
               for when in ("first", "all")))
            for each in rounds
        ],
        caption="From the start of the processes, interpreters included. Killed (SIGKILL) or stopped (SIGSTOP): until "
        "others state anew what it watched; one that is alone is started again.",
    )  # fmt: skip
    report.show(
        "One reading of 64 hosts, 200 datastores, 300 port groups",
        ("", "median ms", "max ms"),
        [(name, f"{each['median'] * 1000:.0f}", f"{each['max'] * 1000:.0f}") for name, each in large.items()],
    )
    servers = {served.name: served.version for served in stack.served if not served.name.startswith("vc-")}
    idle = statistics.fmean([each["idle"]["memory_mib"] for each in rounds if "idle" in each] or [0])
    path = report.write(
        "vcenters",
        "many vCenters in one collector, and shared by several",
        {
            "vcenters": options.vcenters,
            "clusters_each": options.clusters,
            "settings": SETTINGS,
            "rounds": rounds,
            "bare_pyvmomi": bare,
            "memory_ratio": idle / bare["memory_mib"],
            "large_cluster_seconds": large,
        },
        servers,
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
