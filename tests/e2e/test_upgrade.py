"""An upgrade, one service after the other: what the release before said lies in the queues when the new ones start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.harness import EpochsInMemory
from tests.e2e.processes import Fleet
from tests.e2e.region import PARTITIONS, Region, of_cluster, of_zone, region_of
from tests.recorded import NAMESPACE, RELEASES
from tests.waiting import eventually
from vcenter_operator.common import wire
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus
from vcenter_operator.common.messages import Stage, Statement

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")


@pytest.fixture
def region(kubernetes: Any, zone: Any, amqp_url: str, vcsim_factory: Any, tmp_path: Path) -> Iterator[Region]:
    """In the namespace that the recorded messages name."""
    kubernetes.create_namespace(NAMESPACE)
    for made in region_of(kubernetes, zone, amqp_url, NAMESPACE, vcsim_factory, tmp_path):
        yield made
        made.close()  # or it would make anew what is taken away
        for key in made.objects():
            made.delete(*key.split("/"))
        kubernetes.request("DELETE", made.record_path("vc-a-0"))


def said_in(release: Path) -> list[Statement]:
    """What its services said last, in a region like this one."""
    messages = [wire.decode(path.read_bytes()) for path in sorted(release.glob("*-region.msgpack"))]
    return [message for message in messages if isinstance(message, Statement)]


async def fill_the_queues(region: Region, statements: list[Statement]) -> None:
    """As they are left by processes that are gone."""
    bus = await RabbitMQBus.connect(region.amqp_url, Topology(PARTITIONS), EpochsInMemory())
    try:
        for statement in statements:
            await bus.publish(statement)
    finally:
        await bus.close()


async def parked(region: Region) -> dict[Stage, list[Any]]:
    """What no service could make anything of."""
    bus = await RabbitMQBus.connect(region.amqp_url, Topology(PARTITIONS), EpochsInMemory())
    try:
        return {stage: list(found) for stage in Stage if (found := await bus.parked(stage))}
    finally:
        await bus.close()


def ready(region: Region) -> bool:
    """All is well, as every stage says."""
    return region.condition("vc-a-0", "Ready").get("status") == "True"


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: str(each.name))
def test_each_service_goes_on_with_what_the_release_before_said(region: Region, release: Path) -> None:
    region.vcenter("vc-a-0")
    asyncio.run(fill_the_queues(region, said_in(release)))
    fleet = region.start(Fleet(region.environment(), region.folder, stages=("applier",)))
    everything = of_cluster(10, 11) | of_zone("qa-de-1a")
    made = {key: item["metadata"]["uid"] for key, item in region.expect(everything).items()}

    # The new renderer renders what the old collector collected: nothing is lost by it, and nothing made anew.
    for stage in ("renderer", "collector", "discovery"):
        following = region.start(Fleet(region.environment(), region.folder, stages=(stage,)))
        eventually(partial(said, region, stage), f"the {stage} has said something", otherwise=region.logs)
        assert {key: item["metadata"]["uid"] for key, item in region.objects().items()} == made, stage
        following.check_alive()
    eventually(lambda: ready(region), "all is well", otherwise=region.logs)
    region.cluster("vc-a-0", 12)
    region.expect(everything, of_cluster(12))
    fleet.check_alive()
    assert asyncio.run(parked(region)) == {}


def said(region: Region, stage: str) -> bool:
    """Whether a stage has written its section of the record."""
    return stage in region.record("vc-a-0").get("status", {})
