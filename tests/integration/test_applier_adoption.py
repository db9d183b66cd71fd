"""Moving over from the deployed operator and back, on a real API server: objects as that one applies them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient

from tests.integration.applier_cluster import TESTER, Region
from tests.stack.kubernetes import Kubernetes
from tests.unit.applier.given import HOST, OTHER, provenance, stated
from vcenter_operator.common import labels
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import VCENTERS, ensure_crds
from vcenter_operator.common.messages import ManifestDelta, ResyncRequest
from vcenter_operator.common.settings import Settings

OWNER = {
    "apiVersion": labels.API_VERSION,
    "kind": labels.TEMPLATE_KIND,
    "name": "nova-compute",
    "uid": "0f7b4cb5-0b2c-4a0e-9f35-2f8a2f1d0c11",
    "blockOwnerDeletion": False,
}


@pytest.fixture
async def client(kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiClient]:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    async with connect(Settings.load(bus="in-process")) as (made, _):
        await ensure_crds(made)
        yield made


@pytest.fixture
def region(client: ApiClient, namespace: str) -> Region:
    return Region(client, namespace)


async def deployed(region: Region, *manifests: Mapping[str, Any], manager: str = labels.FIELD_MANAGER) -> None:
    """Applies manifests as the deployed operator does: no label or annotation of ours, owned by the template."""
    for manifest in manifests:
        metadata = {name: manifest["metadata"][name] for name in ("name", "namespace")}
        body = {**manifest, "metadata": {**metadata, "ownerReferences": [OWNER]}}
        path = region.path(manifest["kind"], metadata["name"])
        await region.api.apply(path, body, field_manager=manager, force=True)


async def say(region: Region, host: str = HOST, **spec: Any) -> None:
    """As `kubectl patch vc` would."""
    path = VCENTERS.path(host, namespace=region.namespace)
    await region.api.merge_patch(path, {"spec": spec}, field_manager=TESTER)


def installation(region: Region, **values: str) -> list[dict[str, Any]]:
    """What the templates yield for a cluster."""
    return [
        region.deployment("agent", image=values.get("image", "agent:1")),
        region.secret("credentials"),
        region.config_map("etc", data={"key": "value", **values}),
    ]


NAMES = [("Deployment", "agent"), ("Secret", "credentials"), ("ConfigMap", "etc")]


async def objects(region: Region) -> dict[str, dict[str, Any]]:
    return {name: (await region.there(kind, name))["metadata"] for kind, name in NAMES}


def uids(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: metadata["uid"] for name, metadata in found.items()}


async def until(condition: Callable[[], Awaitable[bool]], what: str, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.02)


async def test_a_running_installation_is_observed_then_adopted_taken_back_and_adopted_again(region: Region) -> None:
    await deployed(region, *installation(region, dropped="since"))
    before = await region.versions()
    first = await objects(region)
    delta = stated(*installation(region), region.config_map("new"))
    async with region.applier():
        await region.state(delta)
        shown = await region.shows("Adopting")
        after = await region.versions()
        assert {name: after.get(name) for name in before} == before, "it only observes"
        assert "new" not in await region.names("ConfigMap")
        assert "1 to create, 3 to adopt" in shown.message or "3 to adopt, 1 to create" in shown.message

        await say(region, adopt=True)
        await region.shows("AsStated")
        adopted = await objects(region)
    assert uids(adopted) == uids(first)
    for metadata in adopted.values():
        assert metadata["labels"][labels.PART_OF] == labels.applyset_id(HOST, region.namespace)
        assert "ownerReferences" not in metadata, "the garbage collector has nothing to do with it any more"
        assert [(one["manager"], one["operation"]) for one in metadata["managedFields"]] == [
            ("vcenter-operator", "Apply")
        ]
    assert (await region.there("ConfigMap", "etc"))["data"] == {"key": "value"}
    assert "new" in await region.names("ConfigMap")
    assert (await region.parent())["annotations"][labels.CONTAINS_GROUP_KINDS] == "ConfigMap,Deployment.apps,Secret"
    assert [plan.creates for _, plan, _ in region.plans if plan.creates], "and nothing was tried as new"

    await deployed(region, *installation(region, image="agent:2"))
    back = await objects(region)
    assert uids(back) == uids(first)
    for metadata in back.values():
        assert metadata["ownerReferences"] == [OWNER]
        assert labels.PART_OF not in metadata.get("labels", {}), "the same manager states it no more"
        assert not [name for name in metadata.get("annotations", {}) if name.startswith(labels.GROUP)]

    await say(region, adopt=None)
    delta = stated(*installation(region), region.config_map("new"), region.config_map("newer"), made_from=provenance(2))
    async with region.applier():  # as in a real first start there is a record already, and what is owned is watched
        await region.state(delta)
        await region.shows("Adopting")
        assert "newer" not in await region.names("ConfigMap")
        assert {name: one["resourceVersion"] for name, one in (await objects(region)).items()} == {
            name: one["resourceVersion"] for name, one in back.items()
        }
    async with region.applier(adopt=True):
        await region.state(delta.repeated())
        await region.shows("AsStated")
    assert uids(await objects(region)) == uids(first)
    containers = (await region.there("Deployment", "agent"))["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == "agent:1"
    assert all("ownerReferences" not in metadata for metadata in (await objects(region)).values())


async def test_a_deployed_operator_that_is_started_beside_is_noticed_and_loses_nothing(region: Region) -> None:
    """It takes its objects back one by one; then the vCenter is only observed, until somebody has decided."""
    delta = stated(*installation(region))

    def answer(request: ResyncRequest) -> ManifestDelta | None:
        asked = {one: delta.manifests[one] for one in request.objects or ()}
        return delta.model_copy(update={"manifests": asked}) if asked else None

    region.renderer.answer = answer
    async with region.applier():
        await region.state(delta)
        await region.shows("AsStated")
        first = await objects(region)
        await deployed(region, region.config_map("etc", data={"key": "of the deployed operator"}))
        await region.shows("Adopting")

    assert uids(await objects(region)) == uids(first)
    assert (await region.there("ConfigMap", "etc"))["data"] == {"key": "of the deployed operator"}


async def test_what_is_not_the_deployed_operators_is_not_adopted_though_adopting_is_allowed(region: Region) -> None:
    await deployed(region, region.config_map("by-another"), manager=TESTER)
    unowned = region.config_map("unowned", data={"key": "theirs"})
    unowned["metadata"] = {"name": "unowned"}
    await region.api.apply(region.path("ConfigMap", "unowned"), unowned, field_manager=labels.FIELD_MANAGER)
    await deployed(region, region.config_map("etc"), region.config_map("forgotten"))
    before = await region.versions()
    async with region.applier(adopt=True):
        await region.state(stated(*(region.config_map(name) for name in ("by-another", "unowned", "etc"))))
        shown = await region.shows("Conflict")

    after = await region.versions()
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {"ConfigMap etc"}
    assert "by-another" in shown.message
    assert "unowned" in shown.message


async def test_what_a_person_labels_into_the_set_is_not_deleted_without_a_word(region: Region) -> None:
    await deployed(region, region.config_map("forgotten"))
    label = {"metadata": {"labels": {labels.PART_OF: labels.applyset_id(HOST, region.namespace)}}}
    async with region.applier():
        await region.state(stated(region.config_map("etc")))
        await region.shows("AsStated")
        await region.api.merge_patch(region.path("ConfigMap", "forgotten"), label, field_manager=TESTER)
        shown = await region.shows("Conflict")

    assert "forgotten" in shown.message
    assert "forgotten" in await region.names("ConfigMap")


async def test_an_adopted_object_that_cannot_be_patched_is_replaced_and_not_owned_by_its_template(
    region: Region,
) -> None:
    """As in `test_applier_kubernetes`: a value set by hand where the template wants a reference."""
    await deployed(region, region.deployment("agent"))
    value = {"containers": [{"name": "agent", "env": [{"name": "PASSWORD", "value": "plain"}]}]}
    spec = {"template": {"spec": value}}
    by_hand = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "agent"}, "spec": spec}
    path = region.path("Deployment", "agent")
    await region.api.apply(path, by_hand, field_manager=TESTER)
    uid = (await region.there("Deployment", "agent"))["metadata"]["uid"]
    reference = {"secretKeyRef": {"name": "credentials", "key": "password"}}
    wanted = region.deployment("agent", env=[{"name": "PASSWORD", "valueFrom": reference}])
    async with region.applier(adopt=True):
        await region.state(stated(wanted))
        await region.shows("AsStated")

    found = await region.there("Deployment", "agent")
    assert found["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "PASSWORD", "valueFrom": reference}]
    assert (found["metadata"]["uid"], found["metadata"].get("ownerReferences")) == (uid, None)


async def test_two_vcenters_that_want_one_object_of_the_deployed_operator_end_in_one_owner(region: Region) -> None:
    await deployed(region, region.config_map("shared"))
    uid = (await region.there("ConfigMap", "shared"))["metadata"]["uid"]
    both = stated(region.config_map("shared")), stated(region.config_map("shared", OTHER), host=OTHER)

    async def ended() -> bool:
        """One has it, whichever was faster, and the other waits for it."""
        shown = [await region.condition(host) for host in (HOST, OTHER)]
        return {one.reason for one in shown if one is not None} == {"AsStated", "Conflict"}

    async with region.applier(adopt=True):
        await region.state(*both)
        await until(ended, "one owner")
        metadata = (await region.there("ConfigMap", "shared"))["metadata"]
        owner = metadata["annotations"][labels.VCENTER]
        condition = await region.condition(owner)

    assert metadata["uid"] == uid
    assert condition is not None
    assert condition.reason == "AsStated"


async def test_a_dry_run_shows_what_adopting_comes_to_before_it_is_allowed(region: Region) -> None:
    await deployed(region, *installation(region, dropped="since"))
    before = await region.versions()
    async with region.applier(dry_run=True):
        await region.state(stated(*installation(region)))
        _, plan, outcome = await region.planned(1)

    assert {change.id.name for change in plan.updates if change.adopts} == {"agent", "credentials", "etc"}
    assert len(outcome.updated) == 3
    assert await region.versions() == before


async def test_what_others_own_along_with_the_deployed_operator_goes_where_it_is_dropped(region: Region) -> None:
    """Its owner reference too: somebody stored what `kubectl get -o yaml` printed."""
    secret = region.secret("credentials")
    secret["data"] = {"key": base64.b64encode(b"v").decode(), "dropped": ""}
    await deployed(region, secret)
    await deployed(region, secret, manager="kubectl")
    async with region.applier(adopt=True):
        await region.state(stated(region.secret("credentials")))
        await region.shows("AsStated")

    found = await region.there("Secret", "credentials")
    assert (set(found["data"]), found["metadata"].get("ownerReferences")) == ({"key"}, None)


async def test_an_object_that_was_handed_over_keeps_its_label_on_the_way_back_and_its_vcenter_afterwards(
    region: Region,
) -> None:
    """Its label was written by a patch, which the deployed operator's apply does not take back."""
    async with region.applier():
        await region.state(stated(region.config_map("moving"), region.config_map("kept")))
        await region.shows("AsStated")
        theirs = stated(region.config_map("moving", OTHER), host=OTHER)
        await region.state(theirs)
        await region.shows("Conflict", OTHER)
        await region.state(stated(region.config_map("kept"), made_from=provenance(2)))
        await region.shows("AsStated", OTHER)
    uid = (await region.there("ConfigMap", "moving"))["metadata"]["uid"]

    await deployed(region, region.config_map("moving", data={"key": "of the deployed operator"}))
    metadata = (await region.there("ConfigMap", "moving"))["metadata"]
    assert metadata["labels"] == {labels.PART_OF: labels.applyset_id(OTHER, region.namespace)}
    assert metadata["ownerReferences"] == [OWNER]
    async with region.applier():
        await region.state(theirs.repeated())

        async def theirs_again() -> bool:
            return bool((await region.there("ConfigMap", "moving"))["data"] == {"key": "value"})

        await until(theirs_again, "it is as its vCenter states it")

    metadata = (await region.there("ConfigMap", "moving"))["metadata"]
    assert (metadata["uid"], metadata.get("ownerReferences")) == (uid, None)
