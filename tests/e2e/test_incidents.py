"""What went wrong in years of running the deployed operator, seen from outside: the cluster must not notice.

The rows of the contract's table that concern one service alone are shown beside it: the SOA's EOF, refused and
truncated answers and the DNS service's new IP in `integration/test_discovery*.py`, the port group that vanishes
while it is read in `integration/test_collector*.py`. Restarts are in `test_kills.py`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import aio_pika
import pytest

from tests.e2e.region import Region, of_cluster, of_zone
from tests.kubectl import kubectl
from tests.waiting import eventually
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.rabbitmq.archive import Archive
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.messages import Inventory, Stage
from vcenter_operator.common.wire import decode, encode

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes", control=True)


def test_a_vcenter_that_is_down_at_the_first_connect_is_not_forgotten(region: Region) -> None:
    down = region.vcenter("vc-a-0")
    region.vcenter("vc-b-0", "QA-DE-1B")
    down.kill()
    region.fleet()
    region.expect(of_cluster(20, 21), of_zone("qa-de-1b"))
    eventually(
        lambda: region.condition("vc-a-0", "Connected").get("status") == "False",
        "the VCenter resource tells that it cannot be reached",
        otherwise=region.logs,
    )
    down.start()
    region.expect(of_cluster(10, 11, 20, 21), of_zone("qa-de-1a", "qa-de-1b"), within=90)


def test_a_vcenter_that_hangs_blocks_no_other(region: Region) -> None:
    hung = region.vcenter("vc-a-0")
    region.vcenter("vc-b-0", "QA-DE-1B")
    region.fleet(partitions="1")
    region.expect(of_cluster(10, 11, 20, 21), of_zone("qa-de-1a", "qa-de-1b"))
    with hung.paused():
        region.cluster("vc-b-0", 22, "QA-DE-1B")
        region.expect(of_cluster(10, 11, 20, 21, 22), of_zone("qa-de-1a", "qa-de-1b"))


def test_a_template_that_fails_leaves_its_objects_as_they_are(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.fleet()
    everything = of_cluster(10, 11) | of_zone("qa-de-1a")
    region.expect(everything)
    before = region.versions()
    region.edit_template("nova-compute-etc", r"\{= name =\}-etc", "{= name | no_such_filter =}-etc")
    region.cluster("vc-a-0", 12)
    # What does not depend on the broken template goes on.
    region.expect(everything, {key for key in of_cluster(12) if "neutron" in key})
    after = region.versions()
    assert {key: after[key] for key in before} == before
    assert "no_such_filter" in region.logs()
    region.edit_template("nova-compute-etc", r"\| no_such_filter ", "")
    region.expect(everything, of_cluster(12))
    after = region.versions()
    assert {key: after[key] for key in before} == before


def test_a_template_that_is_replaced_rather_than_edited_keeps_its_objects(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.fleet()
    everything = of_cluster(10, 11) | of_zone("qa-de-1a")
    region.expect(everything)
    before = region.versions()
    (template,) = region.example("neutron-dvs-agent.yaml")
    region.delete("VCenterTemplate", template["metadata"]["name"])
    region.stays(lambda: region.versions() == before, "a template that was gone for a moment took its objects", 3)
    region.put(template)
    region.cluster("vc-a-0", 12)
    region.expect(everything, of_cluster(12))
    after = region.versions()
    assert {key: after[key] for key in before} == before


def test_without_any_template_everything_stays(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.fleet(template_grace="1")
    everything = of_cluster(10, 11) | of_zone("qa-de-1a")
    region.expect(everything)
    before = region.versions()
    region.clear_templates()
    region.stays(lambda: region.versions() == before, "no template at all was taken for evidence", 5)


def test_an_account_that_lost_its_rights_deletes_nothing(region: Region) -> None:
    vcenter = region.vcenter("vc-a-0")
    fleet = region.fleet(snapshot_every="1")
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
    before = region.versions()
    vcenter.hide("*")
    eventually(
        lambda: region.condition("vc-a-0", "Collected").get("status") not in (None, "True"),
        "the VCenter resource tells that the inventory is not to be trusted",
        otherwise=region.logs,
    )
    region.stays(lambda: region.versions() == before, "an account without rights touched objects", 3)
    shown = kubectl(region.kubernetes, "get", "vc", "-n", region.namespace)
    heading, line = shown.splitlines()
    assert heading.split() == [
        *("NAME", "READY", "STATE", "SINCE", "CLUSTERS", "OBJECTS", "HELD", "CHANGED", "PROBLEM")
    ], shown
    assert line.split()[:3] == [f"vc-a-0.{region.zone.zone}", "False", "Partial"], shown
    assert "2 clusters are left as they are: productionbb010: not listed any more, and it cannot be read: No" in line
    # A restart does not forget what was there.
    for service in fleet.all:
        service.kill()
    fleet.start()
    region.stays(lambda: region.versions() == before, "after a restart, an account without rights touched objects", 8)
    vcenter.hide()
    region.cluster("vc-a-0", 12)
    region.expect(of_cluster(10, 11, 12), of_zone("qa-de-1a"))
    after = region.versions()
    assert {key: after[key] for key in before} == before


def test_an_api_server_that_is_away_delays_and_loses_nothing(region: Region) -> None:
    region.vcenter("vc-a-0")
    fleet = region.fleet(snapshot_every="5")
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
    region.kubernetes.kill()
    region.cluster("vc-a-0", 12)
    region.vcenters["vc-a-0"].rename_cluster("productionbb010", "decommissioned")
    region.stays(lambda: all(service.running for service in fleet.all), "a service ended while the API was away", 3)
    region.kubernetes.start()
    region.expect(of_cluster(11, 12), of_zone("qa-de-1a"), within=120)


def test_a_name_that_kubernetes_cannot_have_stops_nothing_else(region: Region) -> None:
    vcenter = region.vcenter("vc-a-0")
    vcenter.add_cluster("QA-DE-1A", "production_Ümlaut", ["eph_1"], ["br-odd"])
    region.fleet()
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
    log = region.logs()
    assert "production_" in log
    assert "nova-compute" in log


def test_invalid_yaml_stops_nothing_else(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.edit_template("neutron-dvs-agent", "data:", "data: [unclosed")
    region.fleet()
    region.expect({key for key in of_cluster(10, 11) if "neutron" not in key}, of_zone("qa-de-1a"))
    eventually(lambda: "neutron-dvs-agent" in region.logs(), "the log names the template")


def test_an_old_inventory_after_a_newer_one_changes_nothing(region: Region) -> None:
    region.vcenter("vc-a-0")
    fleet = region.fleet(partitions="1")
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
    old = asyncio.run(_archived_inventory(region.amqp_url))
    region.vcenters["vc-a-0"].rename_cluster("productionbb010", "decommissioned")
    region.expect(of_cluster(11), of_zone("qa-de-1a"))
    settled = region.versions()
    (renderer,), (collector,) = fleet["renderer"], fleet["collector"]
    collector.stop()
    renderer.kill()
    asyncio.run(_publish(region.amqp_url, encode(old)))
    renderer.start()
    region.stays(lambda: region.versions() == settled, "an old inventory was acted on", 6)
    collector.start()
    region.cluster("vc-a-0", 13)
    region.expect(of_cluster(11, 13), of_zone("qa-de-1a"))


QUEUE = "vcenter-operator.g1.renderer.0"


async def _archived_inventory(url: str) -> Inventory:
    """The first Inventory in the archive that lists both clusters."""
    archive = Archive(Endpoint.parse(url, 10), Names(Topology(partitions=1), ()))
    async with aclosing(archive.read(Stage.RENDERER)) as said:
        async for archived in said:
            statement = decode(archived.body)
            if isinstance(statement, Inventory) and len(statement.clusters) == 2:
                return statement
    raise AssertionError("no such inventory in the archive")


async def _publish(url: str, body: bytes) -> None:
    """Puts bytes straight into the renderer's queue, as a redelivery would."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(body), routing_key=QUEUE)
