"""The applier against a real API server: what is written, what is left alone, and what survives kills and restarts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from kubernetes_asyncio.client import ApiClient

from tests.integration.applier_cluster import TESTER, Region
from tests.stack.kubernetes import Kubernetes
from tests.unit.applier.given import CINDER, HOST, NOVA, OTHER, TEMPLATES, cluster, provenance, stated
from vcenter_operator.applier.adapters.kubernetes import KubernetesCluster
from vcenter_operator.applier.adapters.kubernetes.freeze import NAME as FREEZE
from vcenter_operator.applier.adapters.kubernetes.live import Members
from vcenter_operator.applier.adapters.kubernetes.parent import TOOLING
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.ports import Changed
from vcenter_operator.applier.service import ApplierService
from vcenter_operator.common import labels
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import VCENTERS, ensure_crds
from vcenter_operator.common.kubernetes.errors import NotFound, Unavailable
from vcenter_operator.common.settings import Settings

T = TypeVar("T")
MAPS = Resource("", "v1", "configmaps")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")


@pytest.fixture
async def client(kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiClient]:
    """The administrator, on a server that has the CRDs."""
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    async with connect(Settings.load(bus="in-process")) as (made, _):
        await ensure_crds(made)
        yield made


@pytest.fixture
def region(client: ApiClient, namespace: str) -> Region:
    return Region(client, namespace)


def no_guard() -> None:
    """Nothing forbids a write."""


async def test_objects_carry_whose_they_are_and_the_parent_where_they_are(
    region: Region, kubernetes: Kubernetes
) -> None:
    elsewhere = f"{region.namespace}-2"
    kubernetes.create_namespace(elsewhere)
    delta = stated(
        region.deployment("agent"),
        region.secret("credentials"),
        region.config_map("elsewhere", namespace=elsewhere),
    )
    async with region.applier():
        await region.state(delta)
        await region.shows("AsStated")

    metadata = (await region.there("Deployment", "agent"))["metadata"]
    assert metadata["labels"] == {labels.PART_OF: labels.applyset_id(HOST, region.namespace)}
    expected = {
        labels.VCENTER: HOST,
        labels.TEMPLATE: NOVA,
        labels.UNIT: str(cluster(1)),
        labels.DIGEST: delta.index[region.id("Deployment", "agent")].digest,
        labels.REVISION: "1.1",
    }
    assert metadata["annotations"].items() >= expected.items()
    assert [(one["manager"], one["operation"]) for one in metadata["managedFields"]] == [("vcenter-operator", "Apply")]
    parent = await region.parent()
    assert parent["labels"] == {labels.APPLYSET_ID: labels.applyset_id(HOST, region.namespace)}
    assert parent["annotations"] == {
        labels.APPLYSET_TOOLING: TOOLING,
        labels.CONTAINS_GROUP_KINDS: "ConfigMap,Deployment.apps,Secret",
        labels.ADDITIONAL_NAMESPACES: elsewhere,
        labels.MEMBERS_IN: ",".join(sorted((region.namespace, elsewhere))),
    }
    async with region.applier():
        await region.state(delta.repeated())
        await region.planned(2)
    assert region.plans[1][1].unchanged == 3, "what is elsewhere is found again"


async def test_what_did_not_change_keeps_its_resource_version(region: Region) -> None:
    before = stated(region.deployment("a"), region.deployment("b"), region.secret("s"))
    async with region.applier():
        await region.state(before)
        await region.shows("AsStated")
        first = await region.versions()
        await region.state(before.repeated())
        await region.planned(2)
        assert await region.versions() == first
        changed = stated(
            region.deployment("a"),
            region.deployment("b", image="agent:2"),
            region.secret("s"),
            made_from=provenance(2),
        )
        await region.state(changed)
        await region.planned(3)
        second = await region.versions()

    assert {name for name in first if first[name] != second[name]} == {"Deployment b", f"VCenter {HOST}"}


async def test_a_fresh_process_deletes_what_went_while_none_was_there(region: Region) -> None:
    async with region.applier():
        await region.state(
            stated(
                region.deployment("a"),
                region.deployment("b", unit=cluster(2)),
                region.secret("b", unit=cluster(2)),
                region.config_map("c", template=CINDER),
            )
        )
        await region.shows("AsStated")
    async with region.applier():
        after = stated(region.deployment("a"), templates={NOVA: 1}, made_from=provenance(2, templates=2))
        await region.state(after)
        await region.planned(2)

    assert await region.names("Deployment") == {"a"}
    assert await region.names("Secret") == set()
    assert "c" not in await region.names("ConfigMap")
    assert (await region.parent())["annotations"][labels.CONTAINS_GROUP_KINDS] == "Deployment.apps"


async def test_the_parent_names_a_kind_before_its_first_object_and_no_longer_than_its_last(region: Region) -> None:
    named: dict[str, str] = {}

    def spy(service: ApplierService) -> None:
        writes = service._reconciler._cluster._writes  # type: ignore[attr-defined]
        apply = writes.apply

        async def looked(guard: Any, path: str, body: Mapping[str, Any], **more: Any) -> Any:
            if body["kind"] != "VCenter":
                named[body["kind"]] = (await region.parent())["annotations"][labels.CONTAINS_GROUP_KINDS]
            return await apply(guard, path, body, **more)

        writes.apply = looked

    async with region.applier(spy=spy):
        await region.state(stated(region.config_map("a"), region.deployment("a", unit=cluster(2))))
        await region.shows("AsStated")
        assert named == dict.fromkeys(("ConfigMap", "Deployment"), "ConfigMap,Deployment.apps")
        await region.state(stated(region.config_map("a"), made_from=provenance(2)))
        await region.planned(2)
        assert (await region.parent())["annotations"][labels.CONTAINS_GROUP_KINDS] == "ConfigMap"
        await region.state(stated(templates={}, made_from=provenance(3)))
        await region.planned(3)

    assert (await region.parent())["annotations"][labels.CONTAINS_GROUP_KINDS] == ""


async def test_an_apply_set_of_another_tool_is_left_to_it(region: Region) -> None:
    async with region.applier():
        await region.state(stated(region.config_map("a")))
        await region.shows("AsStated")
    body = {"metadata": {"annotations": {labels.APPLYSET_TOOLING: "kubectl/v1.35"}}}
    await region.api.merge_patch(VCENTERS.path(HOST, namespace=region.namespace), body, field_manager=TESTER)
    async with region.applier():
        await region.state(stated(templates={}, made_from=provenance(2)))
        shown = await region.shows("Retrying")

    assert "belongs to kubectl/v1.35" in shown.message
    assert "a" in await region.names("ConfigMap")


async def test_what_cannot_be_patched_is_replaced_and_never_made_anew(region: Region) -> None:
    """Somebody set a value where the template wants a reference: a merge of both is invalid, a PUT is not."""
    reference = {"secretKeyRef": {"name": "credentials", "key": "password"}}
    async with region.applier():
        await region.state(stated(region.deployment("agent", env=[{"name": "OTHER", "value": "x"}])))
        await region.shows("AsStated")
        by_hand = region.deployment("agent", env=[{"name": "PASSWORD", "value": "plain"}])
        spec = {"template": {"spec": {"containers": by_hand["spec"]["template"]["spec"]["containers"]}}}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "agent"}, "spec": spec}
        path = region.path("Deployment", "agent")
        await region.api.apply(path, body, field_manager=TESTER)
        finalizers = {"metadata": {"finalizers": ["example.org/theirs"]}}
        await region.api.merge_patch(path, finalizers, field_manager=TESTER)
        uid = (await region.there("Deployment", "agent"))["metadata"]["uid"]
        wanted = region.deployment("agent", env=[{"name": "PASSWORD", "valueFrom": reference}])
        await region.state(stated(wanted, made_from=provenance(2)))
        await region.planned(2)
        await region.shows("AsStated")

    found = await region.there("Deployment", "agent")
    assert found["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "PASSWORD", "valueFrom": reference}]
    assert found["metadata"]["uid"] == uid
    assert found["metadata"]["finalizers"] == ["example.org/theirs"], "what others hang on to stays"


async def test_what_cannot_be_replaced_either_is_refused_for_good_and_stops_nothing(region: Region) -> None:
    tries = 0

    def spy(service: ApplierService) -> None:
        writes = service._reconciler._cluster._writes  # type: ignore[attr-defined]
        replace = writes.replace

        async def counted(*arguments: Any) -> Any:
            nonlocal tries
            tries += 1
            return await replace(*arguments)

        writes.replace = counted

    async with region.applier(spy=spy):
        await region.state(stated(region.deployment("agent")))
        await region.shows("AsStated")
        before = (await region.there("Deployment", "agent"))["metadata"]
        impossible = stated(region.deployment("agent", app="other"), region.config_map("b"), made_from=provenance(2))
        await region.state(impossible)
        shown = await region.shows("Refused")
        await region.state(impossible.repeated())
        await region.planned(3)

    assert "field is immutable" in shown.message
    after = (await region.there("Deployment", "agent"))["metadata"]
    assert (after["uid"], after["resourceVersion"]) == (before["uid"], before["resourceVersion"])
    assert "b" in await region.names("ConfigMap")
    assert tries == 1


async def test_a_field_that_does_not_exist_is_refused_for_good(region: Region) -> None:
    wrong = region.config_map("a")
    wrong["dta"] = {"x": "y"}
    async with region.applier():
        await region.state(stated(wrong, region.config_map("b")))
        shown = await region.shows("Refused")

    assert "field not declared in schema" in shown.message
    assert {"b"} <= await region.names("ConfigMap")


@pytest.mark.needs("kubernetes", control=True)
async def test_an_api_server_killed_in_the_middle_of_a_delta_is_waited_for(
    region: Region, kubernetes: Kubernetes
) -> None:
    names = [f"c{number:02}" for number in range(40)]
    killed = asyncio.Event()

    def spy(service: ApplierService) -> None:
        writes = service._reconciler._cluster._writes  # type: ignore[attr-defined]
        apply, count = writes.apply, iter(range(1000))

        async def counted(*arguments: Any, **more: Any) -> Any:
            if next(count) == 15:
                kubernetes.kill()
                killed.set()
            return await apply(*arguments, **more)

        writes.apply = counted

    await region.store.list()
    async with region.applier(spy=spy, concurrency=4):
        await region.state(stated(*map(region.config_map, names)))
        async with asyncio.timeout(20):
            await killed.wait()
        await asyncio.to_thread(kubernetes.start)
        await region.shows("AsStated", within=60)

    assert set(names) <= await region.names("ConfigMap")


@pytest.mark.needs("kubernetes", control=True)
async def test_a_hung_api_server_is_waited_for(region: Region, kubernetes: Kubernetes) -> None:
    async with region.applier(request_timeout=1.0):
        await region.state(stated(region.config_map("a")))
        await region.shows("AsStated")
        with kubernetes.paused():
            await region.state(stated(region.config_map("a"), region.config_map("b"), made_from=provenance(2)))
            await asyncio.sleep(2.5)
            assert len(region.plans) == 1
        await region.planned(2)
        await region.shows("AsStated", within=30)

    assert {"a", "b"} <= await region.names("ConfigMap")


async def test_what_terminates_is_left_alone_and_made_anew_when_it_is_gone(region: Region) -> None:
    path = region.path("ConfigMap", "a")
    async with region.applier():
        await region.state(stated(region.config_map("a"), region.config_map("b", template=CINDER)))
        await region.shows("AsStated")
        for name in ("a", "b"):
            body = {"metadata": {"finalizers": ["example.org/wait"]}}
            await region.api.merge_patch(region.path("ConfigMap", name), body, field_manager=TESTER)
        await region.api.delete(path)
        dying = (await region.there("ConfigMap", "a"))["metadata"]
        changed = stated(
            region.config_map("a", data={"key": "new"}), templates={NOVA: 1}, made_from=provenance(2, templates=2)
        )
        await region.state(changed)
        shown = await region.shows("Waiting")
        async with asyncio.timeout(20):
            while "deletionTimestamp" not in (await region.there("ConfigMap", "b"))["metadata"]:
                await asyncio.sleep(0.02)
        still = (await region.there("ConfigMap", "a"))["metadata"]
        assert (still["resourceVersion"], still["deletionTimestamp"]) == (
            dying["resourceVersion"],
            dying["deletionTimestamp"],
        )
        deleted = (await region.there("ConfigMap", "b"))["metadata"]
        await region.api.merge_patch(path, {"metadata": {"finalizers": None}}, field_manager=TESTER)
        await region.shows("AsStated")

    assert "is being deleted" in shown.message
    found = await region.there("ConfigMap", "a")
    assert found["data"] == {"key": "new"}
    assert found["metadata"]["uid"] != dying["uid"]
    assert (await region.there("ConfigMap", "b"))["metadata"]["resourceVersion"] == deleted["resourceVersion"]


async def test_what_is_not_ours_is_not_touched(region: Region) -> None:
    """An object that stood there before, and one whose label was copied from ours by somebody else."""
    await region.api.create(
        MAPS.path(namespace=region.namespace),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"key": "theirs"}},
        field_manager=TESTER,
    )
    async with region.applier():
        await region.state(stated(region.config_map("theirs"), region.config_map("ours")))
        shown = await region.shows("Conflict")
        ours = await region.there("ConfigMap", "ours")
        kept = {name: ours["metadata"][name] for name in ("labels", "annotations")}
        copy = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "copy", **kept}, "data": {}}
        await region.api.create(MAPS.path(namespace=region.namespace), copy, field_manager=TESTER)
        before = await region.versions()
        await region.state(stated(templates={}, made_from=provenance(2)))
        await region.planned(2)
        await region.shows("AsStated")

    after = await region.versions()
    assert "not managed by the operator" in shown.message
    assert "ConfigMap ours" not in after
    assert [after[f"ConfigMap {name}"] for name in ("theirs", "copy")] == [
        before[f"ConfigMap {name}"] for name in ("theirs", "copy")
    ]


async def test_many_ids_are_looked_up_by_one_list_and_a_foreign_one_among_them_is_found(region: Region) -> None:
    await region.api.create(
        MAPS.path(namespace=region.namespace),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c07"}, "data": {"key": "theirs"}},
        field_manager=TESTER,
    )
    async with region.applier():
        await region.state(stated(*(region.config_map(f"c{number:02}") for number in range(15))))
        await region.shows("Conflict")

    assert (await region.there("ConfigMap", "c07"))["data"] == {"key": "theirs"}
    assert len(await region.names("ConfigMap")) == 15


async def test_an_object_that_appears_right_before_it_would_be_created_is_not_taken_over(region: Region) -> None:
    cluster_ = KubernetesCluster(region.api, region.namespace)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"key": "theirs"}}

    await region.api.create(MAPS.path(namespace=region.namespace), body, field_manager=TESTER)
    with pytest.raises(Changed):
        await cluster_.apply(HOST, region.id("ConfigMap", "a"), region.config_map("a"), None, no_guard)

    assert (await region.there("ConfigMap", "a"))["data"] == {"key": "theirs"}


async def test_only_exactly_what_was_planned_is_written_or_deleted(region: Region) -> None:
    """Status may change meanwhile; another object under the name, or one that somebody took from us, may not."""
    async with region.applier():
        await region.state(stated(*(region.config_map(name) for name in ("a", "b", "c"))))
        await region.shows("AsStated")
    cluster_ = KubernetesCluster(region.api, region.namespace)
    owned = (await cluster_.owned(HOST, [])).objects
    one = {name: owned[region.id("ConfigMap", name)] for name in ("a", "b", "c")}

    await touched(region, "a", {"annotations": {"by": "a controller"}})
    written = await cluster_.apply(HOST, one["a"].id, region.config_map("a", data={"x": "1"}), one["a"], no_guard)
    assert (written.uid, written.version != one["a"].version) == (one["a"].uid, True)
    await touched(region, "a", {"annotations": {"by": "it again"}})
    await cluster_.delete(written, no_guard)
    assert await region.get("ConfigMap", "a") is None

    await touched(region, "b", {"labels": {labels.PART_OF: None}})
    for attempt in (
        cluster_.apply(HOST, one["b"].id, region.config_map("b"), one["b"], no_guard),
        cluster_.delete(one["b"], no_guard),
    ):
        with pytest.raises(Changed):
            await attempt
    assert labels.PART_OF not in (await region.there("ConfigMap", "b"))["metadata"].get("labels", {})

    await region.api.delete(region.path("ConfigMap", "c"))
    again = region.config_map("c")
    await region.api.apply(region.path("ConfigMap", "c"), again, field_manager="vcenter-operator")
    with pytest.raises(Changed):
        await cluster_.delete(one["c"], no_guard)
    await cluster_.delete(Observed(region.id("ConfigMap", "gone"), "u", "1", HOST), no_guard)


async def touched(region: Region, name: str, metadata: Mapping[str, Any]) -> None:
    await region.api.merge_patch(region.path("ConfigMap", name), {"metadata": metadata}, field_manager=TESTER)


async def test_a_kind_that_the_server_does_not_know_yet_is_waited_for(region: Region) -> None:
    group = f"g{secrets.token_hex(4)}.example.org"
    widget: dict[str, Any] = region.config_map("w")
    widget.update(apiVersion=f"{group}/v1", kind="Widget", spec={"size": 1})
    del widget["data"]
    async with region.applier():
        await region.state(stated(widget, region.config_map("a")))
        shown = await region.shows("Retrying")
        assert "does not know Widget" in shown.message
        assert "a" in await region.names("ConfigMap")
        await region.api.create(CRDS.path(), definition(group), field_manager=TESTER)
        await region.shows("AsStated", within=30)
        assert f"Widget.{group}" in (await region.parent())["annotations"][labels.CONTAINS_GROUP_KINDS]
        await region.state(stated(region.config_map("a"), templates={NOVA: 2}, made_from=provenance(templates=2)))
        await region.planned(len(region.plans) + 1)

    listing = await region.api.list(Resource(group, "v1", "widgets", region.namespace).path())
    assert listing.items == []


async def test_what_is_served_in_another_version_now_is_known_and_deleted(region: Region) -> None:
    group = f"g{secrets.token_hex(4)}.example.org"
    made = definition(group)
    (first,) = made["spec"]["versions"]
    made["spec"]["versions"] = [first, {**first, "name": "v2", "storage": False}]
    await region.api.create(CRDS.path(), made, field_manager=TESTER)
    async with asyncio.timeout(30):
        while ((await region.api.get(f"/apis/{group}")) or {}).get("preferredVersion", {}).get("version") != "v2":
            await asyncio.sleep(0.05)
    widget: dict[str, Any] = region.config_map("w")
    widget.update(apiVersion=f"{group}/v1", kind="Widget", spec={"size": 1})
    del widget["data"]
    async with region.applier() as service:
        adapter = adapter_of(service)
        await region.state(stated(widget))
        await region.shows("AsStated", within=30)
        (one,) = (await adapter.owned(HOST, ())).objects.values()
        other = KubernetesCluster(region.api, region.namespace)
        assert set((await other.owned(HOST, ())).objects) == {one.id}
        (path,) = [view.resource.path() for view in views_of(adapter)]
        assert path.split("/")[3] == "v2"
        made["spec"]["versions"][1]["served"] = False
        patch = {"spec": {"versions": made["spec"]["versions"]}}
        await region.api.merge_patch(CRDS.path(made["metadata"]["name"]), patch, field_manager=TESTER)
        await not_served(region, path)
        with pytest.raises(NotFound):
            await settled(lambda: adapter.delete(one, no_guard))
        assert set((await settled(lambda: other.owned(HOST, ()))).objects) == {one.id}
        assert set((await settled(lambda: adapter.owned(HOST, ()))).objects) == {one.id}
        assert [view.resource.version for view in views_of(adapter)] == ["v1"]
        await region.state(stated(templates={NOVA: 2}, made_from=provenance(templates=2)))
        await region.planned(len(region.plans) + 1)
        await gone(region, group)


def adapter_of(service: ApplierService) -> KubernetesCluster:
    found = service._reconciler._cluster
    assert isinstance(found, KubernetesCluster)
    return found


def views_of(adapter: KubernetesCluster) -> list[Members]:
    assert adapter._live is not None
    return list(adapter._live._views.values())


async def settled(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, once the server is done with what a changed CRD entails (429, storage is (re)initializing)."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                return await ask()
            await asyncio.sleep(0.05)


async def not_served(region: Region, path: str) -> None:
    with suppress(NotFound):
        while True:
            await settled(lambda: region.api.list(path))
            await asyncio.sleep(0.05)


async def gone(region: Region, group: str) -> None:
    path = Resource(group, "v1", "widgets", region.namespace).path()
    async with asyncio.timeout(30):
        while (await settled(lambda: region.api.list(path))).items:
            await asyncio.sleep(0.05)


async def test_what_is_of_a_kind_that_is_not_served_just_now_counts_as_there(region: Region) -> None:
    async with region.applier() as service:
        await region.state(stated(region.config_map("a")))
        await region.shows("AsStated")
        (one,) = (await adapter_of(service).owned(HOST, ())).objects.values()
        other = replace(one, id=one.id._replace(group="nowhere.example.org", kind="Widget"))
        with pytest.raises(TransientError, match="not served"):
            await adapter_of(service).delete(other, no_guard)


def definition(group: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


async def test_cluster_scoped_objects_need_the_allowlist(region: Region) -> None:
    name = f"reader-{region.namespace}"
    role = region.config_map(name)
    role.update(apiVersion="rbac.authorization.k8s.io/v1", kind="ClusterRole", rules=[])
    del role["data"], role["metadata"]["namespace"]
    path = Resource("rbac.authorization.k8s.io", "v1", "clusterroles").path(name)
    async with region.applier():
        await region.state(stated(role))
        await region.shows("Conflict")
        assert await region.api.get(path) is None
    async with region.applier(cluster_scoped_kinds="rbac.authorization.k8s.io/ClusterRole"):
        await region.state(stated(role))
        await region.shows("AsStated")
        assert await region.api.get(path) is not None
        await region.state(stated(templates={}, made_from=provenance(2)))
        await region.planned(len(region.plans) + 1)
        assert await region.api.get(path) is None


async def test_a_dry_run_changes_nothing_on_the_server(region: Region) -> None:
    async with region.applier():
        await region.state(
            stated(region.deployment("a"), region.config_map("b", template=CINDER), region.config_map("c"))
        )
        await region.shows("AsStated")
        await region.state(stated(region.config_map("c", OTHER), host=OTHER))
        await region.shows("Conflict", OTHER)
    before = await region.versions()
    impossible = region.config_map("wrong")
    impossible["dta"] = {}
    async with region.applier(dry_run=True):
        region.plans.clear()
        await region.state(
            stated(
                *(region.deployment("a", image="agent:2"), region.secret("new"), impossible),
                templates={NOVA: 1},
                made_from=provenance(2),
            )
        )
        outcome = await region.told(HOST)

    assert outcome.dry_run
    assert outcome.created == (region.id("Secret", "new"),)
    assert outcome.updated == (region.id("Deployment", "a"),)
    assert outcome.deleted == (region.id("ConfigMap", "b"),)
    assert outcome.handed_over == (region.id("ConfigMap", "c"),)
    assert [failure.id.name for failure in outcome.failed] == ["wrong"], "the server was asked"
    assert await region.versions() == before


async def test_a_freeze_stops_all_writing_within_a_second_and_goes_on_afterwards(region: Region) -> None:
    names = [f"c{number:03}" for number in range(150)]
    path = MAPS.path(namespace=region.namespace)

    def slowly(service: ApplierService) -> None:
        writes = service._reconciler._cluster._writes  # type: ignore[attr-defined]
        apply = writes.apply

        async def paced(*arguments: Any, **more: Any) -> Any:
            await asyncio.sleep(0.02)
            return await apply(*arguments, **more)

        writes.apply = paced

    async with region.applier(spy=slowly, concurrency=1):
        await region.state(stated(*map(region.config_map, names)))
        await some(region, 5)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FREEZE}, "data": {"reason": "audit"}}
        await region.api.create(path, body, field_manager=TESTER)
        frozen_at = time.time()
        shown = await region.shows("Frozen")
        assert shown.message == "nothing is written: audit"
        stopped = await region.names("ConfigMap")
        assert len(stopped) < len(names)
        await asyncio.sleep(0.5)
        assert await region.names("ConfigMap") == stopped
        assert await last_write(region) < frozen_at + 1.0
        await region.api.delete(region.path("ConfigMap", FREEZE))
        await region.shows("AsStated", within=60)

    assert set(names) <= await region.names("ConfigMap")


async def some(region: Region, count: int) -> None:
    async with asyncio.timeout(20):
        while len(await region.names("ConfigMap")) < count:
            await asyncio.sleep(0.02)


async def last_write(region: Region) -> float:
    """When (Unix seconds, full ones) the newest object of ours was created."""
    listing = await region.api.list(
        MAPS.path(namespace=region.namespace),
        label_selector=f"{labels.PART_OF}={labels.applyset_id(HOST, region.namespace)}",
    )
    return max(
        time.mktime(time.strptime(item["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        for item in listing.items
    )


async def test_an_object_that_moves_to_another_vcenter_keeps_its_identity(region: Region) -> None:
    moved_unit = cluster(1, "qa-de-1b")
    async with region.applier():
        await region.state(stated(region.deployment("agent")))
        await region.shows("AsStated")
        uid = (await region.there("Deployment", "agent"))["metadata"]["uid"]
        at_b = region.deployment("agent", OTHER, unit=moved_unit, image="agent:2")
        await region.state(stated(at_b, host=OTHER))
        shown = await region.shows("Conflict", OTHER)
        assert f"belongs to vCenter {HOST}" in shown.message
        containers = (await region.there("Deployment", "agent"))["spec"]["template"]["spec"]["containers"]
        assert containers[0]["image"] == "agent:1"
        await region.state(stated(templates=TEMPLATES, made_from=provenance(2)))
        await region.shows("AsStated", OTHER)

    found = await region.there("Deployment", "agent")
    assert found["metadata"]["uid"] == uid
    assert found["metadata"]["labels"][labels.PART_OF] == labels.applyset_id(OTHER, region.namespace)
    assert found["metadata"]["annotations"][labels.UNIT] == str(moved_unit)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "agent:2"
    assert (await region.parent())["annotations"][labels.CONTAINS_GROUP_KINDS] == ""
    assert (await region.parent(OTHER))["annotations"][labels.CONTAINS_GROUP_KINDS] == "Deployment.apps"


async def test_without_the_right_to_write_it_is_shown_and_goes_on_when_it_is_granted(
    region: Region, kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = f"applier-{region.namespace}"
    core = [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"],
        }
    ]
    records = {"apiGroups": [labels.GROUP], "resources": ["vcenters", "vcenters/status"], "verbs": ["*"]}
    secret_reader = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
    await grant(region, "basic", user, [*core, records, secret_reader])
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.user_kubeconfig(user)))
    async with connect(Settings.load(bus="in-process")) as (limited, _):
        restricted = Region(limited, region.namespace)
        async with restricted.applier():
            await restricted.state(stated(region.config_map("a"), region.secret("s")))
            shown = await region.shows("Retrying")
            assert "grant the right" in shown.message
            assert "a" in await region.names("ConfigMap")
            await grant(
                region, "more", user, [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "patch"]}]
            )
            await region.shows("AsStated")

    assert await region.names("Secret") == {"s"}


async def grant(region: Region, name: str, user: str, rules: list[dict[str, Any]]) -> None:
    api, group = Api(region.client), "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}
    await api.create(Resource(group, "v1", "roles", region.namespace).path(), role, field_manager=TESTER)
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "User", "name": user, "apiGroup": group}],
    }
    await api.create(Resource(group, "v1", "rolebindings", region.namespace).path(), binding, field_manager=TESTER)
