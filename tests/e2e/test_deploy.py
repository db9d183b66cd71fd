"""deploy/operator.yaml: the API server takes all of it, and its rights are enough for the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.region import Region, of_cluster, of_zone
from tests.waiting import eventually

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")

MANIFESTS = Path(__file__).parents[2] / "deploy" / "operator.yaml"
PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
}


def kubeconfig_with_token(region: Region, token: str) -> Path:
    """The administrator's kubeconfig, with the service account's token for its certificate."""
    config: dict[str, Any] = yaml.safe_load(region.kubernetes.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = region.folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_deployed_service_account_can_do_the_main_job(region: Region) -> None:
    for manifest in yaml.safe_load_all(MANIFESTS.read_text().replace("monsoon3", region.namespace)):
        path = PATHS[manifest["kind"]].format(region.namespace)
        region.apply(f"{path}/{manifest['metadata']['name']}", manifest)
    region.vcenter("vc-a-0")
    token = region.kubernetes.service_account_token(region.namespace, "vcenter-operator")
    fleet = region.fleet(kubeconfig=str(kubeconfig_with_token(region, token)))
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
    region.vcenters["vc-a-0"].rename_cluster("productionbb010", "decommissioned")
    region.expect(of_cluster(11), of_zone("qa-de-1a"))
    fleet.check_alive()
    eventually(
        lambda: region.condition("vc-a-0", "Ready").get("status") == "True",
        "every stage has said that all is well",
        otherwise=region.logs,
    )
    region.edit_template("nova-compute", "kind: Deployment", "kind: Deployment{= name.a.b =}")
    events = f"/apis/events.k8s.io/v1/namespaces/{region.namespace}/events"
    eventually(
        lambda: "TemplateFails" in {each["reason"] for each in region.kubernetes.request("GET", events)["items"]},
        "an Event at the template",
        otherwise=region.logs,
    )
    (rendered,) = region.get("VCenterTemplate", "nova-compute")["status"]["conditions"]
    assert (rendered["status"], rendered["reason"]) == ("False", "Fails")
    assert "orbidden" not in region.logs()
