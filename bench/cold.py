"""Cold start: four processes with nothing known, until every object of 8 vCenters is in the API server.

Beside it, in the same run, the same objects applied by a bare kubernetes-asyncio loop at the same concurrency, as if
they were all known already: what the API server alone takes.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import report
from bench.bareapply import bare_loop
from bench.starting import fresh_namespace, prepared, wait_for_all
from tests.e2e.region import Region
from tests.stack import Stack

CONCURRENCY = 10
console = Console(width=110)


def main() -> None:
    """Starts the servers, runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-cold", description=__doc__)
    parser.add_argument("--vcenters", type=int, default=8)
    parser.add_argument("--clusters", type=int, default=16, help="clusters of each vCenter")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    stack = Stack()
    try:
        run(stack, options.vcenters, options.clusters, options.runs)
    finally:
        stack.close()


def run(stack: Stack, vcenters: int, clusters: int, runs: int) -> None:
    """The benchmark on a stack."""
    console.print(f"building {vcenters} vCenters with {clusters} clusters each")
    region = prepared(stack, vcenters, clusters)
    cold, bare, soap, requests = [], [], Counter[str](), Counter[str]()
    objects: dict[str, dict[str, Any]] = {}
    for number in range(1, runs + 1):
        fresh_namespace(stack, region)
        calls_before, requests_before = soap_calls(region), api_requests(region)
        started = time.perf_counter()
        fleet = region.fleet(partitions="8")
        wait_for_all(region, 1, vcenters * clusters, fleet.check_alive, within=600)
        cold.append(time.perf_counter() - started)
        objects = region.objects()
        soap, requests = soap_calls(region) - calls_before, api_requests(region) - requests_before
        fleet.close()
        bare.append(asyncio.run(bare_seconds(region, objects)))
        console.print(f"run {number}: {cold[-1]:.1f} s for {len(objects)} objects, the bare loop {bare[-1]:.1f} s")
    finish(stack, len(objects), (cold, bare), soap, requests)
    region.close()


async def bare_seconds(region: Region, objects: dict[str, dict[str, Any]]) -> float:
    """Seconds for the same objects, in a namespace of their own, by nothing but the library's server-side apply."""
    namespace = f"bare-{secrets.token_hex(4)}"
    region.kubernetes.create_namespace(namespace)
    async with bare_loop(region.kubernetes.kubeconfig, namespace, concurrency=CONCURRENCY) as loop:
        manifests = [_as_applied(item) for item in objects.values()]
        started = time.perf_counter()
        await loop.apply(manifests)
        return time.perf_counter() - started


def _as_applied(item: dict[str, Any]) -> dict[str, Any]:
    kept = {field: item["metadata"][field] for field in ("name", "labels", "annotations")}
    return {**{field: value for field, value in item.items() if field != "status"}, "metadata": kept}


def soap_calls(region: Region) -> Counter[str]:
    """SOAP calls of the operator's account so far, by method."""
    return sum((Counter(vcenter.calls()) for vcenter in region.vcenters.values()), Counter[str]())


def api_requests(region: Region) -> Counter[str]:
    """Requests that the API server answered so far, by verb (watches count when they end)."""
    counted: Counter[str] = Counter()
    for line in region.kubernetes.metrics().splitlines():
        if line.startswith("apiserver_request_total{"):
            labelled, value = line.rsplit(" ", 1)
            counted[labelled.split('verb="')[1].split('"')[0]] += int(float(value))
    return counted


def finish(
    stack: Stack, objects: int, times: tuple[list[float], list[float]], soap: Counter[str], requests: Counter[str]
) -> None:
    """Prints and writes what was measured."""
    cold, bare = report.summary(times[0]), report.summary(times[1])
    ratio = cold["median"] / bare["median"]
    report.show(
        f"Cold start, {objects} objects",
        ("", "median s", "max s", "objects/s", "ratio"),
        [
            ("four processes, nothing known", f"{cold['median']:.1f}", f"{cold['max']:.1f}",
             f"{objects / cold['median']:.0f}", f"{ratio:.2f}"),
            (f"bare server-side apply, concurrency {CONCURRENCY}", f"{bare['median']:.1f}",
             f"{bare['max']:.1f}", f"{objects / bare['median']:.0f}", "1.00"),
        ],
        caption="From the start of the processes (interpreters included) to the last object in the API server.",
    )  # fmt: skip
    report.show("Requests of the last run (LIST and GET with the benchmark's own looks)", ("", "count"), [
        *((f"SOAP {method}", str(count)) for method, count in soap.most_common()),
        *((f"Kubernetes {verb}", str(count)) for verb, count in requests.most_common()),
    ])  # fmt: skip
    servers = {served.name: served.version for served in stack.served if not served.name.startswith("vc-")}
    path = report.write(
        "cold",
        "cold start until every object is in the API server, beside a bare apply loop",
        {
            "objects": objects,
            "concurrency": CONCURRENCY,
            "cold_seconds": cold,
            "bare_seconds": bare,
            "ratio": ratio,
            "soap_calls": dict(soap),
            "api_requests": dict(requests),
        },
        servers,
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
