"""All four stages in one process, without RabbitMQ, against the real servers."""

from __future__ import annotations

import pytest

from tests.e2e.processes import Service
from tests.e2e.region import Region, of_cluster, of_zone

pytestmark = pytest.mark.needs("dns", "vcsim", "kubernetes")


def test_one_process_does_the_main_job_and_stops_when_told(region: Region) -> None:
    region.vcenter("vc-a-0")
    operator = Service("command", 0, region.environment(), region.folder, ["run"])
    operator.start()
    try:
        region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
        before = region.versions()
        region.cluster("vc-a-0", 12)
        region.expect(of_cluster(10, 11, 12), of_zone("qa-de-1a"))
        assert {key: version for key, version in region.versions().items() if key in before} == before
        assert operator.stop() == 0
        region.vcenters["vc-a-0"].rename_cluster("productionbb010", "decommissioned")
        operator.start()
        region.expect(of_cluster(11, 12), of_zone("qa-de-1a"))
    finally:
        if operator.running:
            operator.kill()
