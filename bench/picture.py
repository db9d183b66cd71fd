"""`make picture`: an incident on real servers, and the dashboard as it is then, in `docs/dashboard.png`."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

from bench.drawing import Drawing
from bench.starting import prepared
from tests import monitoring
from tests.e2e.region import Region
from tests.e2e.scraped import scraped
from tests.stack import Stack

PICTURE = Path(__file__).parents[1] / "docs" / "dashboard.png"
VCENTERS, CLUSTERS = 3, 3
QUIET, TROUBLED = 70.0, 60.0
"""Seconds before the incident, and from its beginning to the picture."""
_BLOCKS = itertools.count(101)
"""Building blocks of clusters that come and go."""


def main() -> None:
    """Changes go on all the time: a cluster is added and renamed away again, a template is edited."""
    stack = Stack()
    try:
        taken(stack, prepared(stack, VCENTERS, CLUSTERS))
    finally:
        stack.close()


def taken(stack: Stack, region: Region) -> None:
    """The picture of a region."""
    try:
        _, prometheus = scraped(stack, region, patience="5s")
        begin = time.time()
        changes(region, QUIET)
        print("an incident: a vCenter dies, another lacks its clusters, a template is broken")
        incident(region)
        changes(region, TROUBLED)
        print(f"firing: {', '.join(sorted(prometheus.firing()))}")
        dashboard = json.loads(monitoring.DASHBOARD.read_text())
        Drawing(prometheus, begin, time.time()).save(dashboard, PICTURE)
        print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")
    finally:
        region.close()


def changes(region: Region, seconds: float) -> None:
    """What happens on an ordinary day, faster."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number = next(_BLOCKS)
        region.cluster("vc-a-2", number, "QA-DE-1C")
        time.sleep(2)
        region.edit_template("nova-compute", r"replicas: \d+", f"replicas: {number % 2 + 1}")
        time.sleep(2)
        region.vcenters["vc-a-2"].rename_cluster(f"productionbb{number}", f"decommissioned-{number}")
        time.sleep(2)


def incident(region: Region) -> None:
    """Three things at once."""
    region.vcenters["vc-a-0"].kill()
    for number in range(1 + CLUSTERS, 1 + CLUSTERS + 2):
        region.vcenters["vc-a-1"].rename_cluster(f"productionbb{number:03}", f"decommissioned-{number}")
    region.edit_template("neutron-dvs-agent", r"\{= name =\}", "{= name | no_such_filter =}")


if __name__ == "__main__":
    main()
