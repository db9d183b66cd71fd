"""The discovery as a whole, on an in-process bus: what it states, remembers, holds and survives."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from tests.fakes.discovery import Bus, Scene, Told, becomes, fqdn
from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import ResyncRequest, Stage
from vcenter_operator.common.record import Discovered
from vcenter_operator.discovery.ports import ZoneUnavailable
from vcenter_operator.discovery.watching import ZoneWatch

TWO = {"vc-a-0": "10.0.0.1", "vc-b-0": "10.0.0.2"}
FOUR = TWO | {"vc-c-0": "10.0.0.3", "vc-d-0": "10.0.0.4"}


def away() -> Exception:
    return ZoneUnavailable("ServerUnreachable", "DNS server 10.0.0.53:53: no answer in time")


def refused() -> Exception:
    return ZoneUnavailable("ServerRefused", "DNS server 10.0.0.53:53: it refuses with REFUSED")


def condition(scene: Scene, label: str) -> tuple[str, str]:
    (only,) = scene.store.discovered(fqdn(label)).conditions
    assert only.type == "Discovered"
    return only.status, only.reason


async def test_each_vcenter_of_the_zone_is_stated_and_remembered(scene: Scene) -> None:
    scene.zone.hold(TWO, serial=7)
    async with scene.discovery():
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": True}, "both stated")
    (change,) = scene.of("vc-a-0")
    assert (change.revision, change.serial, change.addresses) == (Revision(1, 1), 7, ("10.0.0.1",))
    recorded = scene.store.discovered(fqdn("vc-a-0"))
    assert (recorded.present, recorded.serial, recorded.revision) == (True, 7, Revision(1, 1))
    assert condition(scene, "vc-a-0") == ("True", "InZone")


async def test_only_what_changed_is_stated_at_a_new_serial(scene: Scene) -> None:
    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        scene.zone.hold({"vc-a-0": "10.0.0.9", "vc-c-0": "10.0.0.3"})
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": False, "vc-c-0": True}, "the change stated")
        looks = scene.zone.looks
        scene.zone.hold({"vc-a-0": "10.0.0.9", "vc-c-0": "10.0.0.3"})
        await becomes(lambda: scene.zone.looks > looks + 5, "some more looks")
    assert len(scene.heard) == 5
    assert scene.of("vc-a-0")[-1].addresses == ("10.0.0.9",)
    assert [change.revision.sequence for change in scene.heard] == sorted({c.revision.sequence for c in scene.heard})
    assert condition(scene, "vc-b-0") == ("False", "NotInZone")


async def test_an_unchanged_serial_is_not_transferred_again(scene: Scene) -> None:
    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: scene.zone.looks > 10, "ten looks")
    assert len(scene.zone.transfers) == 1


async def test_any_other_serial_is_transferred_even_a_lower_one_in_the_end(scene: Scene) -> None:
    scene.zone.hold(TWO, serial=100)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        scene.zone.hold(TWO | {"vc-c-0": "10.0.0.3"}, serial=3)
        await becomes(lambda: "vc-c-0" in scene.told(), "the newcomer stated")


async def test_a_hint_is_followed_at_once(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"dns_poll_every": 3600.0})
    async with scene.discovery():
        await becomes(lambda: scene.zone.looks, "the first look")
        scene.zone.hold(TWO)
        scene.zone.tell()
        await becomes(lambda: len(scene.heard) == 2, "both stated")


async def test_nothing_is_stated_before_a_complete_zone_is_known(scene: Scene) -> None:
    await scene.store.write(fqdn("vc-a-0"), Discovered(present=True, serial=1, revision=Revision(0, 1)))
    scene.zone.failure = away
    async with scene.discovery() as bus:
        await becomes(lambda: scene.zone.looks > 3, "three attempts")
        await bus.request(ResyncRequest(stage=Stage.DISCOVERY, partition=0))
        await becomes(lambda: scene.zone.looks > 6, "three more")
        assert scene.heard == []
        scene.zone.failure = None
        scene.zone.hold({"vc-a-0": "10.0.0.1"})
        await becomes(lambda: scene.told() == {"vc-a-0": True}, "stated at last")


async def test_while_the_zone_cannot_be_read_what_was_known_stays_and_is_repeated(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"repeat_every": 0.02, "zone_unreadable_after": 0.05})
    scene.zone.hold(TWO)
    with capture_logs() as logs:
        async with scene.discovery():
            await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": True}, "both stated")
            scene.zone.failure = away
            await becomes(lambda: condition(scene, "vc-a-0") == ("Unknown", "ServerUnreachable"), "the trouble shown")
            before = len(scene.heard)
            await becomes(lambda: len(scene.heard) > before + 4, "repeated all the same")
            scene.zone.failure = None
            await becomes(lambda: condition(scene, "vc-a-0") == ("True", "InZone"), "the trouble over")
    assert {(c.present, c.revision) for c in scene.of("vc-a-0")} == {(True, Revision(1, 1))}
    warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert warnings == ["the zone cannot be read: what was last known stays"], "said once, not at every attempt"
    assert "the zone is read again" in [entry["event"] for entry in logs]


async def test_trouble_of_another_kind_is_said_and_no_error_ends_the_discovery(scene: Scene) -> None:
    with capture_logs() as logs:
        async with scene.discovery():
            for failure in (away, ValueError, refused):
                scene.zone.failure = failure
                scene.zone.looks = 0
                await becomes(lambda: scene.zone.looks > 2, "two attempts")
            scene.zone.failure = None
            scene.zone.hold(TWO)
            await becomes(lambda: len(scene.heard) == 2, "both stated")
    reasons = [entry["reason"] for entry in logs if entry["log_level"] == "warning"]
    assert reasons == ["ServerUnreachable", "UnexpectedError", "ServerRefused"]


async def test_what_went_while_nobody_looked_is_stated_gone_after_a_restart(scene: Scene) -> None:
    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
    scene.zone.hold({"vc-a-0": "10.0.0.1"})
    async with scene.discovery():
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": False}, "the one that went")
    assert scene.of("vc-b-0")[-1].revision.epoch == 2
    assert scene.of("vc-a-0")[-1].revision.epoch == 2, "all is restated in the new epoch"
    async with scene.discovery():
        await becomes(lambda: scene.of("vc-b-0")[-1].revision.epoch == 3, "gone ones are restated too")
    assert not scene.of("vc-b-0")[-1].present


async def test_since_when_one_is_gone_outlives_restarts_and_ends_when_it_is_back(scene: Scene) -> None:
    def since() -> datetime | None:
        section = scene.store.records[fqdn("vc-b-0")].discovered
        assert section is not None
        return section.gone_since

    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        assert since() is None
        scene.zone.hold({"vc-a-0": "10.0.0.1"})
        await becomes(lambda: not scene.of("vc-b-0")[-1].present, "the one that went")
    long_ago = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    section = scene.store.records[fqdn("vc-b-0")].discovered
    assert section is not None
    assert section.gone_since is not None
    await scene.store.write(fqdn("vc-b-0"), section.model_copy(update={"gone_since": long_ago}))
    async with scene.discovery():
        await becomes(lambda: scene.of("vc-b-0")[-1].revision.epoch == 2, "restated")
        assert since() == long_ago
        scene.zone.hold(TWO)
        await becomes(lambda: scene.of("vc-b-0")[-1].present, "back")
        assert since() is None


async def test_killed_after_recording_and_before_publishing_loses_nothing(scene: Scene) -> None:
    scene.zone.hold(TWO)
    bus = scene.bus()
    bus.hanging = True
    async with scene.discovery(bus):
        await becomes(lambda: len(scene.store.records) == 2, "both recorded")
    assert scene.heard == []
    scene.zone.hold({"vc-a-0": "10.0.0.1"})
    async with scene.discovery():
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": False}, "the one never stated is gone")


async def test_nothing_is_published_that_is_not_recorded(scene: Scene) -> None:
    scene.zone.hold(TWO)
    scene.store.hanging = True
    async with scene.discovery():
        await becomes(lambda: scene.zone.looks > 3, "the zone known")
    assert scene.heard == []
    scene.store.hanging = False
    async with scene.discovery():
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": True}, "both stated")


async def test_a_record_that_is_away_delays_and_loses_nothing(scene: Scene) -> None:
    scene.zone.hold(TWO)
    scene.store.failing = True
    async with scene.discovery():
        await asyncio.sleep(0)
        scene.store.failing = False
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        scene.store.failing = True
        scene.zone.hold({"vc-a-0": "10.0.0.1"})
        await becomes(lambda: len(scene.zone.transfers) == 2, "the change seen")
        scene.store.failing = False
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": False}, "the change stated")


async def test_what_cannot_be_published_is_retried_and_the_newest_is_what_is_said(scene: Scene) -> None:
    scene.zone.hold(TWO)
    bus = scene.bus()
    bus.refusing = True
    async with scene.discovery(bus):
        await becomes(lambda: len(scene.store.records) == 2, "both recorded")
        scene.zone.hold({"vc-a-0": "10.0.0.9", "vc-b-0": "10.0.0.2"})
        await becomes(lambda: len(scene.zone.transfers) == 2, "the change seen")
        bus.refusing = False
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": True}, "both stated")
    assert [change.addresses for change in scene.of("vc-a-0")] == [("10.0.0.9",)]


async def test_what_is_found_while_something_older_is_on_its_way_is_said_as_well(scene: Scene) -> None:
    scene.zone.hold({"vc-a-0": "10.0.0.1"})
    bus = scene.bus()
    bus.slow = asyncio.Event()
    async with scene.discovery(bus):
        await becomes(lambda: len(scene.store.records) == 1, "recorded, and on its way")
        scene.zone.hold({"vc-a-0": "10.0.0.9"})
        await becomes(lambda: len(scene.zone.transfers) == 2, "the change seen")
        bus.slow.set()
        await becomes(lambda: [change.addresses for change in scene.heard][-1:] == [("10.0.0.9",)], "the change stated")
    assert scene.store.discovered(fqdn("vc-a-0")).addresses == ("10.0.0.9",)


async def test_resync_repeats_one_or_all_with_their_revisions(scene: Scene) -> None:
    scene.zone.hold(TWO)
    async with scene.discovery() as bus:
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        await bus.request(ResyncRequest(stage=Stage.DISCOVERY, partition=0, host=fqdn("vc-b-0")))
        await becomes(lambda: len(scene.of("vc-b-0")) == 2, "one repeated")
        await bus.request(ResyncRequest(stage=Stage.DISCOVERY, partition=0, host=fqdn("vc-x-9")))
        await bus.request(ResyncRequest(stage=Stage.DISCOVERY, partition=0))
        await becomes(lambda: len(scene.heard) == 5, "all repeated")
    first, second, third = scene.of("vc-b-0")
    assert first.revision == second.revision == third.revision
    assert len({change.trace.message_id for change in (first, second, third)}) == 3
    assert first.trace.correlation_id == third.trace.correlation_id


async def test_a_zone_that_lost_most_is_held_visibly_and_confirmed_by_a_full_second_look(scene: Scene) -> None:
    scene.zone.hold(FOUR)
    with capture_logs() as logs:
        async with scene.discovery():
            await becomes(lambda: len(scene.heard) == 4, "four stated")
            scene.settings = scene.settings.model_copy(update={"zone_confirm_after": 0.2})
        async with scene.discovery():
            await becomes(lambda: len(scene.heard) == 8, "four stated anew")
            scene.zone.hold({"vc-a-0": "10.0.0.1"})
            scene.zone.tell()
            await becomes(lambda: condition(scene, "vc-b-0") == ("Unknown", "ZoneHeld"), "held, as one can see")
            assert condition(scene, "vc-a-0") == ("True", "InZone")
            assert all(scene.told().values())
            await becomes(lambda: list(scene.told().values()).count(False) == 3, "confirmed")
            await becomes(lambda: condition(scene, "vc-b-0") == ("False", "NotInZone"), "gone, as one can see")
    assert scene.zone.transfers[-1] == "full"
    held = [entry for entry in logs if "held as unknown" in entry["event"]]
    assert [(entry["lacking"], entry["known"]) for entry in held] == [(3, 4)]


async def test_a_zone_that_lost_most_for_a_moment_changes_nothing(scene: Scene) -> None:
    scene.zone.hold(FOUR)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 4, "four stated")
        scene.zone.hold({})
        await becomes(lambda: condition(scene, "vc-b-0") == ("Unknown", "ZoneHeld"), "held")
        scene.zone.hold(FOUR)
        await becomes(lambda: condition(scene, "vc-b-0") == ("True", "InZone"), "there again")
    assert len(scene.heard) == 4


async def test_a_zone_that_is_empty_after_a_restart_is_held_too(scene: Scene) -> None:
    scene.zone.hold(FOUR)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 4, "four stated")
    scene.settings = scene.settings.model_copy(update={"zone_confirm_after": 3600.0})
    scene.zone.hold({})
    async with scene.discovery() as bus:
        await becomes(lambda: condition(scene, "vc-b-0") == ("Unknown", "ZoneHeld"), "held")
        scene.zone.tell()
        await bus.request(ResyncRequest(stage=Stage.DISCOVERY, partition=0))
        await asyncio.sleep(0.1)
    assert len(scene.heard) == 4, "neither a hint nor a request hurries the second look"


async def test_a_replica_takes_over_with_a_higher_epoch(scene: Scene) -> None:
    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        async with scene.discovery() as second:
            del second  # it stands by
            await asyncio.sleep(0.1)
            assert len(scene.heard) == 2
    async with scene.discovery():
        await becomes(lambda: [c.revision.epoch for c in scene.of("vc-a-0")] == [1, 2], "stated by the next")


async def test_an_owner_whose_record_was_written_by_a_later_one_says_nothing_more(scene: Scene) -> None:
    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        later = Discovered(present=True, serial=9, revision=Revision(5, 1), addresses=("10.0.0.9",))
        await scene.store.write(fqdn("vc-b-0"), later)
        scene.zone.hold({"vc-a-0": "10.0.0.8"})
        await becomes(lambda: len(scene.of("vc-a-0")) == 2, "the one that is its own is stated")
        looks = scene.zone.looks
        await becomes(lambda: scene.zone.looks > looks + 5, "some more looks")
    assert scene.store.discovered(fqdn("vc-b-0")) == later
    assert len(scene.of("vc-b-0")) == 1


async def test_another_stage_that_writes_its_section_is_in_nobodys_way(scene: Scene) -> None:
    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        record = scene.store.records[fqdn("vc-b-0")]
        scene.store.records[fqdn("vc-b-0")] = record.model_copy(update={"version": "moved on"})
        scene.zone.hold({"vc-a-0": "10.0.0.1"})
        await becomes(lambda: scene.told()["vc-b-0"] is False, "stated all the same")


async def test_what_is_known_of_the_record_may_be_behind(scene: Scene) -> None:
    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        scene.store.behind = {fqdn("vc-a-0"): scene.store.records[fqdn("vc-a-0")], fqdn("vc-c-0"): None}
        record = scene.store.records[fqdn("vc-a-0")]
        scene.store.records[fqdn("vc-a-0")] = record.model_copy(update={"version": "moved on"})
        later = Discovered(present=True, serial=9, revision=Revision(5, 1), addresses=("10.0.0.9",))
        await scene.store.write(fqdn("vc-c-0"), later)
        scene.zone.hold({"vc-a-0": "10.0.0.8", "vc-b-0": "10.0.0.2", "vc-c-0": "10.0.0.3"})
        await becomes(lambda: scene.of("vc-a-0")[-1].addresses == ("10.0.0.8",), "read, recorded and stated")
        await scene.zone.looked()
    assert scene.store.discovered(fqdn("vc-a-0")).addresses == ("10.0.0.8",)
    assert scene.store.discovered(fqdn("vc-c-0")) == later, "a later owner's record was written over"
    assert scene.of("vc-c-0") == []


async def test_it_stops_at_once(scene: Scene) -> None:
    scene.zone.hold(TWO)
    async with asyncio.timeout(2):
        async with scene.discovery() as bus:
            await becomes(lambda: len(scene.heard) == 2, "both stated")
            bus.hanging = True
            scene.zone.hold({"vc-a-0": "10.0.0.8"})
            await becomes(lambda: len(scene.zone.transfers) == 2, "something under way")


@pytest.mark.parametrize("name", ["dns_poll_every", "zone_held_share", "dns_timeout"])
def test_settings_are_checked(name: str) -> None:
    from vcenter_operator.common.errors import ConfigurationError
    from vcenter_operator.discovery.settings import DiscoverySettings

    with pytest.raises(ConfigurationError, match=f"VCENTER_OPERATOR_{name.upper()}"):
        DiscoverySettings.load(**{name: -1})


async def test_a_record_that_somebody_deleted_is_written_again_but_not_one_that_is_gone_from_the_zone(
    scene: Scene,
) -> None:
    scene.settings = scene.settings.model_copy(update={"repeat_every": 0.02})
    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": True}, "both stated")
        scene.zone.hold({"vc-a-0": "10.0.0.1"})
        await becomes(lambda: condition(scene, "vc-b-0") == ("False", "NotInZone"), "one gone")
        recorded = scene.store.discovered(fqdn("vc-a-0"))
        scene.store.records.clear()
        await becomes(lambda: fqdn("vc-a-0") in scene.store.records, "the record is back")
        assert scene.store.discovered(fqdn("vc-a-0")) == recorded
        before = len(scene.of("vc-a-0"))
        await becomes(lambda: len(scene.of("vc-a-0")) > before + 2, "two rounds later")
        assert fqdn("vc-b-0") not in scene.store.records, "deleting its record forgets a vCenter that is gone"


async def test_a_notify_is_followed_at_once(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"dns_poll_every": 3600.0})
    told = Told()
    async with scene.discovery(notifications=told):
        await becomes(lambda: scene.zone.looks, "the first look")
        scene.zone.hold(TWO)
        told.tell()
        await becomes(lambda: len(scene.heard) == 2, "both stated")


async def test_a_flood_of_notifies_is_a_few_looks(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"dns_poll_every": 3600.0})
    told = Told()
    scene.zone.hold(TWO)
    async with scene.discovery(notifications=told):
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        before, started = scene.zone.looks, time.monotonic()
        for _ in range(1000):
            told.tell()
            await asyncio.sleep(0.001)
        lasted = time.monotonic() - started
    # Four in a second, and those after a hint that was not borne out.
    assert 1 < scene.zone.looks - before < 8 * (lasted + 1)
    assert len(scene.zone.transfers) == 1


async def test_a_notify_that_reaches_the_replica_that_stands_by_is_passed_on_to_the_owner(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"dns_poll_every": 3600.0})
    told = Told()
    async with scene.discovery():
        await becomes(lambda: scene.zone.looks, "the owner's first look")
        async with scene.discovery(notifications=told):
            scene.zone.hold(TWO)
            told.tell()
            await becomes(lambda: len(scene.heard) == 2, "both stated by the owner")
    assert {change.revision.epoch for change in scene.heard} == {1}


async def test_a_notify_that_nobody_can_be_told_of_does_no_harm(scene: Scene) -> None:
    told = Told()

    class Away(Bus):
        async def request(self, request: ResyncRequest) -> None:
            raise BusUnavailable("the broker is away")

    scene.zone.hold(TWO)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        with capture_logs() as logs:
            async with scene.discovery(Away(scene.broker, scene.epochs), told):
                told.tell()
                await becomes(lambda: any("passed on" in entry["event"] for entry in logs), "said")


async def test_a_notify_that_the_server_asked_does_not_bear_out_yet_is_looked_after_soon(scene: Scene) -> None:
    """Of several servers one tells of the change, and another one, which is asked, has it a little later."""
    scene.settings = scene.settings.model_copy(update={"dns_poll_every": 3600.0})
    told = Told()
    async with scene.discovery(notifications=told):
        await becomes(lambda: scene.zone.looks, "the first look")
        looks = scene.zone.looks
        told.tell()
        await becomes(lambda: scene.zone.looks > looks, "the look for the NOTIFY's sake")
        scene.zone.hold(TWO)
        await becomes(lambda: len(scene.heard) == 2, "both stated, without another word")


async def test_a_server_that_lags_behind_states_nothing_old_and_a_zone_that_was_set_back_is_believed(
    scene: Scene,
) -> None:
    scene.settings = scene.settings.model_copy(update={"zone_set_back_after": 0.5})
    scene.zone.hold(TWO, serial=100)
    with capture_logs() as logs:
        async with scene.discovery():
            await becomes(lambda: len(scene.heard) == 2, "both stated")
            for _ in range(4):
                scene.zone.hold({"vc-x-0": "10.0.0.9"}, serial=99)
                await scene.zone.looked()
                scene.zone.hold(TWO, serial=100)
                await scene.zone.looked()
            assert (len(scene.heard), len(scene.zone.transfers)) == (2, 1)
            scene.zone.hold({"vc-a-0": "10.0.0.1", "vc-x-0": "10.0.0.9"}, serial=99)
            await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": False, "vc-x-0": True}, "the set-back")
            await becomes(lambda: scene.store.discovered(fqdn("vc-a-0")).serial == 99, "recorded for the next owner")
            assert len(scene.of("vc-a-0")) == 1
    assert (
        len([entry for entry in logs if "an older serial" in entry["event"] and entry["log_level"] == "warning"]) == 1
    )
    assert any("went backwards" in entry["event"] for entry in logs)


async def test_who_takes_over_from_a_server_that_lags_behind_states_nothing_old(scene: Scene) -> None:
    """What was believed is in the record, so that the next owner knows it."""
    scene.settings = scene.settings.model_copy(update={"zone_set_back_after": 3600.0})
    scene.zone.hold(TWO, serial=100)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
    scene.zone.hold({"vc-x-0": "10.0.0.9"}, serial=99)
    async with scene.discovery():
        for _ in range(3):
            await scene.zone.looked()
        assert len(scene.heard) == 2
        scene.zone.hold(TWO, serial=100)
        scene.zone.tell()
        await becomes(lambda: len(scene.heard) == 4, "both stated anew")
    assert set(scene.told()) == {"vc-a-0", "vc-b-0"}


async def test_a_transfer_from_a_server_behind_the_one_that_stated_the_serial_is_no_zone(scene: Scene) -> None:
    scene.zone.hold(TWO, serial=100)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        scene.zone.stated = 101
        scene.zone.hold({"vc-x-0": "10.0.0.9"}, serial=99)
        await becomes(lambda: len(scene.zone.transfers) > 1, "transferred")
        scene.zone.stated = None
        scene.zone.hold(TWO | {"vc-c-0": "10.0.0.3"}, serial=101)
        await becomes(lambda: len(scene.heard) == 3, "the newer one")
    assert scene.told() == {"vc-a-0": True, "vc-b-0": True, "vc-c-0": True}


async def test_a_serial_that_no_transfer_bears_out_is_looked_after_ever_more_rarely(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where one server answers all questions over UDP, and one behind it all connections."""
    scene.settings = scene.settings.model_copy(update={"dns_poll_every": 10.0, "dns_retry_longest": 30.0})
    pauses: list[float] = []

    async def noted(_: ZoneWatch, seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(ZoneWatch, "_pause", noted)
    scene.zone.hold(TWO, serial=100)
    scene.zone.stated = 101
    async with scene.discovery():
        await becomes(lambda: len(pauses) > 6, "six looks")
        assert pauses[0] <= 1.2, "the next connection may lead to the other server"
        assert pauses[5] >= 8.0, "as if there was nothing new"
        scene.zone.hold(TWO, serial=101)
        await scene.zone.looked()
        borne_out = len(pauses)
        scene.zone.stated = 102
        await becomes(lambda: any(pause <= 1.2 for pause in pauses[borne_out:]), "soon again at the next one")


async def test_a_second_look_at_a_server_that_lags_behind_settles_nothing(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"zone_set_back_after": 3600.0})
    scene.zone.hold(FOUR, serial=100)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 4, "four stated")
        scene.zone.hold({"vc-a-0": "10.0.0.1"}, serial=101)
        await becomes(lambda: condition(scene, "vc-b-0") == ("Unknown", "ZoneHeld"), "held")
        scene.zone.hold(FOUR, serial=100)
        for _ in range(3):
            await scene.zone.looked()
        assert condition(scene, "vc-b-0") == ("Unknown", "ZoneHeld")
        scene.zone.hold({"vc-a-0": "10.0.0.1"}, serial=101)
        await becomes(lambda: list(scene.told().values()).count(False) == 3, "confirmed")


async def test_one_source_alone_is_set_back_at_once(scene: Scene) -> None:
    """As a zone file: there is nobody that it could lag behind."""
    scene.settings = scene.settings.model_copy(update={"zone_set_back_after": 3600.0})
    scene.zone.may_lag = False
    scene.zone.hold(TWO, serial=100)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 2, "both stated")
        scene.zone.hold(TWO | {"vc-c-0": "10.0.0.3"}, serial=3)
        await becomes(lambda: "vc-c-0" in scene.told(), "the newcomer stated")


async def test_a_held_zone_that_is_mended_is_believed_at_once_however_late_the_second_look(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"zone_confirm_after": 3600.0})
    scene.zone.hold(FOUR)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 4, "four stated")
        scene.zone.hold({"vc-a-0": "10.0.0.1", "vc-b-0": "10.0.0.2"} | {"vc-e-0": "10.0.0.5"}, serial=10)
        await becomes(lambda: scene.told().get("vc-e-0"), "two are no unlikely share")
        scene.zone.hold({"vc-e-0": "10.0.0.5"})
        await becomes(lambda: condition(scene, "vc-b-0") == ("Unknown", "ZoneHeld"), "held")
        scene.zone.hold({"vc-e-0": "10.0.0.5"})
        await scene.zone.looked()
        assert condition(scene, "vc-b-0") == ("Unknown", "ZoneHeld")
        scene.zone.hold({"vc-a-0": "10.0.0.1", "vc-b-0": "10.0.0.7"} | {"vc-e-0": "10.0.0.5"})
        await becomes(lambda: scene.of("vc-b-0")[-1].addresses == ("10.0.0.7",), "mended, and believed")
        await becomes(lambda: condition(scene, "vc-b-0") == ("True", "InZone"), "as one can see")
    assert scene.told() == {"vc-a-0": True, "vc-b-0": True, "vc-c-0": False, "vc-d-0": False, "vc-e-0": True}
    assert all(change.present for change in scene.of("vc-b-0")), "another look does not confirm it before its time"


async def test_a_person_has_a_held_zone_believed_at_once(scene: Scene) -> None:
    """By the digest that the condition names; neither another one nor what was said of an earlier loss counts."""
    scene.settings = scene.settings.model_copy(update={"zone_confirm_after": 3600.0})
    scene.zone.hold(FOUR)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 4, "four stated")
        scene.zone.hold({})
        await becomes(lambda: condition(scene, "vc-a-0") == ("Unknown", "ZoneHeld"), "held")
        earlier = word(scene, "vc-a-0")
        scene.zone.hold({"vc-a-0": "10.0.0.1"})
        await becomes(lambda: condition(scene, "vc-a-0") == ("True", "InZone"), "one is there again")
        scene.order("vc-b-0", approve=earlier)
        for _ in range(3):
            await scene.zone.looked()
        assert condition(scene, "vc-b-0") == ("Unknown", "ZoneHeld")
        assert word(scene, "vc-b-0") != earlier
        scene.order("vc-b-0", approve=word(scene, "vc-b-0"))
        await becomes(lambda: list(scene.told().values()).count(False) == 3, "believed")
    assert scene.zone.transfers[-1] == "full"


async def test_a_word_for_a_held_zone_does_not_hold_for_a_greater_loss(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"zone_confirm_after": 3600.0})
    scene.zone.hold(FOUR | {"vc-e-0": "10.0.0.5"})
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 5, "five stated")
        scene.zone.hold({"vc-a-0": "10.0.0.1", "vc-b-0": "10.0.0.2"})
        await becomes(lambda: condition(scene, "vc-c-0") == ("Unknown", "ZoneHeld"), "held")
        scene.zone.names = {}  # the second look will lack still others
        scene.order("vc-c-0", approve=word(scene, "vc-c-0"))
        await becomes(lambda: condition(scene, "vc-a-0") == ("Unknown", "ZoneHeld"), "held anew")
    assert all(scene.told().values())


async def test_what_was_confirmed_does_not_count_along_with_what_goes_later(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"zone_confirm_after": 3600.0})
    scene.zone.hold(FOUR | {"vc-e-0": "10.0.0.5"})
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 5, "five stated")
        scene.zone.hold(TWO)
        await becomes(lambda: condition(scene, "vc-c-0") == ("Unknown", "ZoneHeld"), "held")
        scene.order("vc-c-0", approve=word(scene, "vc-c-0"))
        await becomes(lambda: list(scene.told().values()).count(False) == 3, "believed")
        scene.zone.hold({"vc-a-0": "10.0.0.1"})
        await becomes(lambda: not scene.told()["vc-b-0"], "one more, at once")


async def test_a_loss_in_steps_is_held_by_whoever_takes_over_too(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"zone_confirm_after": 3600.0})
    scene.zone.hold(FOUR)
    async with scene.discovery():
        await becomes(lambda: len(scene.heard) == 4, "four stated")
        scene.zone.hold(TWO)
        await becomes(lambda: list(scene.told().values()).count(False) == 2, "two are no unlikely share")
        scene.zone.hold({"vc-a-0": "10.0.0.1"})
        await becomes(lambda: condition(scene, "vc-b-0") == ("Unknown", "ZoneHeld"), "a third within the hour is")
        held = scene.store.discovered(fqdn("vc-b-0")).conditions[0].message
        assert "lacks 3 of the 4 vCenters of the last hour" in held
    async with scene.discovery():
        for _ in range(3):
            await scene.zone.looked()
    assert scene.told()["vc-b-0"] is True


def word(scene: Scene, label: str) -> str:
    """The digest that a person is told."""
    (found,) = re.findall("approve=([0-9a-f]{16})", scene.store.discovered(fqdn(label)).conditions[0].message)
    return str(found)
