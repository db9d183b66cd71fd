"""The ApplySet of a vCenter as the real kubectl reads it (KEP-3659): it checks id, tool and where members are."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient

from tests import kubectl
from tests.integration.applier_cluster import TESTER, Region
from tests.stack.kubernetes import Kubernetes
from tests.unit.applier.given import HOST, OTHER, stated
from vcenter_operator.common import labels
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import VCENTERS, ensure_crds
from vcenter_operator.common.settings import Settings

ALPHA = {"KUBECTL_APPLYSET": "true"}


@pytest.fixture
async def client(kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiClient]:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    async with connect(Settings.load(bus="in-process")) as (made, _):
        await ensure_crds(made)
        yield made


@pytest.fixture
async def region(client: ApiClient, kubernetes: Kubernetes, namespace: str) -> Region:
    """Two vCenters' objects; the first has one in another namespace too."""
    made = Region(client, namespace)
    kubernetes.create_namespace(f"{namespace}-2")
    elsewhere = made.config_map("elsewhere", namespace=f"{namespace}-2")
    async with made.applier():
        await made.state(
            stated(made.deployment("agent"), made.secret("credentials"), elsewhere),
            stated(made.config_map("others", OTHER), host=OTHER),
        )
        await made.shows("AsStated")
        await made.shows("AsStated", OTHER)
    return made


def applied(region: Region, *options: str) -> list[str]:
    """`kubectl apply` with our parent as its ApplySet, of one ConfigMap more."""
    parent = f"{VCENTERS.plural}.{VCENTERS.group}/{HOST}"
    return ["apply", "-n", region.namespace, f"--applyset={parent}", "--prune", "-f", "-", *options]


def one_more(region: Region) -> str:
    metadata = {"name": "more", "namespace": region.namespace}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


async def annotate(region: Region, **changes: Any) -> None:
    body = {"metadata": {"annotations": changes}}
    await region.api.merge_patch(VCENTERS.path(HOST, namespace=region.namespace), body, field_manager=TESTER)


async def test_members_are_found_by_their_label(region: Region, kubernetes: Kubernetes) -> None:
    of_the_set = f"{labels.PART_OF}={labels.applyset_id(HOST, region.namespace)}"
    listed = kubectl.kubectl(
        kubernetes, "get", "deployments,secrets,configmaps", "-A", "-l", of_the_set, "-o", "name"
    )  # fmt: skip

    assert set(listed.split()) == {"deployment.apps/agent", "secret/credentials", "configmap/elsewhere"}


async def test_kubectl_refuses_to_act_on_a_set_that_is_ours(region: Region, kubernetes: Kubernetes) -> None:
    before = await region.versions()

    refused = kubectl.run(kubernetes, *applied(region), given=one_more(region), environment=ALPHA)

    assert refused.returncode != 0
    assert "managed by tooling" in refused.stderr
    assert "vcenter-operator" in refused.stderr
    assert await region.versions() == before
    tooling = (await region.parent())["annotations"][labels.APPLYSET_TOOLING]
    assert re.fullmatch(r"vcenter-operator/v\d+\.\d+\.\d+", tooling), "<toolname>/<semver>"


async def test_kubectl_finds_exactly_our_members_once_the_set_is_given_to_it(
    region: Region, kubernetes: Kubernetes
) -> None:
    """Only if the id is the one made from the parent's name, and it can read where to look."""
    await annotate(region, **{labels.APPLYSET_TOOLING: "kubectl/v1.35.4"})
    options = ("--server-side", "--force-conflicts", "--dry-run=server")

    shown = kubectl.kubectl(kubernetes, *applied(region, *options), given=one_more(region), environment=ALPHA)

    pruned = {line.partition(" ")[0] for line in shown.splitlines() if " pruned" in line}
    assert pruned == {"deployment.apps/agent", "secret/credentials", "configmap/elsewhere"}
    await annotate(region, **{labels.APPLYSET_TOOLING: "kubectl/v1.35.4", labels.ADDITIONAL_NAMESPACES: None})
    shown = kubectl.kubectl(kubernetes, *applied(region, *options), given=one_more(region), environment=ALPHA)
    assert "elsewhere" not in shown, "that is what the annotation is for"


async def test_kubectl_notices_an_id_that_was_not_made_from_the_parents_name(
    region: Region, kubernetes: Kubernetes
) -> None:
    await annotate(region, **{labels.APPLYSET_TOOLING: "kubectl/v1.35.4"})
    wrong = {"metadata": {"labels": {labels.APPLYSET_ID: labels.applyset_id(OTHER, region.namespace)}}}
    await region.api.merge_patch(VCENTERS.path(HOST, namespace=region.namespace), wrong, field_manager=TESTER)

    refused = kubectl.run(kubernetes, *applied(region), given=one_more(region), environment=ALPHA)

    assert refused.returncode != 0
    assert "incorrect value for label" in refused.stderr
