"""What is recorded in a moment holds up nothing, and is recorded in the end; what has to be recorded before is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.fakes.vcenter import cluster
from tests.unit.collector.scene import HOST, Journal, JournalledStore, becomes
from tests.unit.collector.test_standing import A, B, C, published, read, standing
from vcenter_operator.collector.core.model import SeenCluster
from vcenter_operator.common.record import Section
from vcenter_operator.common.record.port import Record, anybody

LARGER = cluster(B.moid, "productionb", eph=("eph-1", "eph-9"))
AT_ONCE = 1.0


class SlowStore(JournalledStore):
    """Writes have their effect when they are let."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self.let = asyncio.Event()
        self.let.set()
        self.waiting = 0

    async def write(
        self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
    ) -> Record:
        self.waiting += 1
        await self.let.wait()
        self.waiting -= 1
        return await super().write(host, section, version=version, verify=verify)

    def names(self) -> list[str]:
        """Of the clusters that are recorded."""
        section = self.records[HOST].collected
        assert section is not None
        return [each.cluster_name for each in section.clusters]


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def store(journal: Journal) -> SlowStore:
    return SlowStore(journal)


async def test_a_record_that_answers_late_holds_up_no_statement(journal: Journal, store: SlowStore) -> None:
    stands = standing(journal, store)
    await stands.state(await read(stands, [A, B]))
    store.let.clear()
    async with asyncio.timeout(AT_ONCE):
        await stands.state(await read(stands, [A, LARGER]))
        await becomes(lambda: store.waiting, "the record is written")
        await stands.state(await read(stands, [A]))
    assert len(published(journal)) == 3
    store.let.set()
    await stands.recorder.until_written()
    assert store.names() == ["productiona"]


@pytest.mark.parametrize("back", [[A, B], [A, B, C]], ids=["as it was", "with another"])
async def test_a_cluster_that_is_back_while_it_is_being_forgotten_is_recorded_before_it_is_stated(
    journal: Journal, store: SlowStore, back: list[SeenCluster]
) -> None:
    stands = standing(journal, store)
    await stands.state(await read(stands, [A, B]))
    store.let.clear()
    await stands.state(await read(stands, [A]))
    await becomes(lambda: store.waiting, "the record is written")
    stating = asyncio.create_task(stands.state(await read(stands, back)))
    done, _ = await asyncio.wait([stating], timeout=0.1)
    assert not done, "it waits for the record"
    assert len(published(journal)) == 2
    store.let.set()
    await stating
    assert store.names() == [each.name for each in back]
    assert journal.index(published(journal)[2]) == len(journal) - 1


async def test_what_cannot_be_recorded_is_recorded_as_soon_as_that_is_possible(
    journal: Journal, store: SlowStore
) -> None:
    stands = standing(journal, store)
    await stands.state(await read(stands, [A, B]))
    store.failing = True
    await stands.state(await read(stands, [A]))
    await becomes(lambda: len(journal) > 5, "tried again and again")
    store.failing = False
    await becomes(lambda: store.names() == ["productiona"], "recorded")
    assert stands.recorder.written


async def test_what_is_due_when_the_partition_is_given_up_is_recorded(journal: Journal, store: SlowStore) -> None:
    stands = standing(journal, store)
    await stands.state(await read(stands, [A, B]))
    await stands.state(await read(stands, [A]))
    assert store.names() == ["productiona", "productionb"]
    await stands.close()
    assert store.names() == ["productiona"]


async def test_a_record_that_does_not_answer_keeps_nobody_from_stopping(
    journal: Journal, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcenter_operator.collector.recording._LAST", 0.05)
    stands = standing(journal, store)
    await stands.state(await read(stands, [A, B]))
    store.let.clear()
    await stands.state(await read(stands, [A]))
    async with asyncio.timeout(AT_ONCE):
        await stands.close()
