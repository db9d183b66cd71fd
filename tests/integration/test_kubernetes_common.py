"""The shared Kubernetes pieces against a real API server: requests, watches over restarts, records, epochs, CRDs."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient
from structlog.testing import capture_logs

from tests.records import APPLIED, COLLECTED, DISCOVERED, HOST, LATER, RENDERED, SECTIONS
from tests.stack import Stack
from tests.stack.kubernetes import Kubernetes
from vcenter_operator.common import labels
from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.errors import (
    ConfigurationError,
    OwnershipLost,
    PermanentError,
    StaleRecord,
    TransientError,
)
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.kubernetes import following
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import TEMPLATES, VCENTERS, definitions, ensure_crds
from vcenter_operator.common.kubernetes.errors import Conflict, Expired, Forbidden, NotFound, Rejected, Unreachable
from vcenter_operator.common.kubernetes.leases import DryRunLeaseEpochs, LeaseEpochs
from vcenter_operator.common.kubernetes.platform import open_platform
from vcenter_operator.common.kubernetes.record import KubernetesStore
from vcenter_operator.common.kubernetes.secret import secret_resource
from vcenter_operator.common.kubernetes.watching import Watcher
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.record.document import record_of
from vcenter_operator.common.record.port import Record
from vcenter_operator.common.secret import SecretConfiguration
from vcenter_operator.common.settings import Settings
from vcenter_operator.common.watching import Snapshot

Connect = Callable[[Path], AbstractAsyncContextManager[ApiClient]]
SETTINGS = Settings.load(bus="in-process")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
ME = "test"


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Connects with a kubeconfig."""

    @asynccontextmanager
    async def opened(kubeconfig: Path) -> AsyncIterator[ApiClient]:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        async with connect(SETTINGS) as (client, _):
            yield client

    return opened


@pytest.fixture
async def client(kubernetes: Kubernetes, connected: Connect) -> AsyncIterator[ApiClient]:
    """The administrator, on a server that has the CRDs."""
    async with connected(kubernetes.kubeconfig) as made:
        await ensure_crds(made)
        yield made


async def until(condition: Callable[[], bool | Awaitable[bool]], within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.02)


def config_map(name: str, namespace: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "x"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def maps_of(namespace: str) -> Resource:
    return Resource("", "v1", "configmaps", namespace=namespace, label_selector="app=x")


def names(snapshot: Snapshot | None) -> list[str]:
    return sorted(name for _, name in snapshot.items) if snapshot else []


# --- requests


async def test_requests_say_what_happened(client: ApiClient, namespace: str) -> None:
    api, maps = Api(client), maps_of(namespace)
    assert await api.get(maps.path("a")) is None
    body = config_map("a", namespace, key="1")
    tried = await api.apply(maps.path("a"), body, field_manager=ME, dry_run=True)
    assert tried["data"] == {"key": "1"}
    assert await api.get(maps.path("a")) is None
    written = await api.apply(maps.path("a"), body, field_manager=ME)
    version, uid = written["metadata"]["resourceVersion"], written["metadata"]["uid"]
    assert (await api.apply(maps.path("a"), body, field_manager=ME))["metadata"]["resourceVersion"] == version
    with pytest.raises(Conflict, match="already exists") as caught:
        await api.create(maps.path(), body, field_manager=ME)
    assert caught.value.reason == "AlreadyExists"
    listing = await api.list(maps.path(), label_selector="app=x", metadata_only=True)
    assert [(item["metadata"]["name"], "data" in item) for item in listing.items] == [("a", False)]
    assert listing.resource_version >= int(version)

    await api.merge_patch(maps.path("a"), {"data": {"key": None, "other": "2"}}, field_manager=ME)
    with pytest.raises(Conflict):
        await api.replace(maps.path("a"), {**body, "metadata": written["metadata"]}, field_manager=ME)
    for wrong in ({"uid": "no"}, {"uid": uid, "resource_version": version}):
        with pytest.raises(Conflict):
            await api.delete(maps.path("a"), **wrong)
    assert await api.delete(maps.path("a"), uid=uid, dry_run=True)
    assert await api.delete(maps.path("a"), uid=uid)
    assert not await api.delete(maps.path("a"), uid=uid)


async def test_refusals_are_told_apart(
    client: ApiClient, kubernetes: Kubernetes, connected: Connect, namespace: str
) -> None:
    api = Api(client)
    secrets = Resource("", "v1", "secrets", namespace)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "kubernetes.io/dockerconfigjson"}
    with pytest.raises(Rejected) as invalid:
        await api.apply(secrets.path("s"), {**secret, "stringData": {"hunter2": "hunter3"}}, field_manager=ME)
    assert invalid.value.status == 422
    assert "hunter" not in str(invalid.value)
    with pytest.raises(Rejected):
        await api.apply(secrets.path("s"), {**secret, "datum": {}}, field_manager=ME)
    with pytest.raises(Rejected, match="base64"):
        await api.apply(secrets.path("s"), {**secret, "data": {"password": "no base64!"}}, field_manager=ME)
    for wrong in ({"password": {"value": "hunter2"}}, {"password": 2222222}, {"password": ["hunter2"]}):
        path = Resource("", "v1", "configmaps", namespace).path("c")
        with pytest.raises(Rejected, match=r"\.data\.password: expected string, got …") as typed:
            await api.apply(path, {**config_map("c", "x"), "data": wrong}, field_manager=ME)
        assert "2" not in str(typed.value).partition("expected")[2], "it repeats no value"
    with pytest.raises(NotFound):
        await api.apply("/apis/unheard.of/v1/namespaces/x/things/y", config_map("y", "x"), field_manager=ME)
    with pytest.raises(NotFound):
        await api.list("/apis/unheard.of/v1/things")
    async with connected(kubernetes.user_kubeconfig("nobody")) as nobody:
        with pytest.raises(Forbidden, match="nobody"):
            await Api(nobody).list(secrets.path())
    kinds = await api.kinds("apps", "v1")
    assert kinds is not None
    assert (kinds["Deployment"].plural, kinds["Deployment"].namespaced) == ("deployments", True)
    assert "patch" in kinds["Deployment"].verbs
    assert await api.kinds("unheard.of", "v1") is None


async def test_a_server_with_a_foreign_certificate_is_not_spoken_to(
    kubernetes: Kubernetes, connected: Connect, tmp_path: Path
) -> None:
    config = json.loads(kubernetes.kubeconfig.read_text())
    del config["clusters"][0]["cluster"]["certificate-authority"]
    (tmp_path / "config").write_text(json.dumps(config))
    async with connected(tmp_path / "config") as stranger:
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await Api(stranger).list("/api/v1/namespaces")


async def test_a_list_of_several_pages_is_one(
    client: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcenter_operator.common.kubernetes.api._PAGE", 3)
    api, maps = Api(client), maps_of(namespace)
    for number in range(8):
        await api.create(maps.path(), config_map(f"m{number}", namespace), field_manager=ME)
    listing = await api.list(maps.path(), label_selector="app=x")
    assert [item["metadata"]["name"] for item in listing.items] == [f"m{number}" for number in range(8)]
    assert {(item["apiVersion"], item["kind"]) for item in listing.items} == {("v1", "ConfigMap")}
    kept = await api.list(maps.path(), label_selector="app=x", kept=lambda item: item["metadata"]["name"])
    assert kept.items == [f"m{number}" for number in range(8)]


# --- watching


async def test_a_watch_shows_what_is_written_relabelled_and_deleted(client: ApiClient, namespace: str) -> None:
    api, maps = Api(client), maps_of(namespace)
    await api.create(maps.path(), config_map("a", namespace), field_manager=ME)
    positions: list[int] = []
    async with Watcher(client, maps) as watcher:
        changes = watcher.changes()

        async def seen(expected: list[str]) -> Snapshot:
            async with asyncio.timeout(10):
                async for snapshot in changes:
                    positions.append(snapshot.position)
                    if names(snapshot) == expected:
                        return snapshot
            raise AssertionError("the watch ended")

        first = await seen(["a"])
        assert first.items[namespace, "a"]["kind"] == "ConfigMap"
        for number in range(20):
            await api.create(maps.path(), config_map(f"b{number}", namespace), field_manager=ME)
        await seen(sorted(["a", *(f"b{number}" for number in range(20))]))
        assert len(positions) < 15, "twenty changes in a burst are coalesced"
        await api.merge_patch(maps.path("a"), {"metadata": {"labels": {"app": "y"}}}, field_manager=ME)
        for number in range(20):
            await api.delete(maps.path(f"b{number}"))
        last = await seen([])
        assert names(first) == ["a"], "a snapshot stays what it was"
        fresh = await watcher.fresh()
        assert fresh.position >= last.position
        assert fresh.fingerprint == last.fingerprint
    assert positions == sorted(positions)


@pytest.mark.needs(control=True)
async def test_a_watch_outlives_the_server_and_finds_what_changed_meanwhile(
    client: ApiClient, kubernetes: Kubernetes, namespace: str
) -> None:
    api, maps = Api(client), maps_of(namespace)
    for name in ("kept", "doomed"):
        await api.create(maps.path(), config_map(name, namespace), field_manager=ME)
    async with Watcher(client, maps) as first:
        before = await first.fresh()
        # the second watcher's connection dies as well, and it has not seen what the first has
        async with Watcher(client, maps) as second:
            await second.fresh()
            await asyncio.to_thread(kubernetes.kill)
            with pytest.raises(TransientError):
                await second.fresh()
            assert names(second.snapshot) == ["doomed", "kept"], "the last state stays"
            await asyncio.to_thread(kubernetes.start)
            await api.delete(maps.path("doomed"))
            await api.create(maps.path(), config_map("new", namespace), field_manager=ME)
            for watcher in (first, second):
                await until(lambda watcher=watcher: names(watcher.snapshot) == ["kept", "new"])  # type: ignore[misc]
                assert watcher.snapshot is not None
                assert watcher.snapshot.position > before.position


@pytest.mark.needs(control=True)
async def test_a_half_open_watch_is_noticed(
    client: ApiClient, kubernetes: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_SILENT_FOR", 1.0)
    maps = maps_of(namespace)
    async with Watcher(client, maps) as watcher:
        await until(lambda: watcher.snapshot is not None)
        await Api(client).create(maps.path(), config_map("a", namespace), field_manager=ME)
        await until(lambda: names(watcher.snapshot) == ["a"])  # told by the watch, which is there now
        with capture_logs() as logs, kubernetes.paused():
            await until(lambda: any(entry["event"] == "watch interrupted" for entry in logs))
            assert names(watcher.snapshot) == ["a"]
        await Api(client).create(maps.path(), config_map("b", namespace), field_manager=ME)
        await until(lambda: names(watcher.snapshot) == ["a", "b"])


@pytest.mark.needs(control=True)
def test_a_client_leaves_no_connection_behind_where_the_server_hangs(
    kubernetes: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    maps = maps_of(namespace)

    async def come_and_go() -> None:
        async with connect(Settings.load()) as (client, _), Watcher(client, maps) as watcher:
            await until(lambda: watcher.snapshot is not None)
            await Api(client).create(maps.path(), config_map("a", namespace), field_manager=ME)
            await until(lambda: names(watcher.snapshot) == ["a"])  # told by the watch, which is there now
            kubernetes.pause()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            asyncio.run(come_and_go())
        finally:
            kubernetes.resume()
        gc.collect()
    assert [str(each.message) for each in caught if "unclosed" in str(each.message)] == []


async def test_a_resource_version_that_expired_leads_to_a_new_list(client: ApiClient, namespace: str) -> None:
    templates = replace(TEMPLATES, namespace=namespace)
    watcher = Watcher(client, templates)
    await watcher.fresh()
    watcher._state.revision = 1
    with pytest.raises(Expired):
        await watcher._follow()
    await Api(client).create(templates.path(), template(namespace, "a"), field_manager=ME)
    async with watcher:
        await until(lambda: names(watcher.snapshot) == ["a"])


async def test_a_server_that_was_set_back_is_believed(
    client: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch from a resourceVersion of the future shows nothing, without an error."""
    monkeypatch.setattr(following, "_SILENT_FOR", 1.0)
    templates = replace(TEMPLATES, namespace=namespace)
    async with Watcher(client, templates) as watcher:
        before = await watcher.fresh()
        watcher._state.revision += 10**6
        await Api(client).create(templates.path(), template(namespace, "a"), field_manager=ME)
        await until(lambda: names(watcher.snapshot) == ["a"])
        assert watcher.snapshot is not None
        assert watcher.snapshot.position >= before.position


async def test_a_kind_that_comes_later_is_found_then(stack: Stack, connected: Connect) -> None:
    server = stack.start_kubernetes()
    try:
        async with connected(server.kubeconfig) as client, Watcher(client, TEMPLATES) as watcher:
            with pytest.raises(NotFound):
                await watcher.fresh()
            assert watcher.snapshot is None
            await ensure_crds(client)
            await until(lambda: watcher.snapshot is not None)
    finally:
        stack.discard(server)


# --- CRDs


def template(namespace: str, name: str, **body: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": labels.API_VERSION, "kind": labels.TEMPLATE_KIND, "metadata": metadata, **body}


AS_DEPLOYED = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "vcenter-templates.vcenter-operator.stable.sap.cc"},
    "spec": {
        "group": labels.GROUP,
        "scope": "Namespaced",
        "names": {"kind": "VCenterTemplate", "plural": "vcenter-templates", "singular": "vcenter-template"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
DEPLOYED: list[dict[str, Any]] = [
    {"options": {"scope": "cluster", "jinja2_options": {"variable_start_string": "{=", "uses-service-user": True}}},
    {"options": {"scope": "library", "use-ini-password": True}, "template": "{% macro x() %}{% endmacro %}"},
    {"options": {}, "template": ""},
    {"template": "without options"},
    {"options": {"jinja2_options": {"nested": {"any": ["thing", 1, None]}}}},
    {},
]


async def test_crds_are_brought_up_to_date_and_existing_templates_stay_valid(stack: Stack, connected: Connect) -> None:
    server = stack.start_kubernetes()
    try:
        async with connected(server.kubeconfig) as client:
            api, templates = Api(client), replace(TEMPLATES, namespace="default")
            await ensure_crds(client, dry_run=True)
            assert (await api.list(CRDS.path())).items == [], "a dry run makes none"
            await api.create(CRDS.path(), AS_DEPLOYED, field_manager="Go-http-client")
            await until(lambda: _serves(api, "VCenterTemplate"))
            for number, body in enumerate(DEPLOYED):
                await api.create(templates.path(), template("default", f"t{number}", **body), field_manager="kubectl")
            await asyncio.gather(*(ensure_crds(client) for _ in range(3)))
            for number, body in enumerate(DEPLOYED):
                kept = await api.get(templates.path(f"t{number}"))
                assert kept is not None
                assert {name: kept[name] for name in ("options", "template") if name in kept} == body
                written = await api.replace(templates.path(f"t{number}"), kept, field_manager="kubectl")
                assert {name: written[name] for name in ("options", "template") if name in written} == body
            edited = await api.merge_patch(
                templates.path("t0", "status"), {"status": {"conditions": []}}, field_manager="x"
            )
            assert edited["metadata"]["generation"] == 1, "a status is no new version of the template"
            parent = await api.get(CRDS.path("vcenters.vcenter-operator.stable.sap.cc"))
            assert parent is not None
            assert parent["metadata"]["labels"][labels.IS_PARENT_TYPE] == "true"
            kinds = await api.kinds(labels.GROUP, labels.VERSION)
            assert kinds is not None
            assert {"VCenter", "VCenterTemplate", "VCenterServiceUser"} <= kinds.keys()
    finally:
        stack.discard(server)


async def _serves(api: Api, kind: str) -> bool:
    return kind in (await api.kinds(labels.GROUP, labels.VERSION) or {})


async def test_without_rights_on_crds_it_is_enough_that_they_are_there(
    stack: Stack, client: ApiClient, kubernetes: Kubernetes, connected: Connect
) -> None:
    async with connected(kubernetes.user_kubeconfig("operator")) as operator:
        await ensure_crds(operator)
    server = stack.start_kubernetes()
    try:
        async with connected(server.user_kubeconfig("operator")) as operator:
            with pytest.raises(ConfigurationError, match=r"missing \(vcenter-service-users.*install them"):
                await ensure_crds(operator)
    finally:
        stack.discard(server)


# --- records


async def test_every_field_of_a_record_is_kept(client: ApiClient, namespace: str) -> None:
    store = KubernetesStore(client, namespace)
    assert await store.get(HOST) is None
    for section in SECTIONS:
        await store.write(HOST, section)
    (record,) = await store.list()
    assert [record.discovered, record.collected, record.rendered, record.applied] == SECTIONS
    assert record == await store.get(HOST)
    assert record.uid


async def test_a_version_of_a_record_is_made_once(
    client: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a millisecond, and a region has hundreds that are looked at again and again."""
    made: list[str] = []

    def counted(resource: Mapping[str, Any]) -> Record:
        made.append(resource["metadata"]["resourceVersion"])
        return record_of(resource)

    monkeypatch.setattr("vcenter_operator.common.kubernetes.record.record_of", counted)
    store = KubernetesStore(client, namespace)
    await store.write(HOST, DISCOVERED)
    for _ in range(3):
        (record,) = await store.list()
        assert await store.get(HOST) == record
    await Api(client).delete(replace(VCENTERS, namespace=namespace).path(HOST))
    assert await store.list() == []
    again = await store.write(HOST, DISCOVERED)
    assert again.uid != record.uid
    assert len(made) == len(set(made)) == 2


async def test_each_stage_is_a_manager_of_its_own_and_shows_in_the_columns(client: ApiClient, namespace: str) -> None:
    store, api, vcenters = KubernetesStore(client, namespace), Api(client), replace(VCENTERS, namespace=namespace)
    for section in SECTIONS:
        await store.write(HOST, section)
    parent = {
        "apiVersion": labels.API_VERSION,
        "kind": labels.VCENTER_KIND,
        "metadata": {"name": HOST, "labels": {labels.APPLYSET_ID: labels.applyset_id(HOST, namespace)}},
    }
    await api.apply(vcenters.path(HOST), parent, field_manager=labels.FIELD_MANAGER)
    fewer = APPLIED.model_copy(update={"held": (), "settled_templates": None, "conditions": APPLIED.conditions[:1]})
    await store.write(HOST, fewer)
    record = await store.get(HOST)
    assert record is not None
    assert (record.discovered, record.collected, record.applied) == (DISCOVERED, COLLECTED, fewer)
    resource = await api.get(vcenters.path(HOST))
    assert resource is not None
    assert resource["metadata"]["labels"] == parent["metadata"]["labels"]  # type: ignore[index]
    assert {condition["type"] for condition in resource["status"]["conditions"]} == {
        "Present",
        "Rendered",
        "Applied",
        "Ready",
    }
    managers = {entry["manager"]: entry["operation"] for entry in resource["metadata"]["managedFields"]}
    stages = tuple(Stage)
    assert managers.items() >= {f"{labels.FIELD_MANAGER}-{stage}": "Apply" for stage in stages}.items()
    await store.write(HOST, APPLIED)
    accept = "application/json;as=Table;g=meta.k8s.io;v=v1"
    table = await api._request("get", vcenters.path(), accept=accept)
    columns = [column["name"] for column in table["columnDefinitions"]]
    row = dict(zip(columns, table["rows"][0]["cells"], strict=True))
    shown = {name: row[name] for name in ("Clusters", "Objects", "Held", "Ready", "State", "Problem")}
    assert shown == {
        "Clusters": 1,
        "Objects": 17,
        "Held": 1,
        "Ready": "False",
        "State": "DeletionHeld",
        "Problem": "1 deletion is held",
    }


async def test_a_record_is_written_by_compare_and_swap_and_only_when_it_changes(
    client: ApiClient, namespace: str
) -> None:
    store = KubernetesStore(client, namespace)
    first = await store.write(HOST, APPLIED)
    assert (await store.write(HOST, APPLIED)).version == first.version, "unchanged"
    second = await store.write(HOST, DISCOVERED, version=first.version)
    with pytest.raises(StaleRecord):
        await store.write(HOST, COLLECTED, version=first.version)
    with pytest.raises(StaleRecord):
        await store.write(HOST, APPLIED, version=first.version)
    assert (await store.write(HOST, APPLIED, version=second.version)).version == second.version
    with pytest.raises(StaleRecord):
        await store.write("vc-never-0.cc.example", DISCOVERED, version="1")
    assert await store.get("vc-never-0.cc.example") is None


async def test_ready_follows_from_what_others_wrote_in_the_meantime(
    client: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = KubernetesStore(client, namespace), KubernetesStore(client, namespace)
    await store.write(HOST, DISCOVERED)
    applied = Api.apply
    looked: list[str] = []

    async def apply_late(self: Api, path: str, body: Any, **options: Any) -> dict[str, Any]:
        if not looked:
            looked.append(path)
            await other.write(HOST, RENDERED)
        return await applied(self, path, body, **options)

    monkeypatch.setattr(Api, "apply", apply_late)
    await store.write(HOST, COLLECTED)
    resource = await Api(client).get(replace(VCENTERS, namespace=namespace).path(HOST))
    assert resource is not None
    conditions = {condition["type"]: condition for condition in resource["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == "TemplateFails"


async def test_who_lost_the_partition_between_look_and_write_undoes_nothing(
    client: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped there, and wakes up when the next owner has written."""
    store, other = KubernetesStore(client, namespace), KubernetesStore(client, namespace)
    await store.write(HOST, COLLECTED)
    ownership = Ownership(Stage.COLLECTOR, 0, COLLECTED.revision.epoch)
    newer = COLLECTED.model_copy(update={"revision": Revision(COLLECTED.revision.epoch + 1, 1), "clusters": ()})
    applied = Api.apply

    async def apply_late(self: Api, path: str, body: Any, **options: Any) -> dict[str, Any]:
        if ownership.held:
            ownership.end()
            await other.write(HOST, newer)
        return await applied(self, path, body, **options)

    monkeypatch.setattr(Api, "apply", apply_late)
    with pytest.raises(OwnershipLost):
        await store.write(HOST, COLLECTED.model_copy(update={"refused": None}), verify=ownership.verify)
    record = await other.get(HOST)
    assert record is not None
    assert record.collected == newer


async def test_of_many_writers_at_once_every_swap_holds_once(client: ApiClient, namespace: str) -> None:
    stores = [KubernetesStore(client, namespace) for _ in range(4)]
    await asyncio.gather(*(store.write(HOST, section) for store, section in zip(stores, SECTIONS, strict=False)))
    at_first = await stores[0].get(HOST)
    assert at_first is not None
    assert at_first.discovered is not None
    assert at_first.collected is not None
    assert at_first.applied is not None

    async def count(store: KubernetesStore) -> None:
        done = 0
        while done < 10:
            record = await store.get(HOST)
            assert record is not None
            assert record.applied is not None
            section = record.applied.model_copy(update={"objects": record.applied.objects + 1})
            try:
                await store.write(HOST, section, version=record.version)
            except StaleRecord:
                continue
            done += 1

    await asyncio.gather(*(count(store) for store in stores))
    record = await stores[0].get(HOST)
    assert record is not None
    assert record.applied is not None
    assert record.applied.objects == APPLIED.objects + 40


async def test_a_record_that_somebody_damaged_hides_no_other_and_is_written_all_the_same(
    client: ApiClient, namespace: str
) -> None:
    api, store, other = Api(client), KubernetesStore(client, namespace), "vc-b-0.cc.qa-de-1.cloud.sap"
    for host in (HOST, other):
        for section in SECTIONS:
            await store.write(host, section)
    path = replace(VCENTERS, namespace=namespace).path(HOST, "status")
    await api.merge_patch(path, {"status": {"applier": {"held": ["rubbish"]}}}, field_manager="somebody")
    records = {record.host: record for record in await store.list()}
    assert records[other].applied == APPLIED
    assert records[HOST].applied is None
    with pytest.raises(PermanentError, match=r"status\.applier"):
        records[HOST].check(Stage.APPLIER)
    moved = DISCOVERED.model_copy(update={"serial": 7})
    assert (await store.write(HOST, moved, version=records[HOST].version)).discovered == moved


async def test_the_time_of_a_transition_is_the_clusters_memory(client: ApiClient, namespace: str) -> None:
    api, vcenters = Api(client), replace(VCENTERS, namespace=namespace)
    await KubernetesStore(client, namespace).write(HOST, DISCOVERED)
    long_ago = LATER.strftime("%Y-%m-%dT%H:%M:%SZ")
    resource = await api.get(vcenters.path(HOST))
    assert resource is not None
    resource["status"]["conditions"][0]["lastTransitionTime"] = long_ago
    await api.replace(vcenters.path(HOST, "status"), resource, field_manager=ME)
    same, other = (
        DISCOVERED.conditions[0].model_copy(update=update) for update in ({"message": "new"}, {"status": "False"})
    )
    times = []
    for condition in (same, other):
        await KubernetesStore(client, namespace).write(HOST, DISCOVERED.model_copy(update={"conditions": (condition,)}))
        resource = await api.get(vcenters.path(HOST))
        assert resource is not None
        times.append(resource["status"]["conditions"][0]["lastTransitionTime"])
    assert times[0] == long_ago
    assert times[1] != long_ago


# --- epochs


async def test_a_hundred_raises_from_four_replicas_are_a_hundred_epochs(client: ApiClient, namespace: str) -> None:
    replicas = [LeaseEpochs(client, namespace) for _ in range(4)]

    async def some(epochs: LeaseEpochs) -> list[int]:
        return [await epochs.raise_epoch("collector-3") for _ in range(25)]

    given = [epoch for epochs in await asyncio.gather(*map(some, replicas)) for epoch in epochs]
    assert sorted(given) == list(range(1, 101))
    assert await replicas[0].raise_epoch("renderer-3") == 1


async def test_epochs_are_above_those_of_every_partition_of_the_stage(client: ApiClient, namespace: str) -> None:
    """With another number of partitions a vCenter is in another one, and what is stated of it must not be older."""
    epochs = LeaseEpochs(client, namespace)
    assert [await epochs.raise_epoch("collector-3") for _ in range(5)][-1] == 5
    assert await epochs.raise_epoch("collector-11") == 6
    assert await DryRunLeaseEpochs(client, namespace).raise_epoch("collector-3") == 7
    assert await epochs.raise_epoch("collector-3") == 7


async def test_a_lease_that_was_deleted_starts_above_all_that_was_ever_stated(
    client: ApiClient, namespace: str
) -> None:
    epochs, leases = LeaseEpochs(client, namespace), f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    assert await epochs.raise_epoch("discovery-0") == 1
    await KubernetesStore(client, namespace).write(HOST, COLLECTED)
    assert await epochs.raise_epoch("discovery-0") == 2, "records count only where there is no Lease"
    await Api(client).delete(f"{leases}/vcenter-operator-discovery-0")
    assert await DryRunLeaseEpochs(client, namespace).raise_epoch("discovery-0") == COLLECTED.revision.epoch + 1
    assert await epochs.raise_epoch("discovery-0") == COLLECTED.revision.epoch + 1
    assert await epochs.raise_epoch("discovery-0") == COLLECTED.revision.epoch + 2


async def test_a_dry_run_counts_on_from_the_cluster_without_writing(client: ApiClient, namespace: str) -> None:
    real, trying = LeaseEpochs(client, namespace), DryRunLeaseEpochs(client, namespace)
    assert await trying.raise_epoch("applier-0") == 1
    leases = await Api(client).list(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    assert leases.items == []
    await real.raise_epoch("applier-0")
    assert [await trying.raise_epoch("applier-0") for _ in range(2)] == [2, 3]
    assert await real.raise_epoch("applier-0") == 2


# --- configuration and platform


def secret(**values: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vcenter-operator"}, "data": data}


GOOD = {"username": "u", "password": "p", "bus_key": base64.b64encode(bytes(16)).decode()}


async def test_the_secret_is_followed_and_a_wrong_one_is_not_believed(client: ApiClient, namespace: str) -> None:
    api, secrets = Api(client), Resource("", "v1", "secrets", namespace)
    async with Watcher(client, secret_resource(namespace, "vcenter-operator")) as watcher:
        source = SecretConfiguration(watcher, namespace)
        with pytest.raises(ConfigurationError, match=f"none in namespace {namespace}"):
            await source.current()
        await api.create(secrets.path(), secret(**GOOD), field_manager=ME)
        await until(lambda: watcher.snapshot is not None and len(watcher.snapshot.items) == 1)
        changes = source.changes()
        first = await asyncio.wait_for(anext(changes), 10)
        await api.create(secrets.path(), {**secret(), "metadata": {"name": "other"}}, field_manager=ME)
        for update in ({"dns_port": "70000"}, {"dns_port": "53"}):
            await api.apply(secrets.path("vcenter-operator"), secret(**GOOD, **update), field_manager=ME)
        second = await asyncio.wait_for(anext(changes), 10)
        assert (first.dns_port, second.dns_port) == (None, 53)
        assert second.version > first.version
        found = await api.get(secrets.path("vcenter-operator"))
        assert found is not None
        assert second.version == int(found["metadata"]["resourceVersion"])


@pytest.mark.parametrize("dry_run", [False, True])
async def test_the_platform_opens_and_a_dry_run_leaves_no_trace(
    kubernetes: Kubernetes, client: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    settings = Settings.load(bus="in-process", namespace=namespace)
    with pytest.raises(ConfigurationError, match="Secret vcenter-operator"):
        async with open_platform(settings, dry_run=dry_run):
            pass
    api = Api(client)
    await api.create(f"/api/v1/namespaces/{namespace}/secrets", secret(**GOOD), field_manager=ME)
    async with open_platform(settings, dry_run=dry_run) as platform:
        assert platform.surroundings.region == "qa-de-1"
        assert platform.kubernetes is not None
        written = await platform.store.write(HOST, DISCOVERED)
        assert (await platform.store.get(HOST)) == written
        assert (await platform.configuration.current()).username == "u"
    stored = await KubernetesStore(client, namespace).list()
    assert [record.host for record in stored] == ([] if dry_run else [HOST])


async def test_what_a_platform_remembers_is_known_from_one_watch(
    kubernetes: Kubernetes, client: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    await Api(client).create(f"/api/v1/namespaces/{namespace}/secrets", secret(**GOOD), field_manager=ME)
    async with open_platform(Settings.load(bus="in-process", namespace=namespace)) as platform:
        assert isinstance(platform.store, KubernetesStore)
        async with platform.store.following() as view, platform.store.following() as same:
            assert same is view
            await until(lambda: view.current)
        await platform.store.write(HOST, DISCOVERED)
        await KubernetesStore(client, namespace).write(HOST, RENDERED)
        await until(lambda: "renderer" in (view.named(HOST) or {}).get("status", {}))

        async def asked(_: Api, path: str) -> Any:
            pytest.fail(f"GET {path}")

        monkeypatch.setattr(Api, "get", asked)
        monkeypatch.setattr(Api, "list", asked)
        written = await platform.store.write(HOST, COLLECTED)
        assert await platform.store.get(HOST, fresh=False) == written
        assert await platform.store.list(fresh=False) == [written]
        assert (written.discovered, written.collected, written.rendered) == (DISCOVERED, COLLECTED, RENDERED)


async def test_definitions_are_accepted_as_they_are_shipped(client: ApiClient) -> None:
    """Nothing that the server would add, drop or default differently from what we sent."""
    for definition in definitions():
        served = await Api(client).get(CRDS.path(definition["metadata"]["name"]))
        assert served is not None
        assert served["spec"]["versions"] == definition["spec"]["versions"]
