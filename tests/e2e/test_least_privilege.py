"""Each service with the account and the Secret that the chart gives it: enough for the main job, and no more."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from tests.e2e.accounts import installed, kubeconfig_of, secrets_of, status
from tests.e2e.processes import STAGES, Fleet
from tests.e2e.region import PARTITIONS, Region, of_cluster, of_zone
from tests.stack.helm import Helm
from tests.stack.kubernetes import Kubernetes
from tests.waiting import eventually

pytestmark = pytest.mark.needs("kubernetes", "helm", control=True)


def told(region: Region, stage: str, token: str) -> dict[str, str]:
    """What a service has to itself."""
    kubeconfig = kubeconfig_of(region.kubernetes, token, region.folder / f"{stage}.kubeconfig")
    return {"KUBECONFIG": str(kubeconfig), "VCENTER_OPERATOR_SECRET": f"vcenter-operator-{stage}"}


@pytest.mark.needs("rabbitmq", "dns", "vcsim")
def test_four_accounts_with_four_secrets_do_the_main_job(region: Region, helm: Helm) -> None:
    region.delete("Secret", "vcenter-operator")
    for secret in secrets_of(region.secret()):
        region.put(secret)
    region.vcenter("vc-a-0")
    elsewhere = f"{region.namespace}-more"
    region.kubernetes.create_namespace(elsewhere)
    namespaces = [region.namespace, elsewhere]
    values = {"secret": {"perService": True}, "partitions": PARTITIONS, "applier": {"namespaces": namespaces}}
    with installed(helm, region.kubernetes, region.namespace, **values) as tokens:
        own = {f"{stage}-0": told(region, stage, token) for stage, token in tokens.items()}
        fleet = region.start(Fleet(region.environment(), region.folder, own=own))
        region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
        region.vcenters["vc-a-0"].rename_cluster("productionbb010", "decommissioned")
        region.expect(of_cluster(11), of_zone("qa-de-1a"))
        eventually(
            lambda: region.condition("vc-a-0", "Ready").get("status") == "True",
            "every stage has said that all is well",
            otherwise=region.logs,
        )
        for template in region.example("neutron-dvs-agent.yaml"):
            template["metadata"]["namespace"] = elsewhere
            region.apply(f"{OURS}/namespaces/{elsewhere}/vcenter-templates/{template['metadata']['name']}", template)
        deployments = f"{APPS}/namespaces/{elsewhere}/deployments"
        eventually(
            lambda: region.kubernetes.request("GET", deployments)["items"],
            "what a template in another namespace yields",
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
        fleet.check_alive()
        lacking = ("orbidden", "may be behind this release")
        assert [line for line in fleet.logs(lines=100_000).splitlines() if any(word in line for word in lacking)] == []


CORE, APPS, OURS = "/api/v1", "/apis/apps/v1", "/apis/vcenter-operator.stable.sap.cc/v1"
RBAC, LEASES, DEFINITIONS = (
    "/apis/rbac.authorization.k8s.io/v1",
    "/apis/coordination.k8s.io/v1/namespaces/{own}/leases",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
)
SECRETS = f"{CORE}/namespaces/{{own}}/secrets"
VCENTERS = f"{OURS}/namespaces/{{own}}/vcenters"
ONLY = "?fieldSelector=metadata.name%3D"

ALLOWED = {
    "any service": [
        f"GET {SECRETS}/vcenter-operator-{{stage}}",
        f"GET {SECRETS}{ONLY}vcenter-operator-{{stage}}",
        f"GET {VCENTERS}",
        f"PATCH {VCENTERS}/vc-a-0/status",
        f"PUT {LEASES}/vcenter-operator-{{stage}}-0",
        f"GET {DEFINITIONS}/vcenters.vcenter-operator.stable.sap.cc",
    ],
    "discovery": [f"GET {CORE}/namespaces/{{dns}}/services"],
    "renderer": [
        f"GET {OURS}/vcenter-templates",
        f"PATCH {OURS}/namespaces/{{objects}}/vcenter-templates/x/status",
        f"GET {CORE}/configmaps",
    ],
    "applier": [
        f"PATCH {VCENTERS}/vc-a-0",
        f"DELETE {APPS}/namespaces/{{objects}}/deployments/x",
        f"PATCH {CORE}/namespaces/{{objects}}/secrets/x",
        f"GET {CORE}/namespaces/{{own}}/configmaps/vcenter-operator-freeze",
    ],
}
ANYTHING_THAT_TEMPLATES_YIELD = [
    f"{method} {place.removesuffix('/x') if method == 'POST' else place}"
    for place in (
        f"{CORE}/namespaces/{{objects}}/secrets/x",
        f"{CORE}/namespaces/{{objects}}/configmaps/x",
        f"{CORE}/namespaces/{{objects}}/services/x",
        f"{APPS}/namespaces/{{objects}}/deployments/x",
        f"{APPS}/namespaces/{{objects}}/statefulsets/x",
    )
    for method in ("POST", "PATCH", "PUT", "DELETE")
]
REFUSED = {
    "any service": [
        f"GET {SECRETS}",
        f"POST {SECRETS}",
        f"GET {SECRETS}/vcenter-operator",
        f"PATCH {SECRETS}/vcenter-operator-{{stage}}",
        f"DELETE {VCENTERS}/vc-a-0",
        f"DELETE {LEASES}/vcenter-operator-{{stage}}-0",
        f"PUT {LEASES}/vcenter-operator-{{stage}}-99",
        f"PATCH {OURS}/namespaces/{{objects}}/vcenter-templates/x",
        f"PATCH {DEFINITIONS}/vcenters.vcenter-operator.stable.sap.cc",
        f"GET {DEFINITIONS}",
        f"POST {RBAC}/namespaces/{{objects}}/roles",
        f"POST {RBAC}/clusterrolebindings",
        f"POST {CORE}/namespaces/{{own}}/serviceaccounts/vcenter-operator-{{stage}}/token",
        f"POST {CORE}/namespaces/{{own}}/pods",
        f"GET {CORE}/namespaces/kube-system/secrets",
        f"POST {CORE}/namespaces",
        f"GET {CORE}/nodes",
    ],
    "any but the applier": [*ANYTHING_THAT_TEMPLATES_YIELD, f"PATCH {VCENTERS}/vc-a-0"],
    "any but the renderer": [
        f"PATCH {OURS}/namespaces/{{objects}}/vcenter-templates/x/status",
        f"GET {OURS}/vcenter-templates",
        f"GET {CORE}/configmaps",
    ],
    "any but discovery": [f"GET {CORE}/namespaces/{{dns}}/services"],
}


def requests_of(table: dict[str, list[str]], stage: str) -> list[str]:
    """Of a service, by the table."""
    anybody = {"any service", stage} | {f"any but {other}" for other in ("discovery", "the renderer", "the applier")}
    concerned = anybody - {f"any but {stage}", f"any but the {stage}"}
    return [request for who, requests in table.items() if who in concerned for request in requests]


@pytest.fixture(scope="module")
def places(kubernetes: Kubernetes) -> dict[str, str]:
    """Namespaces of the operator, of its objects, and of the DNS server."""
    names = {name: f"least-privilege-{name}" for name in ("own", "objects", "dns")}
    for name in names.values():
        kubernetes.create_namespace(name)
    return names


def test_what_a_service_has_no_business_with_is_refused(
    kubernetes: Kubernetes, helm: Helm, places: dict[str, str]
) -> None:
    values = {
        "secret": {"perService": True},
        "applier": {"namespaces": [places["objects"]]},
        "dns": {"namespace": places["dns"]},
    }
    with installed(helm, kubernetes, places["own"], **values) as tokens:
        for stage in STAGES:
            others = [f"GET {SECRETS}/vcenter-operator-{other}" for other in STAGES if other != stage]
            others += [f"PUT {LEASES}/vcenter-operator-{other}-0" for other in STAGES if other != stage]

            def answered(requests: list[str], stage: str = stage) -> dict[str, bool]:
                made = [request.format(stage=stage, **places) for request in requests]
                return {request: status(kubernetes, tokens[stage], request) == HTTPStatus.FORBIDDEN for request in made}

            allowed, refused = answered(requests_of(ALLOWED, stage)), answered(requests_of(REFUSED, stage) + others)
            assert allowed == dict.fromkeys(allowed, False), stage
            assert refused == dict.fromkeys(refused, True), stage
