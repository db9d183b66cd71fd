"""What every benchmark of the four processes begins with: a region, and all of its objects written."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.region import Region, of_cluster
from tests.stack import Stack

TEMPLATES = ("nova-compute-etc", "nova-compute", "neutron-dvs-agent")


def prepared(stack: Stack, vcenters: int, clusters: int, *, first_block: int = 1) -> Region:
    """A zone, vCenters `vc-a-<n>` with clusters named by consecutive building blocks, a namespace and templates."""
    zone = stack.dns()
    zone.clear()
    region = Region(stack.kubernetes(), zone, "", "", stack.start_vcsim, Path(tempfile.mkdtemp(dir=stack.folder)))
    for number in range(vcenters):
        block = first_block + number * clusters
        region.vcenter(f"vc-a-{number}", f"QA-DE-1{chr(ord('A') + number)}", clusters, block=block)
    fresh_namespace(stack, region)
    return region


def fresh_namespace(stack: Stack, region: Region) -> None:
    """Nothing is known: a new namespace and a new virtual host."""
    region.namespace = f"bench-{secrets.token_hex(4)}"
    region.kubernetes.create_namespace(region.namespace)
    region.amqp_url = stack.rabbitmq().create_vhost(region.namespace)
    region.prepare(TEMPLATES)


def wait_for_all(
    region: Region, first_block: int, clusters: int, check_alive: Callable[[], None], within: float = 300.0
) -> int:
    """Returns how many objects there are, as soon as all are written. `check_alive` raises where a service ended."""
    wanted = of_cluster(*range(first_block, first_block + clusters))
    deadline = time.monotonic() + within
    while not region.objects().keys() >= wanted:
        check_alive()
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {within:g} s: {len(wanted)} objects")
        time.sleep(0.2)
    return len(wanted)
