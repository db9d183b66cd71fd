"""A dry run of the four services shows what they would do, and changes nothing, beside the real ones or alone."""

from __future__ import annotations

import pytest

from tests.e2e.region import Region, of_cluster, of_zone
from tests.stack.errors import StackError
from tests.waiting import eventually
from vcenter_operator.common import labels

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")


def written(region: Region) -> dict[str, str]:
    """Everything in the region's namespace that the operator writes, with resourceVersions."""
    found = {}
    for path in (
        f"/apis/{labels.GROUP}/v1/namespaces/{region.namespace}/vcenters",
        f"/apis/coordination.k8s.io/v1/namespaces/{region.namespace}/leases",
    ):
        for item in region.kubernetes.request("GET", path)["items"]:
            found[f"{path}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
    return found | region.versions()


def logged(region: Region, what: str) -> bool:
    return what in (region.folder / "dry-runapplier-0.log").read_text()


def test_a_dry_run_alone_writes_nothing(region: Region) -> None:
    region.vcenter("vc-a-0")
    fleet = region.fleet(arguments=["--dry-run"])
    eventually(lambda: logged(region, "nova-compute-bb11"), "the plan is in the log", otherwise=region.logs)
    assert written(region) == {}
    assert [service.stop() for service in fleet.all] == [0, 0, 0, 0]


def test_a_dry_run_beside_the_real_ones_takes_nothing_from_them(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.fleet()
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
    dry = region.fleet(arguments=["--dry-run"])
    region.kubernetes.request("POST", f"/api/v1/namespaces/{region.namespace}/configmaps", {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "vcenter-operator-freeze"}, "data": {"reason": "the dry run shall be first"},
    })  # fmt: skip
    region.cluster("vc-a-0", 12)
    eventually(lambda: logged(region, "nova-compute-bb12"), "the dry run shows the new cluster", otherwise=region.logs)
    with pytest.raises(StackError, match="NotFound"):
        region.get("Deployment", "nova-compute-bb12")
    for service in dry.all:
        service.kill()
    region.delete("ConfigMap", "vcenter-operator-freeze")
    region.expect(of_cluster(10, 11, 12), of_zone("qa-de-1a"))
