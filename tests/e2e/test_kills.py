"""Each service killed in the middle of a change: the end is the same, and what went meanwhile is dealt with."""

from __future__ import annotations

import pytest

from tests.e2e.processes import STAGES, Fleet
from tests.e2e.region import Region, of_cluster, of_zone
from tests.waiting import eventually

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")

BEFORE = of_cluster(10, 11, 12) | of_zone("qa-de-1a")
AFTER = of_cluster(11, 12, 13, 20) | of_zone("qa-de-1a", "qa-de-1b")


def prepared(region: Region, replicas: int) -> Fleet:
    """A running fleet that has converged on BEFORE, and a second vCenter that is not in the zone yet."""
    region.vcenter("vc-a-0", clusters=3)
    region.vcenter("vc-b-0", "QA-DE-1B", clusters=1, listed=False)
    fleet = region.fleet(replicas)
    region.expect(BEFORE)
    return fleet


def change_everything(region: Region) -> None:
    """A cluster comes, a cluster goes, a vCenter comes, a template changes: from BEFORE to AFTER."""
    region.cluster("vc-a-0", 13)
    change_the_rest(region)


def change_the_rest(region: Region) -> None:
    """All but the cluster that comes."""
    region.vcenters["vc-a-0"].rename_cluster("productionbb010", "decommissioned")
    region.zone.add("vc-b-0", "A", region.vcenters["vc-b-0"].address)
    region.edit_template("nova-compute-etc", r"\[vmware\]", "[vmware]\n    edited = yes")


def expect_everything(region: Region) -> None:
    """AFTER, with the edited template everywhere."""
    region.expect(AFTER, within=90)
    eventually(
        lambda: all(
            "edited = yes" in item["data"]["nova-compute.conf"]
            for key, item in region.objects().items()
            if key.startswith("ConfigMap/nova-compute")
        ),
        "the edited template is everywhere",
        otherwise=region.logs,
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_killed_during_a_change(region: Region, stage: str) -> None:
    fleet = prepared(region, replicas=1)
    untouched = {key: value for key, value in region.versions().items() if "neutron-dvs-agent-bb11" in key}
    (service,) = fleet[stage]
    region.cluster("vc-a-0", 13)
    service.kill()
    change_the_rest(region)
    service.start()
    expect_everything(region)
    assert {key: value for key, value in region.versions().items() if "neutron-dvs-agent-bb11" in key} == untouched
    fleet.check_alive()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_killed_while_things_go(region: Region, stage: str) -> None:
    """A vCenter leaves the zone, a template is deleted, and the password of the Secret changes."""
    region.vcenter("vc-b-0", "QA-DE-1B", clusters=2)
    region.vcenter("vc-a-0", clusters=2, block=30)
    fleet = region.fleet()
    region.expect(of_cluster(10, 11, 30, 31), of_zone("qa-de-1a", "qa-de-1b"))
    retained = {key: value for key, value in region.versions().items() if key in of_cluster(10, 11)}
    (service,) = fleet[stage]
    region.zone.remove("vc-b-0")
    service.kill()
    service.start()
    eventually(
        lambda: region.condition("vc-b-0", "Applied").get("reason") == "Retained",
        "the vCenter is gone, and what it had retained",
        otherwise=region.logs,
    )
    region.delete("VCenterTemplate", "neutron-dvs-agent")
    service.kill()
    region.change_password("another seed")
    service.start()

    agents = {name for name in of_cluster(30, 31) if "neutron" in name}
    region.expect(of_cluster(10, 11), of_cluster(30, 31) - agents, of_zone("qa-de-1a", "qa-de-1b"), within=90)
    eventually(
        lambda: region.credentials(30, "vc-a-0") and region.credentials(31, "vc-a-0"),
        "the new password is in the Secrets of the agents",
        otherwise=region.logs,
    )
    assert region.condition("vc-b-0", "Discovered")["reason"] == "NotInZone"
    kept = {key: value for key, value in region.versions().items() if key in of_cluster(10, 11)}
    assert kept == retained
    fleet.check_alive()


@pytest.mark.parametrize("stage", STAGES)
def test_the_owner_of_two_replicas_is_killed_during_a_change(region: Region, stage: str) -> None:
    fleet = prepared(region, replicas=2)
    victim = region.owner(fleet, stage, "vc-a-0")
    change_everything(region)
    victim.kill()
    expect_everything(region)
    victim.start()
    region.cluster("vc-a-0", 15)
    region.expect(AFTER, of_cluster(15), within=90)
    fleet.check_alive()


def test_all_are_killed_at_once_and_what_went_meanwhile_is_dealt_with(region: Region) -> None:
    fleet = prepared(region, replicas=1)
    for service in fleet.all:
        service.kill()
    change_everything(region)
    fleet.start()
    expect_everything(region)


@pytest.mark.parametrize("stage", STAGES)
def test_a_replica_that_hangs_is_replaced_and_does_no_harm_when_it_wakes(region: Region, stage: str) -> None:
    fleet = prepared(region, replicas=2)
    hung = region.owner(fleet, stage, "vc-a-0")
    hung.pause()
    change_everything(region)
    expect_everything(region)
    settled = region.versions()
    hung.resume()
    region.stays(lambda: region.versions() == settled, "the process that woke up wrote something", 4)
