"""Objects that the deployed operator made: not touched until somebody labels them, then taken over."""

from __future__ import annotations

import pytest

from tests.e2e.region import Region, of_cluster, of_zone
from tests.waiting import eventually
from vcenter_operator.common import labels

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")

NAME = "nova-compute-bb10-etc"


def test_an_object_of_the_deployed_operator_is_taken_over_when_it_is_labelled(region: Region) -> None:
    vcenter = region.vcenter("vc-a-0", clusters=1)
    path = f"/api/v1/namespaces/{region.namespace}/configmaps/{NAME}"
    deployed = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": region.namespace},
        "data": {"nova-compute.conf": "of the deployed operator", "dropped": "since"},
    }
    patch = "application/apply-patch+yaml"
    region.kubernetes.request("PATCH", f"{path}?fieldManager=vcenter-operator", deployed, content_type=patch)
    region.fleet(look_every="2")
    region.expect(of_cluster(10) - {f"ConfigMap/{NAME}"}, of_zone("qa-de-1a"))
    eventually(
        lambda: NAME in region.condition("vc-a-0", "Applied").get("message", ""),
        "the conflict is shown",
        otherwise=region.logs,
    )
    assert region.get("ConfigMap", NAME)["data"] == deployed["data"]

    applyset = labels.applyset_id(vcenter.fqdn, region.namespace)
    assert region.record("vc-a-0")["metadata"]["labels"][labels.APPLYSET_ID] == applyset
    label = {"metadata": {"labels": {labels.PART_OF: applyset}}}
    region.kubernetes.request("PATCH", path, label, content_type="application/merge-patch+json")
    eventually(
        lambda: "host = nova-compute-bb10" in region.get("ConfigMap", NAME)["data"]["nova-compute.conf"],
        "it is taken over",
        otherwise=region.logs,
    )
    assert "dropped" not in region.get("ConfigMap", NAME)["data"]
