"""Copies on their way into the archive: bundled, and holding nothing up when it takes none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tests.contract.harness import change, hosts_of
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq import archiving
from vcenter_operator.common.bus.rabbitmq.archiving import Archiver, archived
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.wire import MAX_BYTES, encode

STAGE = Stage.COLLECTOR
(HOST,) = hosts_of(Topology(partitions=2), STAGE, 1, 1)


class Stream:
    """In the place of the broker: takes bundles, or does what a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bundles: list[int] = []
        self.does: Callable[[], Any] = lambda: None
        self.archiver = Archiver(cast(Any, None), cast(Any, None), Names(Topology(), (1.0,)))
        monkeypatch.setattr(archiving, "confirmed", self.confirmed)

    async def confirmed(self, _: object, __: object, exchange: str, key: str, message: Any) -> None:
        done = self.does()
        if done is not None:
            await done
        self.bundles.append(len(archived(STAGE, 0, message.body)))

    def add(self, count: int, body: bytes | None = None) -> None:
        for sequence in range(count):
            statement = change(HOST, sequence + 1)
            self.archiver.add(statement, body or encode(statement), 0.0)


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    return Stream(monkeypatch)


async def test_what_is_published_while_one_is_on_its_way_goes_together(stream: Stream) -> None:
    gate = asyncio.Event()
    stream.does = gate.wait
    stream.add(1)
    await asyncio.sleep(0)
    stream.add(5)
    gate.set()
    await stream.archiver.finish()
    assert stream.bundles == [1, 5]


async def test_one_by_itself_goes_at_once_and_what_soon_follows_goes_together(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "_PAUSE", 60.0)
    for _ in range(3):
        stream.add(1)
        for _ in range(10):
            await asyncio.sleep(0)
        assert stream.bundles == [1]
    await stream.archiver.finish()
    assert stream.bundles == [1, 2]


async def test_more_than_a_bundle_takes_does_not_pile_up_behind_pauses(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "_PAUSE", 60.0)
    monkeypatch.setattr(archiving, "_BUNDLE", 1)
    stream.add(5)
    async with asyncio.timeout(10):
        while len(stream.bundles) < 5:
            await asyncio.sleep(0)
    assert stream.bundles == [1] * 5


async def test_what_there_was_no_time_for_at_the_end_is_said(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "_WITHIN", 0.05)
    monkeypatch.setattr(archiving, "answered", lambda *_: nullcontext())
    stream.does = asyncio.Event().wait
    stream.add(1)
    await asyncio.sleep(0)
    stream.add(3)
    with capture_logs() as logs:
        await stream.archiver.finish()
    assert [(each["event"], each["count"]) for each in logs] == [("statements are missing in the archive", 4)]


async def test_while_the_archive_takes_nothing_nothing_piles_up(stream: Stream) -> None:
    """What waited is given up with the bundle that failed, and said; what comes later is tried again."""

    async def refused() -> None:
        stream.add(7)
        raise BusUnavailable("the broker refused it")

    stream.does = refused
    with capture_logs() as logs:
        stream.add(1)
        await stream.archiver.finish()
    assert [(each["event"], each["count"]) for each in logs] == [("statements are missing in the archive", 8)]
    stream.does = lambda: None
    stream.add(2)
    await stream.archiver.finish()
    assert stream.bundles == [2]


async def test_an_archive_that_does_not_answer_is_not_waited_for(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "_WITHIN", 0.05)
    stream.does = asyncio.Event().wait
    with capture_logs() as logs:
        stream.add(3)
        async with asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.01)
    assert [each["count"] for each in logs] == [3]


async def test_one_that_is_too_large_takes_no_other_with_it(stream: Stream) -> None:
    with capture_logs() as logs:
        stream.add(1)
        stream.add(1, b"x" * (MAX_BYTES + 1))
        stream.add(1)
        await stream.archiver.finish()
    assert sum(stream.bundles) == 2
    assert [each["event"] for each in logs] == ["a statement is too large for the archive"]
