"""What people say on a VCenter, as the running stage heeds it: at once, through restarts, and never half."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.unit.applier.given import HOST, NOVA, OWN, cluster, deployment, manifest, provenance, stated
from tests.unit.applier.stage import Region, Watched, until
from vcenter_operator.applier.core.budget import Budget
from vcenter_operator.applier.core.decisions import Policy
from vcenter_operator.applier.ports import Holdings, Known, Place
from vcenter_operator.common.embedded.record import FolderStore
from vcenter_operator.common.errors import StaleRecord, TransientError
from vcenter_operator.common.identity import ObjectId, Revision
from vcenter_operator.common.messages import ManifestDelta
from vcenter_operator.common.record.orders import APPROVE, Orders, PolicyName, WhenGone
from vcenter_operator.common.record.port import Applied, Discovered, Record, Section, anybody

CLUSTERS = [cluster(number) for number in range(1, 5)]


class Spoken:
    """A store on whose records people may say something at any time, which moves their version as a server does."""

    def __init__(self, base: FolderStore) -> None:
        self.base = base
        self.orders = Orders()
        self.said = 0
        self.before_write: Callable[[Section], None] = lambda _: None

    def say(self, **orders: object) -> None:
        self.orders = Orders.model_validate(orders)
        self.said += 1

    def _with(self, record: Record) -> Record:
        return record.model_copy(update={"orders": self.orders, "version": f"{record.version}+{self.said}"})

    async def list(self, *, fresh: bool = True) -> list[Record]:
        return [self._with(record) for record in await self.base.list(fresh=fresh)]

    async def get(self, host: str, *, fresh: bool = True) -> Record | None:
        record = await self.base.get(host, fresh=fresh)
        return None if record is None else self._with(record)

    async def write(
        self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
    ) -> Record:
        self.before_write(section)
        if version and version.partition("+")[2] != str(self.said):
            raise StaleRecord("a person said something")
        under = None if version is None else version.partition("+")[0]
        return self._with(await self.base.write(host, section, version=under, verify=verify))


class Noticing(Watched):
    """A folder whose stage can be told that something was said, and that counts how often all of it is read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.noticed: Callable[[str], None] = lambda _: None
        self.looks = 0
        self.seen: Holdings | None = None
        """What is known without looking, as from a watch; None: nothing."""

    def known(self, host: str, places: Collection[Place], ids: Collection[ObjectId]) -> Known | None:
        return Known(self.seen) if self.seen is not None else None

    def listen(self, noticed: Callable[[str], None]) -> None:
        self.noticed = noticed

    async def owned(self, host: str, places: Collection[Place], *, afresh: bool = True) -> Holdings:
        self.looks += 1
        return await super().owned(host, places, afresh=afresh)


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return Region(tmp_path)


@pytest.fixture
def store(region: Region) -> Spoken:
    return Spoken(region.store)


@pytest.fixture
def folder(region: Region) -> Noticing:
    return Noticing(region.output)


def delta(*numbers: int, inventory: int = 1, value: str = "1", present: bool = True) -> ManifestDelta:
    manifests = [
        manifest(deployment(f"d{number}"), template=NOVA, unit=CLUSTERS[number - 1], spec={"value": value})
        for number in numbers
    ]
    return stated(*manifests, present=present, made_from=provenance(inventory))


def files(region: Region) -> list[str]:
    return sorted(name.partition("-")[2].removesuffix(".yaml") for name in region.files())


async def section(store: Spoken) -> Applied:
    record = await store.get(HOST)
    assert record is not None
    assert record.applied is not None
    return record.applied


async def becomes(store: Spoken, condition: Callable[[Applied], object], what: str) -> Applied:
    """Waits until the record's section is so."""
    async with asyncio.timeout(20):
        while True:
            record = await store.get(HOST)
            if record is not None and record.applied is not None and condition(record.applied):
                return record.applied
            await asyncio.sleep(0.01)
    raise AssertionError(what)


def shows(kind: str, reason: str) -> Callable[[Applied], bool]:
    return lambda applied: any((one.type, one.reason) == (kind, reason) for one in applied.conditions)


async def test_a_suspended_vcenter_stays_as_it_is_and_goes_on_when_it_is_resumed(
    region: Region, store: Spoken, folder: Noticing
) -> None:
    async with region.applier(folder, store=store):
        await region.state(delta(1, 2))
        await becomes(store, shows("Applied", "AsStated"), "applied")
        before = region.files()

        store.say(suspended=True)
        await region.state(delta(1, 3, value="2", inventory=2))
        held = await becomes(store, shows("Applied", "Suspended"), "suspended")
        assert region.files() == before
        assert (held.suspended, held.acted_on.inventory.sequence) == (True, 2)

        store.say()
        folder.noticed(HOST)
        await becomes(store, shows("Applied", "AsStated"), "resumed")
    assert files(region) == ["d1", "d3"]


async def test_what_is_said_while_a_plan_is_about_to_be_carried_out_counts(
    region: Region, store: Spoken, folder: Noticing
) -> None:
    """The record is written before anything else is: that write fails, and it is planned by what was said."""

    def suspend(section: Section) -> None:
        if store.said == 0:
            store.say(suspended=True)

    store.before_write = suspend
    async with region.applier(folder, store=store):
        await region.state(delta(1, 2))
        await becomes(store, shows("Applied", "Suspended"), "suspended")
    assert folder.writes == []


async def test_what_is_said_while_the_outcome_is_written_is_not_missed(
    region: Region, store: Spoken, folder: Noticing
) -> None:
    """Nobody else will notice it: whoever reads it first looks again."""

    def observe(section: Section) -> None:
        if store.said == 0 and section.conditions:
            store.say(policy=PolicyName.OBSERVE)

    store.before_write = observe
    async with region.applier(folder, store=store):
        await region.state(delta(1))
        await becomes(store, lambda applied: applied.policy is PolicyName.OBSERVE, "observing")


async def test_under_observe_nothing_is_written_and_the_plan_is_shown(
    region: Region, store: Spoken, folder: Noticing
) -> None:
    async with region.applier(folder, store=store, policy=Policy(name=PolicyName.OBSERVE)):
        await region.state(delta(1, 2))
        shown = await becomes(store, shows("Applied", "Observing"), "observing")
    applied = next(one for one in shown.conditions if one.type == "Applied")
    assert "2 to create (create Deployment monsoon3/d1, create Deployment monsoon3/d2)" in applied.message
    assert (folder.writes, region.plans[-1][1].empty) == ([], True)


async def held(region: Region, store: Spoken) -> Applied:
    """A region whose inventory reads empty."""
    await region.state(delta(1, 2, 3, 4))
    await until(lambda: len(region.files()) == 4, "applied")
    await region.state(delta(inventory=2))
    return await becomes(store, lambda applied: applied.held_plan, "held")


async def test_what_is_held_goes_with_its_digest_alone(region: Region, store: Spoken, folder: Noticing) -> None:
    async with region.applier(folder, store=store):
        waiting = await held(region, store)
        store.say(approve="0123456789abcdef")
        folder.noticed(HOST)
        await becomes(
            store,
            lambda applied: any("the approval of 0123456789abcdef is for" in one.message for one in applied.conditions),
            "another plan's word is told",
        )
        assert len(region.files()) == 4

        store.say(approve=waiting.held_plan)
        folder.noticed(HOST)
        await until(lambda: not region.files(), "released")
        done = await becomes(store, lambda applied: not applied.held, "nothing is held any more")
    assert (done.held_plan, done.approved, done.hold) == (None, (), 1)


async def test_a_release_goes_on_after_a_crash_though_the_word_was_taken_back(
    region: Region, store: Spoken, folder: Noticing
) -> None:
    async with region.applier(folder, store=store):
        waiting = await held(region, store)

        def die(object_id: ObjectId) -> None:
            if object_id != deployment("d1"):
                raise TransientError(f"the process is killed before {object_id}")

        folder.before = die
        store.say(approve=waiting.held_plan)
        folder.noticed(HOST)
        await until(lambda: len(region.files()) == 3, "one is deleted")
        await becomes(store, lambda applied: len(applied.approved) == 3, "what is left of it is stored")
    store.say()

    async with region.applier(store=store):
        await region.state(delta(inventory=2))
        await until(lambda: not region.files(), "the rest is deleted")


async def test_the_word_is_stored_before_the_first_deletion(region: Region, store: Spoken, folder: Noticing) -> None:
    seen: list[bool] = []

    async with region.applier(folder, store=store):
        waiting = await held(region, store)

        def look(_: ObjectId) -> None:
            resource = yaml.safe_load(next((region.output.parent / "records").glob("*.yaml")).read_text())
            seen.append(len(resource["status"]["applier"]["approved"]) == 4)

        folder.before = look
        store.say(approve=waiting.held_plan)
        folder.noticed(HOST)
        await until(lambda: not region.files(), "released")
    assert seen == [True] * 4


def zone_says(sequence: int, *, present: bool, minutes_ago: float = 0) -> Discovered:
    since = None if present else (datetime.now(UTC) - timedelta(minutes=minutes_ago)).replace(microsecond=0)
    return Discovered(present=present, serial=sequence, revision=Revision(1, sequence), gone_since=since)


async def test_a_gone_vcenter_is_deleted_when_its_time_has_come_through_a_restart(
    region: Region, store: Spoken
) -> None:
    policy = Policy(when_gone=WhenGone.DELETE, gone_after=timedelta(seconds=3), budget=Budget(share=1.0))
    gone = delta(inventory=2, present=False)
    async with region.applier(store=store, policy=policy):
        await region.state(delta(1, 2, 3, 4))
        await until(lambda: len(region.files()) == 4, "applied")
        await store.write(HOST, zone_says(1, present=False))
        await region.state(gone)
        await becomes(store, shows("Applied", "Retained"), "retained")
    assert len(region.files()) == 4
    async with region.applier(store=store, policy=policy):
        await region.state(gone)
        await until(lambda: not region.files(), "its time is over")
        await becomes(store, shows("Applied", "Gone"), "gone")


async def test_a_gone_vcenter_that_dns_has_again_keeps_all_though_nobody_can_read_it(
    region: Region, store: Spoken, folder: Noticing
) -> None:
    """Its return comes down with an inventory alone: until then only the record knows."""
    policy = Policy(when_gone=WhenGone.DELETE, gone_after=timedelta(minutes=1), budget=Budget(share=1.0))
    async with region.applier(folder, store=store, policy=policy):
        await region.state(delta(1))
        await until(lambda: len(region.files()) == 1, "applied")
        folder.seen = await folder.owned(HOST, [])
        await store.write(HOST, zone_says(1, present=True))
        await region.state(delta(inventory=2, present=False))
        await becomes(store, shows("Applied", "Retained"), "retained")
        await store.write(HOST, zone_says(2, present=False, minutes_ago=2))
        store.say(reconcile="now")
        folder.noticed(HOST)
        await becomes(store, lambda applied: applied.reconciled == "now", "planned again")
        assert len(region.files()) == 1, "gone once more since: that statement is still to come"
        await store.write(HOST, zone_says(1, present=False, minutes_ago=2))
        folder.noticed(HOST)
        await until(lambda: not region.files(), "and as soon as the record has it gone, that goes")


async def test_a_person_who_asks_is_answered_once_everything_was_looked_at_and_done(
    region: Region, store: Spoken, folder: Noticing
) -> None:
    async with region.applier(folder, store=store):
        await region.state(delta(1, 2))
        await becomes(store, shows("Applied", "AsStated"), "applied")
        folder.seen = await folder.owned(HOST, [])
        looks = folder.looks
        store.say(policy=PolicyName.UPSERT_ONLY)
        folder.noticed(HOST)
        await becomes(store, lambda applied: applied.policy is PolicyName.UPSERT_ONLY, "planned again")
        assert folder.looks == looks, "nothing is looked at for that"
        store.say(reconcile="now")
        folder.noticed(HOST)
        await becomes(store, lambda applied: applied.reconciled == "now", "answered")
        assert folder.looks == looks + 1
        store.say(reconcile="now", policy=PolicyName.OBSERVE)
        folder.noticed(HOST)
        await becomes(store, lambda applied: applied.policy is PolicyName.OBSERVE, "planned again")
        assert folder.looks == looks + 1, "it was answered"


async def test_a_person_who_asks_is_not_answered_before_it_is_done(
    region: Region, store: Spoken, folder: Noticing
) -> None:
    tries = 0

    def fail(object_id: ObjectId) -> None:
        nonlocal tries
        tries += 1
        if object_id == deployment("d2") and tries < 8:
            raise TransientError("busy")

    async with region.applier(folder, store=store):
        await region.state(delta(1))
        await becomes(store, shows("Applied", "AsStated"), "applied")
        folder.before = fail
        folder.seen = await folder.owned(HOST, [])
        looks = folder.looks
        store.say(reconcile="first")
        await region.state(delta(1, 2, inventory=2))
        await becomes(store, lambda applied: applied.reconciled == "first", "answered")
        assert (tries >= 8, files(region)) == (True, ["d1", "d2"])
        assert folder.looks == looks + 1, "once for a word, not for every attempt"


async def test_what_people_write_in_a_folders_record_is_read_and_stays(region: Region) -> None:
    async with region.applier(look_every=0.4):
        await region.state(delta(1))
        await region.shows(HOST, "AsStated")  # nothing writes the record any more
        path = next((region.output.parent / "records").glob("*.yaml"))
        resource = yaml.safe_load(path.read_text())
        resource["spec"] = {"policy": "observe", "suspend": False}
        resource["metadata"]["annotations"] = {APPROVE: "x"}
        path.write_text(yaml.safe_dump(resource))
        await region.state(delta(1, 2, inventory=2))
        await region.shows(HOST, "Observing")
    record = await FolderStore(path.parent, namespace=OWN).get(HOST)
    assert record is not None
    assert (record.orders.policy, record.orders.approve) == (PolicyName.OBSERVE, "x")
