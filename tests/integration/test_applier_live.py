"""What the applier knows from watches, against a real API server: what a change costs, and what others do to objects.

Edits and deletes by hand are put right, status and others' fields cost nothing, and a view that is behind leads to no
wrong write: over connections that break, a server that restarts, and events that never come.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract.proxy import Proxy
from tests.integration.applier_cluster import TESTER, Region
from tests.requests import requests_of
from tests.stack.kubernetes import Kubernetes
from tests.unit.applier.given import HOST, OTHER, cluster, provenance, stated
from vcenter_operator.applier.adapters.kubernetes.freeze import NAME as FREEZE
from vcenter_operator.applier.adapters.kubernetes.live import Live
from vcenter_operator.applier.service import ApplierService
from vcenter_operator.common import labels
from vcenter_operator.common.bus import Ownership
from vcenter_operator.common.identity import ObjectId, Revision
from vcenter_operator.common.kubernetes.api import Api, Listing, Resource
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import ensure_crds
from vcenter_operator.common.messages import ManifestDelta, ResyncRequest, Stage
from vcenter_operator.common.record.port import Applied, Collected
from vcenter_operator.common.settings import Settings

MAPS = Resource("", "v1", "configmaps")


@pytest.fixture
async def region(kubernetes: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Region]:
    """What a person sees and does, as the administrator."""
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    async with connect(Settings.load(bus="in-process")) as (made, _):
        await ensure_crds(made)
        yield Region(made, namespace)


@pytest.fixture
async def proxy(kubernetes: Kubernetes) -> AsyncIterator[Proxy]:
    """Between the applier and the API server."""
    server = urlsplit(json.loads(kubernetes.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    made = Proxy(server.hostname or "", server.port or 0)
    yield made
    await made.close()


@pytest.fixture
async def operated(
    region: Region, kubernetes: Kubernetes, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Region]:
    """The same region by a connection of the applier's own, through the proxy."""
    config = json.loads(kubernetes.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{await proxy.start()}"
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    async with connect(Settings.load(bus="in-process")) as (client, _):
        yield Region(client, region.namespace)


async def until(condition: Callable[[], Awaitable[bool]], what: str, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.02)


def answers(region: Region, delta: ManifestDelta) -> None:
    """The renderer says again what it is asked for, and only that."""

    def answer(request: ResyncRequest) -> ManifestDelta | None:
        if not request.objects:
            return None
        return delta.model_copy(update={"manifests": {one: delta.manifests[one] for one in request.objects}})

    region.renderer.answer = answer


def live_of(service: ApplierService) -> Live:
    found: Live = service._reconciler._cluster._live  # type: ignore[attr-defined]
    return found


def version_known(service: ApplierService, object_id: ObjectId) -> str | None:
    view = live_of(service)._views[object_id[:2], object_id.namespace]  # type: ignore[index]
    member = view.items.get(object_id)
    return member.one.version if member else None


# --- what it costs


async def test_a_change_of_one_object_awaits_one_record_write_and_a_look_at_the_freeze(
    operated: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated.applier():
        await operated.state(stated(*(operated.config_map(name) for name in "abc")))
        await operated.shows("AsStated")
        seen = requests_of(operated.client, monkeypatch)
        changed = operated.config_map("b", data={"key": "new"})
        await operated.state(
            stated(operated.config_map("a"), changed, operated.config_map("c"), made_from=provenance(2))
        )
        await until(lambda: is_settled(operated, 2), "acted on, and concluded")
        await asyncio.sleep(0)

    applied = seen.index(("PATCH", "configmaps/b"))
    assert sorted(seen[:applied]) == [("GET", f"{operated.namespace}/configmaps"), ("PATCH", f"{HOST}/status")]
    assert [request for request in seen[applied + 1 :] if request[0] != "GET"] in ([], [("PATCH", f"{HOST}/status")])


async def is_settled(region: Region, inventory: int) -> bool:
    record = await region.store.get(HOST, fresh=False)
    applied = record.applied if record else None
    return (
        applied is not None
        and applied.acted_on.inventory.sequence == inventory
        and len(region.plans) >= inventory
        and applied.settled_templates is not None
    )


async def test_a_vcenter_that_is_new_is_not_told_what_all_the_others_own(
    operated: Region, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cost would grow with the region, and a region's first start with the square of it."""
    theirs = [operated.config_map(f"theirs-{number}", OTHER) for number in range(30)]
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c-3"}, "data": {"key": "stranger"}}
    await region.api.create(MAPS.path(namespace=region.namespace), body, field_manager=TESTER)
    async with operated.applier():
        await operated.state(stated(*theirs, host=OTHER))
        await operated.shows("AsStated", OTHER)
        listed: list[str] = []
        answered = Api.list

        async def noted(api: Api, path: str, **more: Any) -> Listing:
            listing = await answered(api, path, **more)
            listed.extend(map(str, listing.items))
            return listing

        monkeypatch.setattr(Api, "list", noted)
        maps = [operated.config_map(name) for name in (*(f"c-{number}" for number in range(12)), "theirs-7")]
        await operated.state(stated(*maps))
        shown = await operated.shows("Conflict")

    assert any("c-3" in each for each in listed)
    assert not any("theirs" in each for each in listed)
    assert "c-3: exists, and is not managed by the operator" in shown.message
    assert f"theirs-7: belongs to vCenter {OTHER}" in shown.message
    assert await region.names("ConfigMap") >= {f"c-{number}" for number in range(12)}


async def test_status_and_the_fields_of_others_cost_nothing(
    operated: Region, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = operated.id("Deployment", "agent")
    async with operated.applier() as service:
        await operated.state(stated(operated.deployment("agent"), operated.config_map("a")))
        await operated.shows("AsStated")
        await until(lambda: told(service, agent, region), "the view has what was applied")
        plans, seen = len(operated.plans), requests_of(operated.client, monkeypatch)
        path = region.path("Deployment", "agent")
        for replicas in range(1, 4):
            status = {"status": {"replicas": replicas, "observedGeneration": 1}}
            await region.api.merge_patch(f"{path}/status", status, field_manager="kube-controller-manager")
        theirs: dict[str, Any] = {"metadata": {"annotations": {"theirs": "x"}, "labels": {"team": "y"}}}
        await region.api.merge_patch(path, theirs, field_manager=TESTER)
        await region.api.merge_patch(path, {"spec": {"minReadySeconds": 7}}, field_manager=TESTER)
        await until(lambda: told(service, agent, region), "the view has seen all of it")
        await asyncio.sleep(0.3)
        assert (seen, operated.plans[plans:]) == ([], [])


async def told(service: ApplierService, object_id: ObjectId, region: Region) -> bool:
    found = await region.there(object_id.kind, object_id.name)
    return bool(version_known(service, object_id) == found["metadata"]["resourceVersion"])


# --- edits and deletes by hand


async def test_an_edit_of_what_is_ours_is_put_right_and_nothing_else_is_asked_for(
    operated: Region, region: Region
) -> None:
    """The annotations are as they were. A value that is changed, one that is taken out, and kubectl scale."""
    delta = stated(
        operated.deployment("agent"),
        operated.config_map("a", data={"key": "value", "more": "1"}),
        operated.config_map("untouched"),
    )
    answers(operated, delta)
    async with operated.applier():
        await operated.state(delta)
        await operated.shows("AsStated")
        untouched = (await region.there("ConfigMap", "untouched"))["metadata"]["resourceVersion"]
        await region.api.merge_patch(region.path("ConfigMap", "a"), {"data": {"key": "x"}}, field_manager=TESTER)
        await until(lambda: holds(region, "a", {"key": "value", "more": "1"}), "the value is back")
        scale = {"spec": {"replicas": 5}}
        await region.api.merge_patch(f"{region.path('Deployment', 'agent')}/scale", scale, field_manager="kubectl")
        await until(lambda: has_replicas(region, 1), "the replicas are as stated")
        await region.api.merge_patch(region.path("ConfigMap", "a"), {"data": {"more": None}}, field_manager=TESTER)
        await until(lambda: holds(region, "a", {"key": "value", "more": "1"}), "the key is back")
        await operated.shows("AsStated")

    asked = {one for request in operated.renderer.requests for one in request.objects}
    assert asked == {operated.id("Deployment", "agent"), operated.id("ConfigMap", "a")}
    assert (await region.there("ConfigMap", "untouched"))["metadata"]["resourceVersion"] == untouched


async def holds(region: Region, name: str, data: Mapping[str, str]) -> bool:
    found = await region.get("ConfigMap", name)
    return found is not None and found.get("data") == data


async def has_replicas(region: Region, count: int) -> bool:
    return bool((await region.there("Deployment", "agent"))["spec"]["replicas"] == count)


async def test_an_edit_while_no_applier_runs_is_put_right_by_the_next(operated: Region, region: Region) -> None:
    delta = stated(operated.config_map("a"), operated.config_map("b"))
    answers(operated, delta)
    async with operated.applier():
        await operated.state(delta)
        await operated.shows("AsStated")
    async with operated.applier():
        await operated.state(delta.repeated())
        await operated.planned(2)
        assert operated.plans[1][1].unchanged == 2, "nothing was edited, and nothing is taken for it"
    await region.api.merge_patch(region.path("ConfigMap", "a"), {"data": {"key": None}}, field_manager=TESTER)
    async with operated.applier():
        await operated.state(delta.model_copy(update={"manifests": {}}))
        await until(lambda: holds(region, "a", {"key": "value"}), "the key is back")


async def test_what_is_deleted_by_hand_is_there_again_within_seconds(operated: Region, region: Region) -> None:
    delta = stated(operated.config_map("a"), operated.secret("s"))
    answers(operated, delta)
    async with operated.applier():
        await operated.state(delta)
        await operated.shows("AsStated")
        uid = (await region.there("ConfigMap", "a"))["metadata"]["uid"]
        deleted_at = time.monotonic()
        await region.api.delete(region.path("ConfigMap", "a"))
        await until(lambda: is_new(region, uid), "it is made anew")
        assert time.monotonic() - deleted_at < 10


@pytest.mark.parametrize("how", ["deleted", "annotated", "edited"])
async def test_who_undoes_it_again_and_again_is_answered_ever_more_slowly_and_named(
    operated: Region, region: Region, how: str
) -> None:
    """Another controller that is as quick as we are: no hot loop, and people see what is fought over with whom."""
    delta = stated(operated.config_map("a"), operated.secret("s"))
    answers(operated, delta)
    undone: list[float] = []

    async def undo() -> None:
        version = None
        while True:
            found = await region.get("ConfigMap", "a")
            if found is not None and found["metadata"]["resourceVersion"] != version:
                undone.append(time.monotonic())
                version = await undo_once(region, how)
            await asyncio.sleep(0.01)

    async with operated.applier():
        await operated.state(delta)
        await operated.shows("AsStated")
        fight = asyncio.create_task(undo())
        try:
            shown = await operated.shows("EditedByOthers", within=8)
            await until(lambda: asyncio.sleep(0, time.monotonic() - undone[0] > 7), "a while")
        finally:
            fight.cancel()
        assert len(undone) <= 5, "at 0, 0, 2, 6 and perhaps 14 seconds"
        assert shown.status == "False"
        assert shown.message.startswith(f"ConfigMap {region.namespace}/a: undone by others 3 times in a row")
        assert (f"last by {TESTER}" in shown.message) == (how != "deleted")
        answers(operated, changed := stated(operated.config_map("a", data={"key": "new"}), made_from=provenance(2)))
        await operated.state(changed)
        await until(lambda: holds(region, "a", {"key": "new"}), "what is new is written at once", within=10)


async def undo_once(region: Region, how: str) -> str | None:
    path = region.path("ConfigMap", "a")
    if how == "deleted":
        await region.api.delete(path)
        return None
    body = {"metadata": {"annotations": {labels.DIGEST: "theirs"}}} if how == "annotated" else {"data": {"key": "x"}}
    answer = await region.api.merge_patch(path, body, field_manager=TESTER)
    return str(answer["metadata"]["resourceVersion"])


async def is_new(region: Region, uid: str) -> bool:
    found = await region.get("ConfigMap", "a")
    return found is not None and found["metadata"]["uid"] != uid


async def test_connections_that_break_hide_nothing_for_long(operated: Region, region: Region, proxy: Proxy) -> None:
    delta = stated(operated.config_map("a"), operated.config_map("b"))
    answers(operated, delta)
    async with operated.applier() as service:
        await operated.state(delta)
        await operated.shows("AsStated")
        proxy.refuse()
        uid = (await region.there("ConfigMap", "a"))["metadata"]["uid"]
        await region.api.delete(region.path("ConfigMap", "a"))
        await region.api.merge_patch(region.path("ConfigMap", "b"), {"data": {"key": "x"}}, field_manager=TESTER)
        assert version_known(service, region.id("ConfigMap", "a")) is not None, "it was not told"
        proxy.forward()
        await until(lambda: is_new(region, uid), "the deleted one is made anew")
        await until(lambda: holds(region, "b", {"key": "value"}), "the edited one is put right")


@pytest.mark.needs("kubernetes", control=True)
async def test_a_server_that_restarts_hides_nothing(operated: Region, region: Region, kubernetes: Kubernetes) -> None:
    delta = stated(operated.config_map("a"))
    answers(operated, delta)
    async with operated.applier():
        await operated.state(delta)
        await operated.shows("AsStated")
        uid = (await region.there("ConfigMap", "a"))["metadata"]["uid"]
        await asyncio.to_thread(kubernetes.kill)
        await asyncio.to_thread(kubernetes.start)
        await region.api.delete(region.path("ConfigMap", "a"))
        await until(lambda: is_new(region, uid), "it is made anew", within=60)


# --- a view that is behind


def withheld(service: ApplierService) -> None:
    """From now on no event comes through, and no list either: as if the watch were half-open."""
    for view in live_of(service)._views.values():
        view.happened = lambda *_: None  # type: ignore[method-assign]


async def test_a_view_that_is_behind_deletes_nothing_that_is_another_object_now(
    operated: Region, region: Region
) -> None:
    """One was handed to another vCenter by hand, one is a person's under the old name, one has a new status only."""
    names = ("handed", "replaced", "same")
    async with operated.applier() as service:
        await operated.state(stated(*map(operated.config_map, names), operated.config_map("stays")))
        await operated.shows("AsStated")
        withheld(service)
        part_of = {labels.PART_OF: labels.applyset_id(OTHER, region.namespace)}
        theirs = {"metadata": {"labels": part_of, "annotations": {labels.VCENTER: OTHER}}}
        await region.api.merge_patch(region.path("ConfigMap", "handed"), theirs, field_manager="vcenter-operator")
        await region.api.delete(region.path("ConfigMap", "replaced"))
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "replaced"}}
        await region.api.create(MAPS.path(namespace=region.namespace), body, field_manager=TESTER)
        await region.api.merge_patch(region.path("ConfigMap", "same"), {"data": {"x": "y"}}, field_manager=TESTER)
        await operated.state(stated(operated.config_map("stays"), made_from=provenance(2)))
        await until(lambda: is_gone(region, "same"), "what only has a new version goes")
        await operated.planned(2)

    assert await region.names("ConfigMap") >= {"handed", "replaced", "stays"}


async def is_gone(region: Region, name: str) -> bool:
    return await region.get("ConfigMap", name) is None


async def test_a_view_that_is_behind_writes_into_no_object_of_somebody_else(operated: Region, region: Region) -> None:
    """It stands under an id that is free as far as is known, and no field of it is in the way of an apply."""
    async with operated.applier():
        await operated.state(stated(operated.config_map("a")))
        await operated.shows("AsStated")
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"other": "theirs"}}
        made = await region.api.create(MAPS.path(namespace=region.namespace), body, field_manager=TESTER)
        await operated.state(stated(operated.config_map("a"), operated.config_map("b"), made_from=provenance(2)))
        shown = await operated.shows("Conflict")

    assert "not managed by the operator" in shown.message
    found = await region.there("ConfigMap", "b")
    assert (found["metadata"]["resourceVersion"], found["data"]) == (
        made["metadata"]["resourceVersion"],
        {"other": "theirs"},
    )


async def test_a_view_that_is_behind_finds_in_the_end_whose_it_is_among_many(operated: Region, region: Region) -> None:
    """What is new is listed without what watches tell of; where that shows to be wrong, all is."""
    async with operated.applier() as service:
        await operated.state(stated(operated.config_map("a")))
        await operated.shows("AsStated")
        withheld(service)
        names = [f"c-{number}" for number in range(12)]
        for name in names:
            theirs = operated.config_map(name, OTHER)
            await region.api.apply(region.path("ConfigMap", name), theirs, field_manager=labels.FIELD_MANAGER)
        maps = [operated.config_map(name) for name in ("a", *names)]
        await operated.state(stated(*maps, made_from=provenance(2)))
        shown = await operated.shows("Conflict")

    assert f"belongs to vCenter {OTHER}" in shown.message


async def test_what_somebody_else_made_is_noticed_when_it_is_gone(operated: Region, region: Region) -> None:
    """No label tells of it: it is looked for now and then."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"other": "theirs"}}
    await region.api.create(MAPS.path(namespace=region.namespace), body, field_manager=TESTER)
    delta = stated(operated.config_map("a"), operated.config_map("b"))
    answers(operated, delta)
    async with operated.applier(look_every=0.5):
        await operated.state(delta)
        await operated.shows("Conflict")
        await region.api.delete(region.path("ConfigMap", "b"))
        await operated.shows("AsStated")


async def test_a_freeze_that_no_watch_tells_of_stops_what_comes_after_it(operated: Region, region: Region) -> None:
    async with operated.applier() as service:
        await operated.state(stated(operated.config_map("a")))
        await operated.shows("AsStated")
        service._reconciler._freeze._watched.happened = lambda *_: None  # type: ignore[attr-defined]
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FREEZE}, "data": {"reason": "audit"}}
        await region.api.create(MAPS.path(namespace=region.namespace), body, field_manager=TESTER)
        await operated.state(stated(operated.config_map("a"), operated.config_map("b"), made_from=provenance(2)))
        await operated.shows("Frozen")

    assert "b" not in await region.names("ConfigMap")


async def test_a_freeze_that_no_watch_tells_of_stops_what_is_under_way_within_a_second(
    operated: Region, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes long is looked after while it goes on, though the freeze's watch is half-open."""
    written: list[float] = []
    apply = operated.client.call_api

    async def slow(path: str, method: str, **more: Any) -> Any:
        if method == "PATCH" and "/configmaps/" in path:
            await asyncio.sleep(0.03)
            written.append(time.monotonic())
        return await apply(path, method, **more)

    monkeypatch.setattr(operated.client, "call_api", slow)
    async with operated.applier(concurrency=1) as service:
        service._reconciler._freeze._watched.happened = lambda *_: None  # type: ignore[attr-defined]
        await operated.state(stated(*(operated.config_map(f"c{number}") for number in range(300))))
        await until(lambda: is_there(region, "c1"), "the work has begun")
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FREEZE}, "data": {"reason": "audit"}}
        await region.api.create(MAPS.path(namespace=region.namespace), body, field_manager=TESTER)
        frozen_at = time.monotonic()
        await operated.shows("Frozen", within=30)

    assert max(written) - frozen_at < 1.0
    assert len(written) < 300


async def test_a_record_that_is_known_too_late_lets_nothing_older_pass(operated: Region, region: Region) -> None:
    """Another replica acted on something newer, and no event told so; then another stage wrote, and none told that."""
    async with operated.applier() as service:
        await operated.state(stated(operated.config_map("a")))
        await operated.shows("AsStated")
        service._recorder._store._view.happened = lambda *_: None  # type: ignore[attr-defined]
        await region.store.write(HOST, Collected(revision=Revision(1, 2)))
        await operated.state(stated(operated.config_map("a"), operated.config_map("b"), made_from=provenance(2)))
        await until(lambda: is_there(region, "b"), "what another stage wrote delays nothing")
        record = await region.store.get(HOST)
        assert record is not None
        assert record.applied is not None
        newer = record.applied.model_copy(update={"acted_on": provenance(9)})
        await region.store.write(HOST, newer)
        late = stated(operated.config_map("a"), operated.config_map("c"), made_from=provenance(3))
        await service.handle(late, Ownership(Stage.APPLIER, 0, 9))

    record = await region.store.get(HOST)
    assert record is not None
    assert record.applied == newer
    assert await region.names("ConfigMap") >= {"a", "b"}
    assert "c" not in await region.names("ConfigMap")


async def test_a_record_that_is_not_known_of_yet_lets_nothing_older_pass(operated: Region, region: Region) -> None:
    async with operated.applier() as service:
        await operated.state(stated(operated.config_map("a", OTHER), host=OTHER))
        await operated.shows("AsStated", host=OTHER)
        service._recorder._store._view.happened = lambda *_: None  # type: ignore[attr-defined]
        newer = Applied(acted_on=provenance(9))
        await region.store.write(HOST, newer)
        await service.handle(stated(operated.config_map("c"), made_from=provenance(3)), Ownership(Stage.APPLIER, 0, 9))

    record = await region.store.get(HOST)
    assert record is not None
    assert record.applied == newer
    assert "c" not in await region.names("ConfigMap")


async def is_there(region: Region, name: str) -> bool:
    return await region.get("ConfigMap", name) is not None


# --- one vCenter and the others


async def test_a_vcenter_whose_writes_hang_leaves_places_to_the_others(operated: Region) -> None:
    held = asyncio.Event()

    def spy(service: ApplierService) -> None:
        writes = service._reconciler._cluster._writes  # type: ignore[attr-defined]
        apply = writes.apply

        async def hanging(guard: Any, path: str, body: Mapping[str, Any], **more: Any) -> Any:
            if body["metadata"]["name"].startswith("hangs"):
                await held.wait()
            return await apply(guard, path, body, **more)

        writes.apply = hanging

    async with operated.applier(spy=spy, concurrency=5):
        hanging = [operated.config_map(f"hangs-{number}", unit=cluster(1)) for number in range(20)]
        await operated.state(stated(*hanging))
        await until(lambda: is_recorded(operated), "the first is at work")
        await operated.state(stated(operated.config_map("b", OTHER), host=OTHER))
        await operated.shows("AsStated", OTHER)
        assert not {name for name in await operated.names("ConfigMap") if name.startswith("hangs")}
        held.set()
        await operated.shows("AsStated")


async def is_recorded(region: Region) -> bool:
    return await region.store.get(HOST) is not None


# --- fields that others own too


async def test_a_field_that_a_template_drops_goes_though_another_manager_owned_it_too(
    operated: Region, region: Region
) -> None:
    """Somebody applied the same livenessProbe, and a field of their own beside it."""
    probe = {"livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 7}}

    def agent(**more: Any) -> dict[str, Any]:
        made = region.deployment("agent")
        made["spec"]["template"]["spec"]["containers"][0] |= more
        return made

    delta = stated(agent(**probe))
    async with operated.applier() as service:
        await operated.state(delta)
        await operated.shows("AsStated")
        container = {"name": "agent", **probe, "env": [{"name": "THEIRS", "value": "x"}]}
        spec = {"template": {"spec": {"containers": [container]}}}
        theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "agent"}, "spec": spec}
        await region.api.apply(region.path("Deployment", "agent"), theirs, field_manager=TESTER)
        await until(lambda: told(service, region.id("Deployment", "agent"), region), "it is seen")
        await operated.state(stated(agent(), made_from=provenance(2)))
        await operated.planned(2)
        await operated.shows("AsStated")

    found = await region.there("Deployment", "agent")
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert "livenessProbe" not in container
    assert container["env"] == [{"name": "THEIRS", "value": "x"}], "what is theirs alone stays"
    assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {"vcenter-operator", TESTER}
