"""A crash between any two effects loses no cluster: what was stated is known or unknown until it is stated gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.fakes.vcenter import NO_RIGHT, cluster
from tests.unit.collector.scene import HOST, Bus, Crash, Journal, JournalledStore, MemoryEpochs, present
from vcenter_operator.collector.core.conventions import Convention
from vcenter_operator.collector.core.evidence import Conclusion, conclude, to_ask
from vcenter_operator.collector.core.model import ABSENT, Answer, SeenCluster, Snapshot
from vcenter_operator.collector.standing import Standing, connected
from vcenter_operator.common.bus.inprocess import Broker
from vcenter_operator.common.bus.port import Ownership, Topology
from vcenter_operator.common.errors import OwnershipLost, TransientError
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import Inventory, Stage, Trace
from vcenter_operator.common.record import Collected

A, B, C = (cluster(f"domain-{letter}", f"production{letter}") for letter in "abc")
SCENES: dict[str, list[list[SeenCluster]]] = {
    "one appears": [[A], [A, B]],
    "one goes": [[A, B], [A]],
    "one goes and one comes": [[A, B], [B, C]],
    "one is renamed": [[A, B], [A, cluster(B.moid, "productionz")]],
    "all go": [[A, B, C], []],
}


def standing(journal: Journal, store: JournalledStore, epoch: int = 1) -> Standing:
    bus = Bus(Broker(Topology(partitions=1)), MemoryEpochs())
    bus.journal = journal
    return Standing(present(), Ownership(Stage.COLLECTOR, 0, epoch), bus, store)


async def read(stands: Standing, clusters: list[SeenCluster], nothing: Answer = ABSENT) -> Conclusion:
    await stands.recorder.recall()
    recorded, snapshot = stands.recorder.clusters, Snapshot(tuple(clusters))
    answers = dict.fromkeys(to_ask(recorded, snapshot), nothing)
    return conclude(Convention(), recorded, snapshot, answers)


def published(journal: Journal) -> list[Inventory]:
    return [effect for effect in journal if isinstance(effect, Inventory)]


@pytest.mark.parametrize("steps", SCENES.values(), ids=SCENES.keys())
@pytest.mark.parametrize("crash_after", range(7))
@pytest.mark.parametrize("settles", [True, False])
async def test_a_crash_after_any_effect_forgets_no_cluster(
    steps: list[list[SeenCluster]], crash_after: int, settles: bool
) -> None:
    journal = Journal()
    store = JournalledStore(journal)
    journal.crash_after = crash_after
    first = standing(journal, store)
    with suppress(Crash):
        for clusters in steps:
            await first.state(await read(first, clusters))
            if settles:
                await first.recorder.write()
    journal.crash_after = None
    # The next owner finds an account without rights: whatever has objects now has to be unknown to it.
    second = standing(journal, store, epoch=2)
    before = published(journal)
    await second.state(await read(second, [], NO_RIGHT))
    last = published(journal)[-1]
    assert not last.clusters
    if before:
        assert {each.unit for each in before[-1].clusters} <= {each.unit for each in last.unknown}
        assert before[-1].older_than(last)


async def test_a_cluster_is_recorded_before_and_forgotten_after_the_inventory() -> None:
    journal = Journal()
    stands = standing(journal, JournalledStore(journal))
    for clusters in ([A, B], [B, C]):
        await stands.state(await read(stands, clusters))
        await stands.recorder.write()
    recorded = [
        {entry.cluster_name for entry in effect.clusters} if isinstance(effect, Collected) else "Inventory"
        for effect in journal
    ]
    a, b, c = "productiona", "productionb", "productionc"
    assert recorded == [{a, b}, "Inventory", {a, b, c}, "Inventory", {b, c}]


async def test_a_change_that_brings_no_new_cluster_is_stated_and_recorded_in_a_moment() -> None:
    journal = Journal()
    stands = standing(journal, JournalledStore(journal))
    await stands.state(await read(stands, [A, B]))
    del journal[:]
    await stands.state(await read(stands, [A, cluster(B.moid, "productionb", eph=("eph-1", "eph-9"))]))
    assert len(journal) == 1, "nobody waits for the record"
    await stands.recorder.until_written()
    stated, written = journal
    assert isinstance(stated, Inventory)
    assert isinstance(written, Collected)
    assert written.revision == stated.revision == Revision(1, 2)
    assert "Datastore eph-9" in written.clusters[1].members


async def test_equal_content_is_neither_published_nor_written_again() -> None:
    journal = Journal()
    stands = standing(journal, JournalledStore(journal))
    assert await stands.state(await read(stands, [A, B]))
    effects = len(journal)
    assert not await stands.state(await read(stands, [B, A]))
    assert len(journal) == effects


async def test_only_what_came_of_a_word_of_discovery_is_put_down_to_it() -> None:
    journal = Journal()
    stands = standing(journal, JournalledStore(journal))
    first = stands.change
    await stands.state(await read(stands, [A]))
    stands.adopt(first.repeated())
    await stands.state(await read(stands, [A, B]))
    newer = first.model_copy(update={"revision": Revision(9, 9), "trace": Trace()})
    stands.adopt(newer)
    await stands.publish()
    await stands.state(await read(stands, [A]))
    due, of_its_own, again, later = (inventory.trace.correlation_id for inventory in published(journal))
    assert due == first.trace.correlation_id
    assert again == newer.trace.correlation_id
    assert len({due, of_its_own, again, later}) == 4


async def test_what_could_not_be_published_keeps_its_revision() -> None:
    journal = Journal()
    stands = standing(journal, JournalledStore(journal))
    journal.crash_after = 1
    with suppress(Crash):
        await stands.state(await read(stands, [A]))
    journal.crash_after = None
    await stands.state(await read(stands, [A]))
    assert [inventory.revision for inventory in published(journal)] == [Revision(1, 1)]


async def test_nothing_is_written_to_a_record_that_was_never_read() -> None:
    journal = Journal()
    store = JournalledStore(journal)
    first = standing(journal, store)
    await first.state(await read(first, [A, B]))
    second = standing(journal, store, epoch=2)
    store.failing = True
    with pytest.raises(TransientError):
        await second.show(connected("False", "Unreachable", "Connection refused"))
    store.failing = False
    await second.show(connected("False", "Unreachable", "Connection refused"))
    section = store.records[HOST].collected
    assert section is not None
    assert [entry.cluster_name for entry in section.clusters] == ["productiona", "productionb"]
    assert {condition.type: condition.status for condition in section.conditions} == {
        "Connected": "False",
        "Collected": "True",
    }


async def test_nothing_has_an_effect_once_the_ownership_is_lost() -> None:
    journal = Journal()
    store = JournalledStore(journal)
    ownership = Ownership(Stage.COLLECTOR, 0, 1)
    bus = Bus(Broker(Topology(partitions=1)), MemoryEpochs())
    bus.journal = journal
    stands = Standing(present(), ownership, bus, store)
    conclusion = await read(stands, [A])
    await stands.state(conclusion)
    effects = len(journal)
    ownership.end()
    stands.adopt(present(revision=Revision(2, 1)))
    for effect in (
        stands.publish(),
        stands.repeat(),
        stands.show(connected("False", "Unreachable", "Connection refused")),
        stands.state(await read(stands, [A, B])),
        stands.state_gone(),
    ):
        with pytest.raises(OwnershipLost):
            await effect
    await stands.close()
    assert len(journal) == effects


async def test_a_change_of_zone_is_published_under_the_revision_of_the_inventory() -> None:
    journal = Journal()
    stands = standing(journal, JournalledStore(journal))
    await stands.state(await read(stands, [A]))
    stands.adopt(present(revision=Revision(2, 1), serial=9))
    await asyncio.gather(stands.publish(), stands.publish())
    first, second = published(journal)
    assert (second.revision, second.clusters) == (first.revision, first.clusters)
    assert (second.zone.revision, second.zone.serial) == (Revision(2, 1), 9)
    assert first.older_than(second)
    assert second.trace.causation_id == stands.change.trace.message_id
