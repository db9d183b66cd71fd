"""The collector as a whole, on an in-process bus: what it states, when, and what it survives."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.vcenter import NO_RIGHT, cluster
from tests.unit.collector.scene import HOST, OTHER, Bus, Scene, becomes, present
from vcenter_operator.collector.ports import CertificateRefused, Endpoint, NotAnswering, SessionEnded, Unreachable
from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.errors import OwnershipLost
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import ResyncRequest, Stage
from vcenter_operator.common.record import Record

A, B, C = (cluster(f"domain-{letter}", f"production{letter}") for letter in "abc")
ALL = ["productiona", "productionb"]


def is_stated(scene: Scene, *names: str, host: str = HOST) -> bool:
    return scene.known(host) == list(names)


async def test_a_vcenter_in_the_zone_is_collected_and_its_changes_are_stated(scene: Scene) -> None:
    vcenter = scene.vcenter(A, B)
    async with scene.collector():
        change = present()
        await scene.say(change)
        await becomes(lambda: is_stated(scene, *ALL), "the clusters stated")
        vcenter.hold(A, B, C)
        await becomes(lambda: is_stated(scene, *ALL, "productionc"), "the new cluster stated")
    first, second = scene.inventories()
    assert first.present
    assert (first.revision, first.zone.revision, first.zone.serial) == (Revision(1, 1), Revision(1, 1), 7)
    assert second.revision == Revision(1, 2)
    assert (first.trace.correlation_id, first.trace.causation_id) == (
        change.trace.correlation_id, change.trace.message_id,
    )  # fmt: skip
    assert second.trace.causation_id is None, "the vCenter itself began this chain"
    assert vcenter.endpoints == [Endpoint(HOST, ("10.0.0.1",))]
    assert scene.shown("Collected") == ("Complete", "everything about 3 clusters was read")


async def test_it_asks_discovery_when_it_takes_a_partition(scene: Scene) -> None:
    async with scene.collector():
        await becomes(lambda: scene.discovery.asked, "discovery asked")
    assert scene.discovery.asked[0].stage is Stage.DISCOVERY


async def test_an_inventory_is_stated_only_when_it_changed(scene: Scene) -> None:
    vcenter = scene.vcenter(A, B)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, *ALL), "the clusters stated")
        writes = len(scene.store.writes)
        for clusters in ([B, A], [A, B], [B, A]):
            vcenter.readings = 0
            vcenter.hold(*clusters)
            await becomes(lambda: vcenter.readings, "another reading")
        await scene.say(present())
        vcenter.hold(A)
        await becomes(lambda: is_stated(scene, "productiona"), "the change stated")
        await becomes(lambda: len(scene.collected().clusters) == 1, "the change recorded")
    assert [inventory.revision.sequence for inventory in scene.inventories()] == [1, 2]
    assert len(scene.store.writes) == writes + 1


async def test_the_first_change_is_read_at_once_and_what_follows_it_together(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    vcenter = scene.vcenter(A)
    monkeypatch.setattr("vcenter_operator.collector.watch._PACE", 0.0)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "the clusters stated")
        monkeypatch.setattr("vcenter_operator.collector.watch._PACE", 2.0)
        vcenter.hold(A, B)
        began = asyncio.get_running_loop().time()
        await becomes(lambda: is_stated(scene, *ALL), "the first change stated", within=1.9)
        vcenter.readings = 0
        for _ in range(20):
            vcenter.tell()
            await asyncio.sleep(0.01)
        vcenter.hold(A, B, C)
        await becomes(lambda: is_stated(scene, *ALL, "productionc"), "what followed stated", within=20)
        assert asyncio.get_running_loop().time() - began >= 1.9
    assert vcenter.readings == 1


async def test_a_periodic_reading_finds_what_was_not_reported(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"snapshot_every": 0.05})
    vcenter = scene.vcenter(A, B)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, *ALL), "the clusters stated")
        vcenter.clusters.pop(B.moid)
        await becomes(lambda: is_stated(scene, "productiona"), "the change found")


async def test_what_came_and_went_between_two_reports_is_found_soon(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcenter_operator.collector.watch._SETTLES", 0.2)
    vcenter = scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "the clusters stated")
        vcenter.hold(A, B)
        await becomes(lambda: is_stated(scene, *ALL), "what came stated")
        vcenter.clusters.pop(B.moid)
        await becomes(lambda: is_stated(scene, "productiona"), "that it went")
        await becomes(lambda: len(scene.collected().clusters) == 1, "forgotten")
        await asyncio.sleep(0.3)
        vcenter.readings = 0
        await asyncio.sleep(0.5)
    assert not vcenter.readings, "nothing new, nothing to read again"


async def test_a_resync_repeats_with_the_same_revision(scene: Scene) -> None:
    scene.vcenter(A)
    scene.vcenter(B, host=OTHER)
    async with scene.collector():
        await scene.say(present())
        await scene.say(present(OTHER))
        await becomes(lambda: is_stated(scene, "productiona") and is_stated(scene, "productionb", host=OTHER), "both")
        await scene.outside.request(ResyncRequest(stage=Stage.COLLECTOR, partition=0, host=OTHER))
        await becomes(lambda: len(scene.inventories(OTHER)) == 2, "one repeated")
        await scene.outside.request(ResyncRequest(stage=Stage.COLLECTOR, partition=0))
        await becomes(lambda: len(scene.inventories(OTHER)) == 3 and len(scene.inventories()) == 2, "both repeated")
    first, second = scene.inventories()
    assert first.model_dump(exclude={"trace"}) == second.model_dump(exclude={"trace"})
    assert first.trace.message_id != second.trace.message_id


async def test_statements_are_repeated_now_and_then(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"repeat_every": 0.05})
    scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: len(scene.inventories()) > 3, "repeated")
        assert scene.store.reads > 2, "it is seen to that the record is there"
        assert scene.store.questions == 1, "which is known from a watch"
    assert {inventory.revision for inventory in scene.inventories()} == {Revision(1, 1)}


async def test_statements_are_repeated_though_the_record_is_away(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"repeat_every": 0.05})
    scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        scene.store.failing = True
        said = len(scene.inventories())
        await becomes(lambda: len(scene.inventories()) > said + 2, "repeated")


async def test_a_record_that_does_not_answer_for_one_vcenter_keeps_no_other_from_being_repeated(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    scene.vcenter(B, host=OTHER)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        await scene.say(present(OTHER))
        await becomes(lambda: is_stated(scene, "productionb", host=OTHER), "the other stated")
        scene.store.hanging = True
        vcenter.readings = 0
        vcenter.hold(A, C)
        await becomes(lambda: vcenter.readings, "a cluster to be recorded first")
        await scene.outside.request(ResyncRequest(stage=Stage.COLLECTOR, partition=0))
        await becomes(lambda: len(scene.inventories(OTHER)) == 2, "the other repeated")
        assert is_stated(scene, "productiona")


async def test_what_was_stated_last_is_recorded_when_it_stops(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcenter_operator.collector.recording._SOON", 3600.0)
    vcenter = scene.vcenter(A, B)
    task = asyncio.create_task(scene.service(scene.outside).run())
    await scene.say(present())
    await becomes(lambda: is_stated(scene, *ALL), "stated")
    vcenter.hold(A)
    await becomes(lambda: is_stated(scene, "productiona"), "the change stated")
    assert len(scene.collected().clusters) == 2
    task.cancel()
    await asyncio.wait([task])
    assert [each.cluster_name for each in scene.collected().clusters] == ["productiona"]
    assert vcenter.open == 0


async def test_a_vcenter_that_left_the_zone_is_stated_gone_and_its_session_ended(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        await scene.say(present(revision=Revision(1, 2), serial=8, present=False))
        await becomes(lambda: not scene.last().present, "stated gone")
        assert vcenter.open == 0
        assert (scene.last().revision, scene.last().zone.serial) == (Revision(1, 2), 8)
        assert [entry.cluster_name for entry in scene.collected().clusters] == ["productiona"]
        await becomes(lambda: scene.shown("Connected")[0] == "NotInZone", "shown")
        # It comes back, blind: what it had is still known.
        vcenter.blind = True
        await scene.say(present(revision=Revision(1, 3)))
        await becomes(lambda: scene.unknown() == ["productiona"], "unknown")
        assert scene.last().revision == Revision(1, 3)
    assert [inventory.present for inventory in scene.inventories()] == [True, False, True]


async def test_a_vcenter_that_is_gone_before_it_was_ever_seen_is_stated_gone(scene: Scene) -> None:
    async with scene.collector():
        await scene.say(present(present=False))
        await becomes(scene.inventories, "stated")
    assert not scene.last().present


async def test_an_older_statement_of_discovery_changes_nothing(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    async with scene.collector():
        await scene.say(present(revision=Revision(2, 5)))
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        await scene.say(present(revision=Revision(2, 4), present=False))
        await scene.say(present(revision=Revision(1, 9), addresses=("10.0.0.9",)))
        vcenter.hold(A, B)
        await becomes(lambda: is_stated(scene, *ALL), "the change stated")
    assert all(inventory.present for inventory in scene.inventories())
    assert len(vcenter.endpoints) == 1


async def test_not_even_one_that_the_bus_lets_through(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    service = scene.service(scene.outside)
    ownership = Ownership(Stage.COLLECTOR, 0, 1)
    await service.take(ownership)
    await service.handle(present(revision=Revision(2, 5)), ownership)
    await becomes(lambda: is_stated(scene, "productiona"), "stated")
    await service.handle(present(revision=Revision(2, 4), present=False), ownership)
    assert vcenter.open == 1
    await service.release(ownership)
    with pytest.raises(OwnershipLost):
        await service.handle(present(revision=Revision(2, 6)), ownership)


async def test_a_newer_zone_is_passed_on_without_a_new_session(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        await scene.say(present(revision=Revision(2, 1), serial=9))
        await becomes(lambda: scene.last().zone.serial == 9, "the newer zone stated")
    assert scene.last().revision == Revision(1, 1)
    assert len(vcenter.endpoints) == 1


async def test_a_changed_address_is_followed(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        await scene.say(present(revision=Revision(1, 2), addresses=("10.0.0.2",)))
        await becomes(lambda: len(vcenter.endpoints) == 2, "logged on again")
        await becomes(lambda: vcenter.open == 1, "the old session ended")
    assert vcenter.endpoints[1].addresses == ("10.0.0.2",)


async def test_a_vcenter_that_is_down_or_hangs_concerns_nobody_else_and_is_tried_until_it_works(scene: Scene) -> None:
    down, hung = scene.vcenter(A), scene.vcenter(A, host=OTHER)
    third = "vc-c-0.cc.qa-de-1.cloud.sap"
    scene.vcenter(B, host=third)
    down.failure, hung.hanging = Unreachable("Connection refused"), True
    async with scene.collector():
        for host in (HOST, OTHER, third):
            await scene.say(present(host))
        await becomes(lambda: is_stated(scene, "productionb", host=third), "the third stated")
        await becomes(lambda: down.probes > 5, "tried again and again")
        assert len(down.endpoints) == 3, "after three failures it has to answer a probe before a login is tried"
        reason, message = scene.shown("Connected")
        assert reason == "Unreachable"
        assert message.startswith("Connection refused; failed 3 times in a row or more: only probed")
        assert not scene.inventories()
        down.failure = None
        await becomes(lambda: is_stated(scene, "productiona"), "stated once it is up")
    assert scene.shown("Connected")[0] == "LoggedOn"


async def test_a_session_that_breaks_is_replaced_and_states_nothing_new(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        for failure in (SessionEnded("over"), NotAnswering("too late"), CertificateRefused("expired"), KeyError("?")):
            vcenter.failure = failure
            vcenter.tell()
            vcenter.endpoints.clear()
            vcenter.probes = 0
            await becomes(lambda: len(vcenter.endpoints) + vcenter.probes > 2, "tried again", 30)
            assert vcenter.open == 0
            vcenter.failure = None
            await becomes(lambda: vcenter.open == 1, "logged on again")
        vcenter.hold(A, B)
        await becomes(lambda: is_stated(scene, *ALL), "the change stated")
    assert len(scene.inventories()) == 2


async def test_three_refused_logins_are_enough_until_the_password_changes(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    scene.vcenter(B, host=OTHER)
    vcenter.password = scene.secret.configuration.password_for(HOST)
    scene.secret.set("wrong")
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: "3 times in a row" in scene.shown("Connected")[1], "shown")
        assert len(vcenter.endpoints) == 3
        assert scene.shown("Connected")[0] == "LoginRefused"
    # Whoever takes it over goes on waiting: neither a rolling restart nor a changed address may lock the account.
    for epoch in (2, 3):
        scene.renderer.heard.clear()
        scene.store.reads = 0
        async with scene.collector():
            await scene.say(present())
            await scene.say(present(revision=Revision(epoch, 2), addresses=(f"10.0.0.{epoch}",)))
            await scene.say(present(OTHER))
            await becomes(lambda: scene.known(OTHER), "another is stated")
            await becomes(lambda: scene.store.reads > 1, "the record is read")
            assert len(vcenter.endpoints) == 3
            assert "3 times in a row" in scene.shown("Connected")[1]
    async with scene.collector():
        await scene.say(present(revision=Revision(4, 1)))
        scene.secret.set("seed")
        await becomes(lambda: is_stated(scene, "productiona"), "logged on with the new password")
    assert len(vcenter.endpoints) == 4
    assert scene.collected().refused is None


async def test_a_secret_that_changes_otherwise_makes_no_refused_login_forgotten(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    vcenter.password = "another"
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: "3 times in a row" in scene.shown("Connected")[1], "shown")
        scene.secret.put(vcenter_thumbprints=f'{{"{HOST}": "{"BB:" * 31}bb"}}')
        scene.store.reads = 0
    async with scene.collector():
        await scene.say(present())
        scene.vcenter(B, host=OTHER)
        await scene.say(present(OTHER))
        await becomes(lambda: scene.known(OTHER) and scene.store.reads > 1, "another is stated")
        scene.secret.put(anything="else")
        scene.secret.put(vcenter_thumbprints="")
        await becomes(lambda: len(scene.fakes.vcenters[OTHER].endpoints) == 1, "seen")
        assert len(vcenter.endpoints) == 3


async def test_no_login_is_tried_before_it_is_recorded_that_the_last_one_was_refused(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    vcenter.password = "another"
    scene.store.away = True
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: scene.store.refused_writes > 2, "tried to record it")
        assert len(vcenter.endpoints) == 1
    async with scene.collector():  # nobody knows of the first one: that is one more, and not three
        await scene.say(present())
        await becomes(lambda: len(vcenter.endpoints) == 2 and scene.store.refused_writes > 5, "tried by the next owner")
        scene.store.away = False
        await becomes(lambda: len(vcenter.endpoints) == 4, "the record is back")
        await becomes(lambda: "3 times in a row" in scene.shown("Connected")[1], "shown")
        refused = scene.collected().refused
        assert refused is not None
        assert refused.times == 3


async def test_a_record_that_stays_away_makes_logins_rare_and_does_not_end_them(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"login_pause": 0.2})
    vcenter = scene.vcenter(A)
    vcenter.password = "another"
    scene.store.away = True
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: len(vcenter.endpoints) > 2, "tried all the same")


async def test_an_unreachable_interlude_does_not_make_refused_logins_forgotten(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"login_pause": 0.2})
    vcenter = scene.vcenter(A)
    vcenter.password = "another"
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: len(vcenter.endpoints) == 4, "refused, and again after the pause")
        vcenter.failure = Unreachable("Connection refused")
        await becomes(lambda: scene.shown("Connected")[0] == "Unreachable", "the interlude")
        tried = len(vcenter.endpoints)
    scene.settings = scene.settings.model_copy(update={"login_pause": 3600})
    async with scene.collector():
        await scene.say(present())
        vcenter.failure = None
        scene.vcenter(B, host=OTHER)
        await scene.say(present(OTHER))
        await becomes(lambda: scene.known(OTHER), "another is stated")
        refused = scene.collected().refused
        assert refused is not None
        assert refused.times >= 4
        assert len(vcenter.endpoints) == tried, "the next owner rests too, though Unreachable was shown last"


async def test_a_vcenter_that_ends_every_session_is_not_logged_on_to_again_and_again(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"retry_longest": 0.4})
    vcenter = scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        for _ in range(3):
            await becomes(lambda: vcenter.open == 1 and is_stated(scene, "productiona"), "logged on")
            vcenter.failure = SessionEnded("over")
            vcenter.tell()
            await becomes(lambda: vcenter.open == 0, "ended")
            vcenter.failure = None
        assert vcenter.probes == 0
        await becomes(lambda: vcenter.open == 1, "logged on once more")
        assert vcenter.probes == 1, "the circuit was open, though every session had worked for a moment"
        await asyncio.sleep(0.5)  # outlasts the longest delay
        vcenter.failure = SessionEnded("over")
        vcenter.tell()
        await becomes(lambda: vcenter.open == 0, "ended")
        vcenter.failure = None
        await becomes(lambda: vcenter.open == 1, "logged on again")
        assert vcenter.probes == 1, "a session that held closes the circuit"


async def test_a_changed_password_is_used_at_once(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        scene.secret.set("changed")
        vcenter.password = scene.secret.configuration.password_for(HOST)
        await becomes(lambda: len(vcenter.endpoints) == 2 and vcenter.open == 1, "logged on anew, with the new one")


async def test_a_changed_thumbprint_is_used_at_once_and_concerns_no_other(scene: Scene) -> None:
    vcenter, other = scene.vcenter(A), scene.vcenter(B, host=OTHER)
    scene.settings = scene.settings.model_copy(update={"vcenter_thumbprints": {HOST: frozenset({"a" * 64})}})
    async with scene.collector():
        await scene.say(present())
        await scene.say(present(OTHER))
        await becomes(lambda: scene.known() and scene.known(OTHER), "stated")
        scene.secret.put(vcenter_thumbprints=f'{{"{HOST.upper()}.": "{"BB:" * 31}bb"}}')
        await becomes(lambda: len(vcenter.endpoints) == 2 and vcenter.open == 1, "logged on anew, with the new one")
        scene.secret.put(another_key="concerns nobody here")
        scene.secret.put(vcenter_thumbprints="")
        await becomes(lambda: len(vcenter.endpoints) == 3 and vcenter.open == 1, "the setting counts again")
    assert [endpoint.thumbprints for endpoint in vcenter.endpoints] == [{"a" * 64}, {"b" * 64}, {"a" * 64}]
    assert [endpoint.thumbprints for endpoint in other.endpoints] == [frozenset()]


async def test_an_account_that_lost_its_rights_deletes_nothing_even_after_a_restart(scene: Scene) -> None:
    vcenter = scene.vcenter(A, B)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, *ALL), "stated")
        vcenter.blind = True
        vcenter.tell()
        await becomes(lambda: scene.unknown() == ALL, "unknown")
        assert scene.known() == []
        await becomes(lambda: scene.shown("Collected")[0] == "Partial", "shown")
    scene.renderer.heard.clear()
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: scene.unknown() == ALL, "still unknown after a restart")
        assert scene.last().revision == Revision(2, 1)
        vcenter.blind = False
        vcenter.tell()
        await becomes(lambda: is_stated(scene, *ALL), "known again")


async def test_a_cluster_that_cannot_be_placed_may_be_any_that_is_not_stated(scene: Scene) -> None:
    """Somebody deleted the record while nobody kept it, and the cluster that had objects is nameless just then."""
    vcenter = scene.vcenter(A, replace(B, name=NO_RIGHT))
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        assert B.moid in (scene.last().partial or "")
        vcenter.hold(A, B)
        await becomes(lambda: is_stated(scene, *ALL), "placed")
        assert scene.last().partial is None
        vcenter.hold(A, B, replace(C, name=NO_RIGHT))
        await becomes(lambda: scene.last().partial, "another one")


async def test_what_went_while_it_was_down_is_found_gone(scene: Scene) -> None:
    vcenter = scene.vcenter(A, B)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, *ALL), "stated")
    vcenter.hold(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated without it")
        await becomes(lambda: len(scene.collected().clusters) == 1, "forgotten")
    assert not scene.unknown()
    assert [each.moid for each in vcenter.asked] == [B.moid]


async def test_a_broker_that_is_away_is_waited_for_on_the_same_session(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    bus = Bus(scene.broker, scene.epochs)
    bus.refusing = True
    async with scene.collector(bus):
        await scene.say(present())
        await becomes(lambda: vcenter.readings > 3, "read again")
        bus.refusing = False
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
    assert len(vcenter.endpoints) == 1
    assert scene.last().revision == Revision(1, 1)


async def test_an_ownership_that_lapsed_and_was_confirmed_again_goes_on(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    service = scene.service(scene.outside)
    ownership = Ownership(Stage.COLLECTOR, 0, 1, valid_for=3600)
    await service.take(ownership)
    await service.handle(present(), ownership)
    await becomes(lambda: is_stated(scene, "productiona"), "stated")
    ownership.confirmed_at = float("-inf")
    vcenter.readings = 0
    vcenter.hold(A, B)
    await becomes(lambda: vcenter.readings > 2, "read again")
    assert is_stated(scene, "productiona"), "nothing is stated meanwhile"
    ownership.renew()
    await becomes(lambda: is_stated(scene, *ALL), "stated")
    await service.release(ownership)
    assert vcenter.open == 0


async def test_a_record_that_is_away_is_waited_for(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    scene.store.failing = True
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: scene.store.reads > 3, "asked again")
        assert not vcenter.endpoints, "without the record nothing can be concluded"
        scene.store.failing = False
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
        vcenter.hold(A, B)
        scene.store.failing = True
        vcenter.tell()
        await becomes(lambda: vcenter.readings > 3, "read again")
        assert is_stated(scene, "productiona")
        scene.store.failing = False
        await becomes(lambda: is_stated(scene, *ALL), "the change stated")


async def test_a_partition_that_is_lost_and_had_again_costs_no_login(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    service = scene.service(scene.outside)
    for epoch in (1, 2, 3):
        ownership = Ownership(Stage.COLLECTOR, 0, epoch)
        await service.take(ownership)
        await service.handle(present(), ownership)
        await becomes(lambda e=epoch: scene.inventories() and scene.last().revision.epoch == e, "stated")  # type: ignore[misc]
        vcenter.hold(*([A, B] if epoch == 2 else [A]))
        await becomes(lambda e=epoch: is_stated(scene, *(ALL if e == 2 else ["productiona"])), "a change")  # type: ignore[misc]
        ownership.end()
        await service.release(ownership)
        assert vcenter.open == 1
    assert len(vcenter.endpoints) == 1
    ownership = Ownership(Stage.COLLECTOR, 0, 4)
    await service.take(ownership)
    await service.handle(present(addresses=("10.0.0.2",)), ownership)
    await becomes(lambda: scene.last().revision.epoch == 4, "stated from another address")
    assert (len(vcenter.endpoints), vcenter.open_at_most) == (2, 1)
    await service.release(ownership)
    assert vcenter.open == 0, "given up in good order"


async def test_a_session_of_a_partition_that_another_has_is_ended_soon(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcenter_operator.collector.keeping._KEPT", 0.1)
    vcenter = scene.vcenter(A)
    service = scene.service(scene.outside)
    ownership = Ownership(Stage.COLLECTOR, 0, 1)
    await service.take(ownership)
    await service.handle(present(), ownership)
    await becomes(scene.known, "stated")
    ownership.end()
    await service.release(ownership)
    assert vcenter.open == 1
    await becomes(lambda: vcenter.open == 0, "ended")


async def test_who_stops_ends_what_it_keeps(scene: Scene) -> None:
    vcenter = scene.vcenter(A)
    bus = Bus(scene.broker, scene.epochs)
    task = asyncio.create_task(scene.service(bus).run())
    await scene.say(present())
    await becomes(scene.known, "stated")
    bus.crash()
    task.cancel()
    await asyncio.wait([task])
    assert vcenter.open == 0


async def test_giving_up_a_partition_ends_its_sessions(scene: Scene) -> None:
    vcenter, hung = scene.vcenter(A), scene.vcenter(host=OTHER)
    hung.hanging = True
    async with scene.collector():
        await scene.say(present())
        await scene.say(present(OTHER))
        await becomes(lambda: vcenter.open == 1 and hung.endpoints, "sessions")
    assert vcenter.open == 0


async def test_a_new_owner_states_anew_under_a_higher_epoch(scene: Scene) -> None:
    scene.vcenter(A)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: is_stated(scene, "productiona"), "stated")
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: len(scene.inventories()) == 2, "stated anew")
    first, second = scene.inventories()
    assert (first.revision, second.revision) == (Revision(1, 1), Revision(2, 1))
    assert first.older_than(second)


async def test_a_record_that_somebody_deleted_is_written_again_while_it_is_still_known(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"repeat_every": 0.05})
    scene.vcenter(A, B)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: scene.shown("Collected") == ("Complete", "everything about 2 clusters was read"), "shown")
        recorded = scene.collected()
        del scene.store.records[HOST]
        await becomes(lambda: HOST in scene.store.records, "the record is back")
        assert scene.collected() == recorded


async def test_a_record_that_somebody_damaged_is_no_empty_one(scene: Scene) -> None:
    """Else nothing would be known of B, and its absence from a list would be its end."""
    scene.vcenter(A)
    problems = {Stage.COLLECTOR: "status.collector: was edited"}
    scene.store.records[HOST] = Record(host=HOST, version="1", problems=problems)
    async with scene.collector():
        await scene.say(present())
        await becomes(lambda: scene.store.reads > 5, "several attempts")
        assert scene.inventories() == []
        scene.store.records[HOST] = Record(host=HOST, version="2")
        await becomes(lambda: is_stated(scene, "productiona"), "mended, it goes on")
