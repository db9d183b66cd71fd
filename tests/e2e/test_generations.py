"""Another number of partitions: the next generation takes over while things change, and nothing is lost."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.e2e.region import Region, of_cluster
from tests.e2e.test_command import COMMAND
from tests.e2e.test_kills import AFTER, change_everything, expect_everything, prepared
from tests.waiting import eventually

pytestmark = [
    pytest.mark.needs("dns", "vcsim", "kubernetes"),
    pytest.mark.needs("rabbitmq", control=True),
]
NEXT: dict[str, Any] = {"generation": "2", "partitions": "7"}


def remove_the_last(region: Region) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "topology", "remove", "1", "--yes"],
        env={**region.environment(**NEXT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def queues(region: Region, rabbitmq: Any) -> set[str]:
    vhost = region.amqp_url.rpartition("/")[2]
    listed = rabbitmq.rabbitmqctl("list_queues", "--vhost", vhost, "--no-table-headers", "name")
    return {line.strip() for line in listed.splitlines()}


def test_the_next_generation_takes_over_while_statements_are_under_way(region: Region, rabbitmq: Any) -> None:
    last = prepared(region, replicas=1)
    change_everything(region)
    following = region.fleet(**NEXT)  # both work, as in a rolling update
    expect_everything(region)
    told = remove_the_last(region)
    assert (told.returncode, "somebody still works on generation 1" in told.stdout) == (1, True), told
    region.cluster("vc-a-0", 14)
    for service in last.all:
        assert service.stop() == 0
    region.cluster("vc-a-0", 15)
    region.vcenters["vc-a-0"].rename_cluster("productionbb013", "decommissioned too")
    region.expect(AFTER - of_cluster(13), of_cluster(14, 15), within=90)
    following.check_alive()
    settled = region.versions()

    told = remove_the_last(region)
    assert told.returncode == 0, told
    left = eventually(lambda: queues(region, rabbitmq), "the queues")
    assert left
    assert all(".g2." in name for name in left), left
    region.stays(lambda: region.versions() == settled, "removing what nobody uses changed something", 2)
    assert remove_the_last(region).stdout == "generation 1: there is nothing of it\n"
