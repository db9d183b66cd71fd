"""The applier with an account that may not look everywhere: what it may do goes on, and nothing is taken for gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient

from tests.e2e.accounts import kubeconfig_of
from tests.integration.applier_cluster import Region
from tests.stack.kubernetes import Kubernetes
from tests.unit.applier.given import CINDER, NOVA, TEMPLATES, provenance, stated
from vcenter_operator.applier.adapters.kubernetes.freeze import NAME as FREEZE
from vcenter_operator.common import labels
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import ensure_crds
from vcenter_operator.common.kubernetes.errors import Forbidden
from vcenter_operator.common.settings import Settings

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"
MERGE = "application/merge-patch+json"
WRITE = ["get", "list", "watch", "create", "update", "patch", "delete"]
IN_ITS_OWN = [
    {"apiGroups": [labels.GROUP], "resources": ["vcenters", "vcenters/status"], "verbs": WRITE},
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [FREEZE], "verbs": ["get", "list", "watch"]},
]
"""Of the applier's rights in the operator's namespace, by the chart, where no objects are there."""
OBJECTS = {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": WRITE}


def grant(kubernetes: Kubernetes, namespace: str, own: str, *rules: dict[str, Any]) -> None:
    """To the operator's account, in a namespace, these and no other."""
    role = {"metadata": {"name": "operator"}, "rules": list(rules)}
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": own}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"}
    binding = {"metadata": {"name": "operator"}, "roleRef": reference, "subjects": [subject]}
    for kind, body in (("roles", role), ("rolebindings", binding)):
        kubernetes.request("POST", f"{RBAC}/{namespace}/{kind}", body)


@pytest.fixture
def elsewhere(kubernetes: Kubernetes, namespace: str) -> str:
    """The namespace of the objects."""
    name = f"{namespace}-objects"
    kubernetes.create_namespace(name)
    return name


@pytest.fixture
async def client(
    kubernetes: Kubernetes, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ApiClient]:
    """The operator's own account, on a server that has the CRDs."""
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    async with connect(Settings.load(bus="in-process")) as (administrator, _):
        await ensure_crds(administrator)
    token = kubernetes.service_account_token(namespace, "operator")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig_of(kubernetes, token, tmp_path / "operator.kubeconfig")))
    async with connect(Settings.load(bus="in-process")) as (made, _):
        yield made


@pytest.fixture
def region(client: ApiClient, namespace: str) -> Region:
    return Region(client, namespace)


def edit(number: int) -> dict[str, Any]:
    """What a statement after so many edits of the template says."""
    return {"made_from": provenance(number), "templates": {**TEMPLATES, NOVA: number}}


async def holds(region: Region, kubernetes: Kubernetes, place: str, *names: str) -> None:
    """Waits until these ConfigMaps are there, and no others of ours."""

    def found() -> set[str]:
        items = kubernetes.request("GET", f"/api/v1/namespaces/{place}/configmaps")["items"]
        return {item["metadata"]["name"] for item in items}

    deadline = time.monotonic() + 20
    while (there := await asyncio.to_thread(found)) != set(names):
        assert time.monotonic() < deadline, (there, await region.condition())
        await asyncio.sleep(0.05)


async def refused(region: Region, path: str) -> None:
    """Waits until the account may not look there any more."""
    async with asyncio.timeout(20):
        while True:
            try:
                await region.api.list(path)
            except Forbidden:
                return
            await asyncio.sleep(0.02)


async def test_an_operator_in_a_namespace_of_its_own_needs_no_right_to_objects_there(
    region: Region, kubernetes: Kubernetes, elsewhere: str
) -> None:
    grant(kubernetes, region.namespace, region.namespace, *IN_ITS_OWN)
    grant(kubernetes, elsewhere, region.namespace, OBJECTS)
    one, two, three = (region.config_map(name, namespace=elsewhere) for name in ("one", "two", "three"))
    async with region.applier():
        await region.state(stated(one, two))
        await region.shows("AsStated")
        await region.state(stated(one, two, three, **edit(2)))
        await holds(region, kubernetes, elsewhere, "one", "two", "three")
    async with region.applier():
        await region.state(stated(one, two, **edit(3)))
        await holds(region, kubernetes, elsewhere, "one", "two")
        await region.shows("AsStated")


async def test_what_the_account_may_not_look_at_holds_up_nothing_else(
    region: Region, kubernetes: Kubernetes, elsewhere: str
) -> None:
    grant(kubernetes, region.namespace, region.namespace, *IN_ITS_OWN)
    grant(kubernetes, elsewhere, region.namespace, OBJECTS)
    one, two = (region.config_map(name, namespace=elsewhere) for name in ("one", "two"))
    barred = region.deployment("barred", template=CINDER)
    barred["metadata"]["namespace"] = elsewhere
    async with region.applier(look_every="1"):
        await region.state(stated(one, two))
        await region.shows("AsStated")
        await region.state(stated(one, two, barred, **edit(2)))
        told = await region.shows("Refused")
        assert "deployments: 403" in told.message
        await region.state(stated(one, barred, **edit(3)))
        await holds(region, kubernetes, elsewhere, "one")

        # With the right it is made. Taken away again, of what is there nothing is known, and nothing is done.
        rules = [OBJECTS, {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": WRITE}]
        role = f"{RBAC}/{elsewhere}/roles/operator"
        kubernetes.request("PATCH", role, {"rules": rules}, content_type=MERGE)
        await region.shows("AsStated")
        path = f"/apis/apps/v1/namespaces/{elsewhere}/deployments/barred"
        made = kubernetes.request("GET", path)["metadata"]["uid"]
        kubernetes.request("PATCH", role, {"rules": rules[:1]}, content_type=MERGE)
        await refused(region, path.rpartition("/")[0])
    before = await region.parent()
    async with region.applier(look_every="1"):
        await region.state(stated(**edit(4)))
        told = await region.shows("Retrying")
        assert "deployments: 403" in told.message
        await holds(region, kubernetes, elsewhere, "one")
        kubernetes.request("PATCH", role, {"rules": rules}, content_type=MERGE)
        await holds(region, kubernetes, elsewhere)
        await region.shows("AsStated")
    assert made not in str(kubernetes.request("GET", path.rpartition("/")[0]))
    assert "Deployment.apps" in before["annotations"][labels.CONTAINS_GROUP_KINDS]


async def test_a_vcenter_without_objects_waits_where_it_may_not_look(
    region: Region, kubernetes: Kubernetes, elsewhere: str
) -> None:
    """Those of the deployed operator, which has no set, may be there, and nothing is done before they are adopted."""
    grant(kubernetes, region.namespace, region.namespace, *IN_ITS_OWN)
    grant(kubernetes, elsewhere, region.namespace, OBJECTS)
    barred = region.deployment("barred", template=CINDER)
    barred["metadata"]["namespace"] = elsewhere
    async with region.applier():
        await region.state(stated(region.config_map("one", namespace=elsewhere), barred))
        told = await region.shows("Retrying")
        assert "deployments: 403" in told.message
    await holds(region, kubernetes, elsewhere)
