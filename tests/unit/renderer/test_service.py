"""The renderer as a whole, on an in-process bus: what it states and when, what it renders again, what it survives."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.renderer.conftest import CELLS_AS_LISTED, MINUTE, Scene, becomes, unreachable
from tests.unit.renderer.region import BUS_KEY, HOST, OTHER, configmap, configuration, inventory, only, resource
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.errors import BusUnavailable, ConfigurationError
from vcenter_operator.common.identity import ObjectId, Revision, Unit
from vcenter_operator.common.messages import (
    ClusterRole,
    Provenance,
    ResyncRequest,
    Stage,
    Step,
    UnknownCluster,
    ZoneSource,
)
from vcenter_operator.common.record.orders import ROLLOUT
from vcenter_operator.common.record.port import OK, Applied, Collected, Condition, Discovered, RolledOut
from vcenter_operator.renderer.adapters.frames import Bounds
from vcenter_operator.renderer.adapters.process import ProcessEngine
from vcenter_operator.renderer.core.failures import Failure
from vcenter_operator.renderer.core.rendering import Rendered
from vcenter_operator.renderer.vcenter import VCenter

BB1, BB2 = Unit("cluster", "qa-de-1a", "productionbb001"), Unit("cluster", "qa-de-1b", "productionbb002")
PROVENANCE = Provenance(
    zone=ZoneSource(revision=Revision(1, 1), serial=1), inventory=Revision(1, 1), templates=1, cells=1, config=1
)
KEY = "monsoon3/nova"
NOVA = "vcenter_cluster/monsoon3/nova.yaml.j2"


def nova(extra: str = "", **options: Any) -> dict[str, Any]:
    return resource("nova", configmap("nova-{{ name }}", cluster="{{ cluster_name }}") + extra, **options)


def cinder(value: str = "{{ availability_zone }}") -> dict[str, Any]:
    return resource("cinder", configmap("cinder-{{ availability_zone }}", zone=value), scope="datacenter")


def named(name: str) -> ObjectId:
    return ObjectId("", "ConfigMap", "monsoon3", name)


async def test_the_first_delta_says_all_with_every_manifest(scene: Scene) -> None:
    async with scene.renderer(nova(), cinder()):
        await scene.tell(sequence=3)
        delta = await scene.delta(1)
        await becomes(lambda: scene.applier.statements == [delta], "it arrived as it was stated")
    assert delta.index.keys() == set(map(named, ("nova-bb1", "nova-bb2", "cinder-qa-de-1a", "cinder-qa-de-1b")))
    assert delta.manifests.keys() == delta.index.keys()
    entry = delta.index[named("nova-bb1")]
    assert (entry.template, entry.unit) == ("monsoon3/nova", BB1)
    manifest = scene.opened(delta)[named("nova-bb1")]
    assert manifest["data"] == {"cluster": "productionbb001"}
    assert entry.digest == configuration().keyring.digest(manifest)
    assert delta.provenance.inventory == Revision(1, 3)
    assert (delta.provenance.templates, delta.provenance.cells) == (scene.templates.position, scene.cells.position)
    assert delta.provenance.config == 1
    assert set(delta.templates) == {"monsoon3/nova", "monsoon3/cinder"}
    assert len(delta.units) == 5
    assert delta.unknown == ()


async def test_a_manifest_on_the_bus_cannot_be_read(scene: Scene) -> None:
    async with scene.renderer(nova()):
        await scene.tell()
        delta = await scene.delta(1)
    body = delta.manifests[named("nova-bb1")]
    assert b"productionbb001" not in body
    assert b"ConfigMap" not in body


async def test_an_unchanged_input_renders_and_states_nothing(scene: Scene) -> None:
    async with scene.renderer(nova(), cinder()) as service:
        await scene.tell()
        await scene.delta(1)
        assert len(scene.engine.jobs) == 4
        scene.templates.moved()
        await scene.tell()
        scene.configuration.becomes(configuration())
        await scene.tell(host=OTHER)
        await scene.delta(1, OTHER)
        assert len(scene.engine.jobs) == 8
        assert service.vcenters[HOST].rendered == 4
    assert len(scene.deltas()) == 1


async def test_a_changed_cluster_alone_is_rendered_again(scene: Scene) -> None:
    changed = tuple(
        each.model_copy(update={"bridge": "br-other"}) if each.name == "bb1" else each for each in inventory().clusters
    )
    async with scene.renderer(nova(), cinder()):
        await scene.tell()
        await scene.delta(1)
        del scene.engine.jobs[:]
        await scene.tell(sequence=2, clusters=changed)
        second = await scene.delta(2)
        assert scene.engine.jobs == [(NOVA, "bb1")]
    assert second.manifests == {}, "what it yields has not changed"
    assert second.index == scene.deltas()[0].index
    assert second.provenance.inventory == Revision(1, 2)


async def test_a_template_that_rolls_out_goes_to_all_only_step_by_step(scene: Scene) -> None:
    """The records are written as an applier would."""
    scene.tells_templates = True
    template = nova()
    template["options"]["rollout"] = "canary"

    def step(host: str) -> Step | None:
        return scene.deltas(host)[-1].rollouts[KEY].step if scene.deltas(host) else None

    async def notes(host: str, **said: Any) -> None:
        rolled = RolledOut(version=version, checked=OK, changes=1, **said)
        acted_on = scene.deltas(host)[-1].provenance
        await scene.store.write(host, Applied(acted_on=acted_on, rollouts={KEY: rolled}))

    async with scene.renderer(template):
        for host in (HOST, OTHER):
            discovered = Discovered(present=True, serial=1, revision=Revision(1, 1))
            connected = Condition(type="Connected", status="True", reason="Connected")
            await scene.store.write(host, discovered)
            await scene.store.write(host, Collected(revision=Revision(1, 1), conditions=(connected,)))
            await scene.tell(host=host)
        await becomes(lambda: scene.board.status(KEY).get("rollout", {}).get("reason"), "it waits for the vCenters")
        await becomes(lambda: (step(HOST), step(OTHER)) == (Step.CHECK, Step.CHECK), "nobody may write")
        version = scene.deltas()[-1].rollouts[KEY].version
        await notes(HOST)
        await notes(OTHER)
        await becomes(lambda: (step(HOST), step(OTHER)) == (Step.CANARY, Step.CHECK), "one may")
        await notes(HOST, applied="Deployment x: ProgressDeadlineExceeded")
        await becomes(lambda: scene.board.status(KEY)["rollout"]["phase"] == "Paused", "it is paused")
        paused = scene.board.status(KEY)["rollout"]
        assert step(OTHER) is Step.CHECK
        scene.templates.named(KEY)["metadata"]["annotations"] = {ROLLOUT: str(version)}
        scene.templates.hold_again()
        await becomes(lambda: (step(HOST), step(OTHER)) == (Step.ALL, Step.ALL), "all may")
        await notes(HOST, applied=OK)
        await notes(OTHER, applied=OK)
        await becomes(lambda: scene.board.status(KEY)["rollout"]["phase"] == "Done", "it is done")
        plain = nova()
        plain["metadata"] |= {"uid": template["metadata"]["uid"], "generation": 2}
        scene.templates.hold({**plain, "status": scene.board.status(KEY)})
        await becomes(lambda: "rollout" not in scene.board.status(KEY), "without the option nothing is told of it")
        await becomes(lambda: scene.deltas(OTHER)[-1].rollouts == {}, "nor stated")
    assert paused["reason"] == f"{HOST}: Deployment x: ProgressDeadlineExceeded"
    assert (paused["version"], paused["canary"]) == (version, HOST)
    assert [(reason, note) for _, _, reason, note in scene.events.told] == [("RolloutPaused", paused["reason"])]


async def test_without_a_status_nothing_rolls_out_step_by_step(scene: Scene) -> None:
    template = nova()
    template["options"]["rollout"] = "canary"
    with capture_logs() as logs:
        async with scene.renderer(template):
            await scene.tell()
            assert (await scene.delta(1)).rollouts == {}
    warned = [each["templates"] for each in logs if "options.rollout has no effect here" in each["event"]]
    assert warned == [[KEY]]


async def test_suspending_a_template_is_told_and_renders_nothing(scene: Scene) -> None:
    template = nova()
    async with scene.renderer(template):
        await scene.tell()
        first = await scene.delta(1)
        del scene.engine.jobs[:]
        annotations = {"vcenter-operator.stable.sap.cc/suspend": "true"}
        scene.templates.hold({**template, "metadata": {**template["metadata"], "annotations": annotations}})
        second = await scene.delta(2)
    assert (first.suspended, second.suspended) == ((), ("monsoon3/nova",))
    assert (second.index, second.templates, second.manifests) == (first.index, first.templates, {})
    assert second.provenance.templates > first.provenance.templates
    assert scene.engine.jobs == []


async def test_a_removed_cluster_leaves_the_index(scene: Scene) -> None:
    async with scene.renderer(nova(), cinder()):
        await scene.tell()
        await scene.delta(1)
        await scene.tell(sequence=2, clusters=only("productionbb001"))
        second = await scene.delta(2)
    assert second.index.keys() == {named("nova-bb1"), named("cinder-qa-de-1a")}
    assert BB2 not in second.units
    assert second.unknown == ()


async def test_an_unknown_cluster_is_unknown_and_not_absent(scene: Scene) -> None:
    unread = UnknownCluster(
        moid="x",
        role=ClusterRole.PRODUCTION,
        cluster_name="productionbb002",
        availability_zone="qa-de-1b",
        reason="unread",
    )
    async with scene.renderer(nova(), cinder()):
        await scene.tell(clusters=only("productionbb001"), unknown=(unread,))
        delta = await scene.delta(1)
    assert {(each.template, each.unit) for each in delta.unknown} == {
        (None, BB2),
        (None, Unit("datacenter", "qa-de-1b")),
    }
    assert BB2 in delta.units


async def test_a_cluster_that_cannot_be_placed_is_told_on_and_is_news(scene: Scene) -> None:
    async with scene.renderer(nova(), cinder()):
        await scene.tell()
        first = await scene.delta(1)
        await scene.tell(sequence=2, partial="x cannot be placed")
        second = await scene.delta(2)
    assert (first.partial, second.partial) == (None, "x cannot be placed")
    assert second.index == first.index


async def test_an_older_inventory_changes_nothing(scene: Scene) -> None:
    """Older by its own revision, or by that of the zone that it was made from."""
    newer_zone = ZoneSource(revision=Revision(2, 1), serial=8)
    async with scene.renderer(nova()) as service:
        await scene.tell(sequence=5, zone=newer_zone)
        first = await scene.delta(1)
        ownership = service.vcenters[HOST].ownership
        await service.handle(inventory(sequence=4, zone=newer_zone, clusters=()), ownership)
        await service.handle(inventory(sequence=6, clusters=()), ownership)
        await service.handle(inventory(sequence=7, zone=newer_zone), ownership)
        second = await scene.delta(2)
    assert second.index == first.index
    assert second.provenance.inventory == Revision(1, 7)
    assert len(scene.deltas()) == 2


async def test_an_edited_template_alone_is_rendered_again_and_sent(scene: Scene) -> None:
    second_nova = nova("  more: x\n")
    kept = cinder()
    async with scene.renderer(nova(), kept):
        await scene.tell()
        first = await scene.delta(1)
        del scene.engine.jobs[:]
        scene.templates.hold(second_nova, kept)
        second = await scene.delta(2)
        assert sorted(scene.engine.jobs) == [(NOVA, "bb1"), (NOVA, "bb2")]
    assert second.manifests.keys() == {named("nova-bb1"), named("nova-bb2")}
    assert second.index[named("cinder-qa-de-1a")] == first.index[named("cinder-qa-de-1a")]
    assert second.templates["monsoon3/nova"] != first.templates["monsoon3/nova"]
    assert second.provenance.templates > first.provenance.templates
    assert second.inputs == first.inputs


async def test_an_edit_that_concerns_many_vcenters_leaves_turns_to_everything_else(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions are lost where the loop stands still for seconds."""
    hosts = [f"vc-{number}.cc.qa-de-1.cloud.sap" for number in range(20)]
    turn, refreshed = 0, []

    async def turning() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def at_once(vcenter: VCenter, *_: object) -> None:
        refreshed.append((vcenter.host, turn))

    async with scene.renderer(nova()):
        for host in hosts:
            await scene.tell(host=host)
            await scene.delta(1, host)
        monkeypatch.setattr(VCenter, "state", at_once)
        turns = asyncio.create_task(turning())
        scene.templates.hold(nova("  more: x\n"))
        await becomes(lambda: {host for host, _ in refreshed} == set(hosts), "all are refreshed")
        turns.cancel()
    assert max(Counter(when for _, when in refreshed).values()) <= 2


async def test_templates_that_load_the_edited_one_are_rendered_again(scene: Scene) -> None:
    loading = resource("loading", '{% include "vcenter_library/monsoon3/" ~ vcenter_name ~ ".yaml.j2" %}')
    other = nova()
    async with scene.renderer(loading, other, resource("vc-a-0", configmap("old"), scope="library")):
        await scene.tell()
        await scene.delta(1)
        del scene.engine.jobs[:]
        scene.templates.hold(loading, other, resource("vc-a-0", configmap("new"), scope="library"))
        second = await scene.delta(2)
        assert {path for path, _ in scene.engine.jobs} == {"vcenter_cluster/monsoon3/loading.yaml.j2"}
        assert named("new") in second.index
        assert named("old") not in second.index
        scene.templates.hold(loading, other)
        third = await scene.delta(3)
        assert {each.template for each in third.unknown} == {"monsoon3/loading"}
        scene.templates.hold(loading, other, resource("vc-a-0", configmap("back"), scope="library"))
        assert named("back") in (await scene.delta(4)).index


async def test_a_template_that_only_changed_its_status_renders_nothing(scene: Scene) -> None:
    template = nova()
    async with scene.renderer(template):
        await scene.tell()
        await scene.delta(1)
        written = {**template, "metadata": template["metadata"] | {"resourceVersion": "999999"}, "status": {"x": 1}}
        scene.templates.hold(written)
        await scene.tell(host=OTHER)
        await scene.delta(1, OTHER)
        assert len(scene.engine.jobs) == 4
    assert len(scene.deltas()) == 1


async def test_a_deleted_template_leaves_index_and_list(scene: Scene) -> None:
    kept = cinder()
    async with scene.renderer(nova(), kept):
        await scene.tell()
        await scene.delta(1)
        scene.templates.hold(kept)
        second = await scene.delta(2)
    assert set(second.templates) == {"monsoon3/cinder"}
    assert named("nova-bb1") not in second.index
    assert second.unknown == ()


async def test_a_broken_template_is_unknown_logged_once_and_mended(scene: Scene) -> None:
    kept = cinder()
    broken = nova("  broken: {{ name.x.y }}\n")
    with capture_logs() as logs:
        async with scene.renderer(nova(), kept):
            await scene.tell()
            first = await scene.delta(1)
            scene.templates.hold(broken, kept)
            second = await scene.delta(2)
            await scene.tell(sequence=2)
            await scene.delta(3)
            scene.templates.hold(nova(), kept)
            fourth = await scene.delta(4)
    assert {(each.template, each.unit) for each in second.unknown} == {("monsoon3/nova", BB1), ("monsoon3/nova", BB2)}
    assert f"{NOVA}, line 6: UndefinedError" in second.unknown[0].reason
    assert second.index.keys() == {named("cinder-qa-de-1a"), named("cinder-qa-de-1b")}
    assert "monsoon3/nova" in second.templates
    assert (fourth.index, fourth.unknown) == (first.index, ())
    failed = [each for each in logs if each["event"] == "template failed"]
    assert [(each["template"], each["scope"], each["availability_zone"], each["cluster"]) for each in failed] == [
        ("monsoon3/nova", "cluster", "qa-de-1a", "productionbb001"),
        ("monsoon3/nova", "cluster", "qa-de-1b", "productionbb002"),
    ]
    assert all("line 6" in each["error"] for each in failed)
    assert [each["event"] for each in logs].count("all templates render again") == 1


async def test_a_failure_that_quotes_what_cannot_be_sent_stops_no_other_template(scene: Scene) -> None:
    odd = resource("odd", r'{% include "\ud800" %}')
    endless = resource("endless", "{% " + "A" * 1_500_000 + " %}", scope="cluster")
    async with scene.renderer(nova(), odd, endless, resource("scope", 1, scope="s" * 1_500_000)):
        await scene.tell()
        delta = await scene.delta(1)
        await becomes(lambda: scene.applier.statements == [delta], "it arrived")
    assert {each.name for each in delta.index} == {"nova-bb1", "nova-bb2"}
    assert {each.template for each in delta.unknown} == {"monsoon3/odd", "monsoon3/endless", "monsoon3/scope"}


async def test_a_runaway_template_is_unknown_and_holds_up_no_other_vcenter(scene: Scene) -> None:
    """With the real engine: vc-a-0 runs it, and vc-b-0 is stated meanwhile."""
    loops = "{% for i in range(9999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    endless = f"{{% if vcenter_name == 'vc-a-0' %}}{loops}{{% endif %}}"
    async with ProcessEngine(Bounds(seconds=0.5)) as engine:
        scene.engine = engine
        async with scene.renderer(nova(), resource("runaway", endless + configmap("runaway-{{ name }}"))):
            await scene.tell()
            await scene.tell(host=OTHER)
            await scene.delta(1, OTHER)
            assert not scene.deltas(HOST)
            delta = await scene.delta(1)
    assert {each.template for each in delta.unknown} == {"monsoon3/runaway"}
    assert {each.name for each in delta.index} == {"nova-bb1", "nova-bb2"}
    # Which of its two bounds it meets first depends on what else the machine does.
    assert any(
        bound in delta.unknown[0].reason for bound in ("more than 0.5 s of CPU time", "does not end within 3.5 s")
    )
    (other,) = scene.deltas(OTHER)
    assert other.unknown == ()


async def test_what_took_too_long_is_tried_again_later(scene: Scene) -> None:
    slow = Rendered(failure=Failure("takes too long", NOVA, passing=True), loaded={})
    scene.engine.instead[NOVA] = slow
    async with scene.renderer(nova(), repeat_every=0.2):
        await scene.tell()
        assert len((await scene.delta(1)).unknown) == 2
        scene.engine.instead.clear()
        await becomes(lambda: scene.deltas()[-1].unknown == (), "rendered after all")


async def test_a_template_for_a_service_user_is_unknown_for_every_unit(scene: Scene) -> None:
    async with scene.renderer(nova(**{"uses-service-user": "nova"})):
        await scene.tell()
        delta = await scene.delta(1)
        assert scene.engine.jobs == []
    assert [(each.template, each.unit) for each in delta.unknown] == [("monsoon3/nova", None)]
    assert "Vault" in delta.unknown[0].reason


async def test_nothing_is_stated_before_everything_is_known(scene: Scene) -> None:
    scene.cells.away = unreachable()
    scene.collector.knows[HOST] = inventory()
    async with scene.renderer(nova()):
        await becomes(lambda: scene.templates.fresh_lists, "a look")
        await scene.tell()
        assert not scene.collector.requests
        scene.cells.away = None
        await scene.taken()
        await scene.delta(1)
    assert scene.templates.fresh_lists >= 2


@pytest.mark.parametrize("problem", ["none", "malformed"])
async def test_without_cells_the_old_state_stays(scene: Scene, problem: str) -> None:
    malformed = [
        {**CELLS_AS_LISTED[0], "data": {}, "metadata": CELLS_AS_LISTED[0]["metadata"] | {"resourceVersion": "6"}}
    ]
    with capture_logs() as logs:
        async with scene.renderer(nova()):
            await scene.tell()
            await scene.delta(1)
            scene.cells.hold(*([] if problem == "none" else malformed))
            await becomes(lambda: any("cells" in each["event"] for each in logs), "it is told")
            await scene.tell(sequence=2, clusters=())
            scene.templates.hold(nova("  more: x\n"))
            await scene.tell(host=OTHER)
            await becomes(lambda: scene.service is not None and OTHER in scene.service.vcenters, "it came")
            assert (len(scene.deltas()), len(scene.deltas(OTHER))) == (1, 0)
            scene.cells.hold(*CELLS_AS_LISTED)
            second = await scene.delta(2)
            await scene.delta(1, OTHER)
    assert second.index == {}
    assert second.provenance.inventory == Revision(1, 2)
    assert [each["event"] for each in logs].count("nothing is rendered until the cells are known") == 1


async def test_changed_cells_and_secret_are_stated(scene: Scene) -> None:
    template = nova("  cells: {{ cells | join('-') }}\n  mine: {{ mine }}\n")
    async with scene.renderer(template):
        await scene.tell()
        first = await scene.delta(1)
        version = {"metadata": CELLS_AS_LISTED[0]["metadata"] | {"resourceVersion": "7"}}
        scene.cells.hold({**CELLS_AS_LISTED[0], "data": {"cells": "cell3"}, **version})
        second = await scene.delta(2)
        assert scene.opened(second)[named("nova-bb1")]["data"]["cells"] == "cell3"
        scene.configuration.becomes(configuration(8, mine="yes"))
        third = await scene.delta(3)
        assert scene.opened(third)[named("nova-bb1")]["data"]["mine"] is True
        scene.configuration.becomes(configuration(9, mine="yes", tsig_key="c2VjcmV0"))
        fourth = await scene.delta(4)
    assert len({first.inputs, second.inputs, third.inputs, fourth.inputs}) == 4
    assert (third.provenance.config, fourth.provenance.config) == (8, 9)
    assert fourth.manifests == {}
    assert len(scene.engine.jobs) == 6


async def test_a_new_password_in_the_secret_is_rendered(scene: Scene) -> None:
    async with scene.renderer(nova("  password: {{ password | tojson }}\n")):
        await scene.tell()
        first = await scene.delta(1)
        changed = configuration(2, password="another seed")
        scene.configuration.becomes(changed)
        second = await scene.delta(2)
    for delta, secret in ((first, configuration()), (second, changed)):
        assert scene.opened(delta)[named("nova-bb1")]["data"]["password"] == secret.password_for(HOST)
    assert configuration().password_for(HOST) != changed.password_for(HOST)


async def test_a_new_key_seals_everything_anew(scene: Scene) -> None:
    async with scene.renderer(nova()):
        await scene.tell()
        first = await scene.delta(1)
        other = "b3RoZXIga2V5IHRoYXQgaXMgdXNlZCBpbiB0ZXN0cw=="
        scene.configuration.becomes(configuration(2, bus_key=other, bus_key_previous=BUS_KEY))
        second = await scene.delta(2)
    assert scene.opened(second).keys() == second.index.keys() == first.index.keys()
    assert second.index != first.index


async def test_without_a_key_nothing_is_stated_until_there_is_one(scene: Scene) -> None:
    scene.configuration.configuration = Configuration.parse({"username": "u", "password": "p"}, 1)
    with capture_logs() as logs:
        async with scene.renderer(nova()):
            await scene.tell()
            await becomes(lambda: any("Secret" in each["event"] for each in logs), "it is told")
            scene.configuration.becomes(configuration(2))
            await scene.delta(1)
    assert not scene.broker.parked[Stage.RENDERER]


async def test_a_wrong_secret_delays_the_taking(scene: Scene) -> None:
    scene.configuration.problem = ConfigurationError("Secret vcenter-operator: key 'username' is missing")
    async with scene.renderer(nova()):
        await becomes(lambda: scene.templates.fresh_lists, "a look")
        assert not scene.collector.requests
        scene.configuration.problem = None
        await scene.taken()


async def test_a_vcenter_that_is_gone_is_stated_gone_even_without_cells(scene: Scene) -> None:
    async with scene.renderer(nova()):
        await scene.tell()
        await scene.delta(1)
        scene.cells.hold()
        await scene.tell(sequence=2, present=False, clusters=())
        second = await scene.delta(2)
        assert not second.present
        assert (second.index, second.units) == ({}, ())
        scene.cells.hold(*CELLS_AS_LISTED)
        await scene.tell(sequence=3)
        await becomes(lambda: scene.deltas()[-1].present, "back")
        assert len(scene.deltas()[-1].manifests) == 2
        await scene.tell(sequence=4, present=False)
        await becomes(lambda: not scene.deltas()[-1].present, "gone again")
        assert scene.deltas()[-1].index == {}


async def test_a_taken_partition_is_asked_for_and_restated_after_a_restart(scene: Scene) -> None:
    scene.collector.knows[HOST] = inventory(sequence=4)
    async with scene.renderer(nova()):
        await scene.taken()
        first = await scene.delta(1)
    lists = scene.templates.fresh_lists
    scene.bus = type(scene.bus)(scene.broker, scene.epochs, scene.bus.published)
    async with scene.renderer():
        second = await scene.delta(2)
    assert scene.templates.fresh_lists > lists
    assert (second.index, second.provenance) == (first.index, first.provenance)
    assert second.manifests.keys() == second.index.keys()


async def test_a_renderer_that_starts_while_a_template_is_replaced_does_not_take_it_for_deleted(scene: Scene) -> None:
    """`kubectl replace --force` deletes it for a moment; a template that is gone is a deletion without a budget."""
    kept, scene.grace = cinder(), 1.5
    last = Applied(acted_on=PROVENANCE, settled_templates={"monsoon3/nova": 3, "monsoon3/cinder": 4})
    await scene.store.write(HOST, last)
    async with scene.renderer(kept):
        await scene.tell()
        first = await scene.delta(1)
        assert [(each.template, each.unit) for each in first.unknown] == [("monsoon3/nova", None)]
        assert first.templates.keys() == {"monsoon3/nova", "monsoon3/cinder"}
        scene.templates.hold(nova(), kept)
        second = await scene.delta(2)
        assert (len(second.index), second.unknown) == (4, ())
    scene.bus = type(scene.bus)(scene.broker, scene.epochs, scene.bus.published)
    scene.templates.hold(kept)
    async with scene.renderer():
        await scene.tell(sequence=2)
        assert len((await scene.delta(3)).unknown) == 1
        fourth = await scene.delta(4)
    assert (fourth.unknown, list(fourth.templates)) == ((), ["monsoon3/cinder"]), "deleted for good"


async def test_a_record_that_cannot_be_read_delays_what_would_rest_on_it(scene: Scene) -> None:
    scene.grace, scene.store.failing = MINUTE, True
    async with scene.renderer(nova()):
        await scene.tell()
        await becomes(lambda: scene.service is not None and scene.service.inputs.current, "it has looked")
        await asyncio.sleep(0.1)
        assert not scene.deltas()
        scene.store.failing = False
        await scene.delta(1)


async def test_lacking_manifests_are_sent_when_asked_for_and_nothing_else(scene: Scene) -> None:
    async with scene.renderer(nova(), cinder()):
        await scene.tell()
        first = await scene.delta(1)
        jobs = len(scene.engine.jobs)
        partition = scene.bus.topology.partition(Stage.RENDERER, HOST)
        wanted = (named("nova-bb1"), named("never-there"))
        request = ResyncRequest(stage=Stage.RENDERER, partition=partition, host=HOST, objects=wanted)
        await scene.neighbours.request(request)
        second = await scene.delta(2)
        await scene.neighbours.request(ResyncRequest(stage=Stage.RENDERER, partition=partition))
        third = await scene.delta(3)
        assert len(scene.engine.jobs) == jobs
    assert scene.opened(second) == {named("nova-bb1"): scene.opened(first)[named("nova-bb1")]}
    assert third.manifests == {}
    assert first.index == second.index == third.index
    assert second.trace.correlation_id == request.trace.correlation_id
    assert first.provenance == second.provenance == third.provenance


async def test_a_delta_causes_no_more_manifests_than_fit(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcenter_operator.renderer.vcenter.MANIFEST_BYTES", 1000)
    async with scene.renderer(nova(), cinder()):
        await scene.tell()
        delta = await scene.delta(1)
    assert 0 < len(delta.manifests) < len(delta.index) == 4


async def test_a_manifest_too_big_for_kubernetes_holds_up_no_other(scene: Scene) -> None:
    big = resource("a-big", configmap("big-{{ name }}", text="{{ 'x' * 3500000 }}"))
    aliases = resource(
        "aliases", configmap("aliases-{{ name }}", text="&a {{ 'x' * 100000 }}", more="[{{ '*a,' * 300 }}]")
    )
    async with scene.renderer(big, nova(), aliases):
        await scene.tell()
        delta = await scene.delta(1)
        await becomes(lambda: scene.applier.statements == [delta], "it arrived")
    assert delta.manifests.keys() == delta.index.keys() == {named("nova-bb1"), named("nova-bb2")}
    assert {each.template for each in delta.unknown} == {"monsoon3/a-big", "monsoon3/aliases"}
    assert "too big: 3500" in delta.unknown[0].reason


async def test_a_manifest_that_does_not_fit_beside_others_leaves_room_for_what_does(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcenter_operator.renderer.vcenter.MANIFEST_BYTES", 5000)
    async with scene.renderer(resource("a-big", configmap("big-{{ name }}", text="{{ 'x' * 6000 }}")), nova()):
        await scene.tell()
        delta = await scene.delta(1)
    assert delta.manifests.keys() == {named("nova-bb1"), named("nova-bb2")}
    assert len(delta.index) == 4


async def test_the_template_with_the_most_objects_fails_where_one_message_cannot_name_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcenter_operator.renderer.core.delta.INDEX_BYTES", 4000)
    many = "{% for i in range(20) %}" + configmap("many-{{ name }}-{{ i }}") + "---\n{% endfor %}"
    async with scene.renderer(resource("many", many), nova(), cinder()) as service:
        await scene.tell()
        delta = await scene.delta(1)
        await becomes(lambda: scene.applier.statements == [delta], "it arrived")
        account = service.vcenters[HOST].account
    assert len(delta.index) == 4
    assert {(each.template, each.unit) for each in delta.unknown} == {("monsoon3/many", BB1), ("monsoon3/many", BB2)}
    assert "more objects for this vCenter than one message can name" in delta.unknown[0].reason
    assert account is not None
    assert len(account.outcomes["vcenter_cluster/monsoon3/many.yaml.j2"].failures) == 2


async def test_statements_are_repeated_without_manifests(scene: Scene) -> None:
    async with scene.renderer(nova(), repeat_every=0.1):
        await scene.tell()
        first, again, once_more = [await scene.delta(number) for number in (1, 2, 3)]
        assert len(scene.engine.jobs) == 2
    assert again.index == first.index
    assert again.provenance == once_more.provenance == first.provenance
    assert again.manifests == {}
    assert len({first.trace.message_id, again.trace.message_id, once_more.trace.message_id}) == 3
    assert again.trace.correlation_id == first.trace.correlation_id


async def test_a_failed_publish_is_made_good(scene: Scene) -> None:
    async with scene.renderer(nova()):
        await scene.taken()
        scene.bus.failures = 1
        await scene.tell()
        await scene.delta(1)
        scene.bus.failures = 2
        scene.templates.hold(nova("  more: x\n"))
        second = await scene.delta(2)
        assert scene.bus.failures == 0
    assert second.manifests.keys() == {named("nova-bb1"), named("nova-bb2")}
    assert len(scene.engine.jobs) == 4


async def test_the_chain_of_causes_goes_on(scene: Scene) -> None:
    stated = inventory()
    async with scene.renderer(nova()):
        await scene.neighbours.publish(stated)
        delta = await scene.delta(1)
    assert delta.trace.correlation_id == stated.trace.correlation_id
    assert delta.trace.causation_id == stated.trace.message_id


async def test_nothing_is_stated_for_a_partition_that_was_lost(scene: Scene) -> None:
    async with scene.renderer(nova()) as service:
        await scene.tell()
        await scene.delta(1)
        vcenter = service.vcenters[HOST]
        vcenter.ownership.end()
        scene.templates.hold(nova("  more: x\n"))
        await becomes(lambda: vcenter.refreshing is not None and vcenter.refreshing.done(), "it gave up")
        await service.release(vcenter.ownership)
        assert HOST not in service.vcenters
    assert len(scene.deltas()) == 1


async def test_a_change_while_rendering_is_not_forgotten(scene: Scene) -> None:
    scene.engine.waits_for = asyncio.Event()
    async with scene.renderer(nova()) as service:
        await scene.tell()
        await becomes(lambda: HOST in service.vcenters, "it came")
        scene.templates.hold(nova("  more: x\n"))
        await becomes(lambda: service.vcenters[HOST].refreshing is not None, "it is told")
        scene.engine.waits_for.set()
        await becomes(lambda: scene.deltas() and scene.opened(scene.deltas()[-1]), "stated")
        await becomes(
            lambda: any("more" in each["data"] for delta in scene.deltas() for each in scene.opened(delta).values()),
            "the newer one",
        )
        scene.engine.waits_for.clear()
        scene.templates.hold(nova("  more: y\n"))
        await becomes(lambda: scene.engine.waiting, "it is being rendered")
        scene.templates.hold(nova("  more: z\n"))
        await becomes(lambda: service.inputs.current and "z" in service.inputs.current.templates[NOVA].source, "known")
        scene.engine.waits_for.set()
        await becomes(
            lambda: [each["data"]["more"] for each in scene.opened(scene.deltas()[-1]).values()] == ["z", "z"],
            "the newest",
        )


async def test_the_bus_being_away_delays_the_taking(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = scene.bus.request, []

    async def request(what: ResyncRequest) -> None:
        asked.append(what)
        if len(asked) <= 2:
            raise BusUnavailable("the broker is away")
        await real(what)

    monkeypatch.setattr(scene.bus, "request", request)
    async with scene.renderer(nova()):
        await scene.taken()
