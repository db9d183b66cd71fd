"""The main job: four services as four processes on RabbitMQ, from the DNS zone to the API server."""

from __future__ import annotations

import pytest

from tests.e2e.region import Region, of_cluster, of_zone
from tests.waiting import eventually
from vcenter_operator.common import labels

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")


def test_from_the_zone_to_the_cluster(region: Region) -> None:
    a = region.vcenter("vc-a-0")
    region.vcenter("vc-b-0", "QA-DE-1B")
    fleet = region.fleet()
    first = region.expect(of_cluster(10, 11, 20, 21), of_zone("qa-de-1a", "qa-de-1b"))
    for key, item in first.items():
        assert item["metadata"]["annotations"][labels.DIGEST], key
        assert item["metadata"]["namespace"] == region.namespace
        assert item["metadata"]["labels"][labels.PART_OF] == labels.applyset_id(
            item["metadata"]["annotations"][labels.VCENTER], region.namespace
        )
    assert first["ConfigMap/nova-compute-bb10-etc"]["data"]["nova-compute.conf"] == (
        "[DEFAULT]\nhost = nova-compute-bb10\ncompute_driver = vmwareapi.VMwareVCDriver\n"
        "default_availability_zone = qa-de-1a\n# vm networking through port group br-bb010\n\n"
        f"[vmware]\nhost_ip = {a.fqdn}\ncluster_name = productionbb010\n"
        "datastore_regex = ^eph_bb010_ds01.*\n\n[cells]\nknown = cell1,cell2\n"
    )

    # A cluster is added: its objects appear, nothing else is written.
    before = region.versions()
    region.cluster("vc-a-0", 12)
    region.expect(of_cluster(10, 11, 12, 20, 21), of_zone("qa-de-1a", "qa-de-1b"))
    after = region.versions()
    assert {key: after[key] for key in before} == before

    # It is renamed out of the convention: they go.
    a.rename_cluster("productionbb012", "decommissioned")
    region.expect(of_cluster(10, 11, 20, 21), of_zone("qa-de-1a", "qa-de-1b"))
    assert region.versions() == before

    # A vCenter is added to the zone, and taken out again: retained, and shown as gone.
    region.vcenter("vc-c-0", "QA-DE-1D", clusters=1)
    everything = of_cluster(10, 11, 20, 21, 30) | of_zone("qa-de-1a", "qa-de-1b", "qa-de-1d")
    region.expect(everything)
    retained = region.versions()
    region.zone.remove("vc-c-0")
    eventually(
        lambda: region.condition("vc-c-0", "Discovered").get("status") == "False",
        "the VCenter resource shows that it is gone",
        otherwise=region.logs,
    )
    region.stays(lambda: region.versions() == retained, "a vCenter that is gone keeps its objects", 3)

    # A template is edited: only its objects change.
    region.edit_template("neutron-dvs-agent", "m3neutron", "m3network")
    eventually(
        lambda: all(
            "m3network" in region.objects()[f"ConfigMap/neutron-dvs-agent-bb{number}"]["data"]["ml2-vmware.ini"]
            for number in (10, 11, 20, 21)
        ),
        "the edit is in every cluster's ConfigMap",
        otherwise=region.logs,
    )
    edited = region.versions()
    assert edited.keys() == retained.keys()
    changed = {key for key in edited if edited[key] != retained[key]}
    assert changed == {f"ConfigMap/neutron-dvs-agent-bb{number}" for number in (10, 11, 20, 21)}

    # A template is deleted: its objects go, those of the vCenter that is gone stay.
    region.delete("VCenterTemplate", "neutron-dvs-agent")
    of_the_gone = of_cluster(30) | of_zone("qa-de-1d")
    region.expect(
        {key for key in everything if "neutron" not in key} | of_the_gone,
        within=60,
    )

    # The Secret's password is changed: the credentials in the manifests follow, and the vCenters are logged on to anew.
    region.change_password("another seed")
    eventually(
        lambda: region.credentials(10, "vc-a-0"),
        "the new password is in the Secret of the agent",
        otherwise=region.logs,
    )
    a.expire_sessions()
    region.cluster("vc-a-0", 13)
    eventually(
        lambda: "Deployment/nova-compute-bb13" in region.objects(),
        "a session with the new password sees a new cluster",
        otherwise=region.logs,
    )
    fleet.check_alive()
    assert [service.stop() for service in fleet.all] == [0, 0, 0, 0], fleet.logs()
