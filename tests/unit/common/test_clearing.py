"""Taking away what is parked: when the queue is read, and that it ends with the connection that it goes over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq import clearing
from vcenter_operator.common.bus.rabbitmq.clearing import Clearing
from vcenter_operator.common.bus.rabbitmq.connection import Link
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.messages import Stage


class Lost:
    """Of a link, whether it is lost."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()


@pytest.fixture
def parked() -> list[int]:
    """How many messages the queue has, in one number."""
    return [1]


@pytest.fixture
def reads(parked: list[int], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the queue was read."""
    found: list[float] = []

    async def counted(*_: object) -> int:
        return parked[0]

    @asynccontextmanager
    async def taken(*_: object) -> AsyncIterator[list[object]]:
        found.append(time.monotonic())
        yield []

    monkeypatch.setattr(clearing, "count_parked", counted)
    monkeypatch.setattr(clearing, "taking", taken)
    return found


@pytest.fixture
def one() -> Clearing:
    return Clearing(cast(Link, Lost()), Names(Topology(), (1.0,)), Stage.COLLECTOR, 0.01)


async def test_the_queue_is_read_only_when_the_number_is_another(
    reads: list[float], parked: list[int], one: Clearing
) -> None:
    """A quorum queue counts how often it hands a message over."""
    for number, reads_by_then in ((1, 1), (2, 2), (1, 3), (0, 3)):
        parked[0] = number
        for _ in range(20):
            await one._clear({})
        assert len(reads) == reads_by_then


async def test_it_is_read_now_and_then_for_one_that_came_for_one_that_went(
    reads: list[float], one: Clearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clearing, "_LOOK_EVERY", 0.0)
    for _ in range(3):
        await one._clear({})
    assert len(reads) == 3


async def test_what_fails_while_it_is_cancelled_does_not_keep_it_going(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection that is gone nothing can be given back, and that error takes the cancellation's place."""
    reading = asyncio.Event()

    async def stalled(*_: object) -> None:
        reading.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise BusUnavailable("giving back what stays: the connection is gone")

    monkeypatch.setattr(Clearing, "_clear", stalled)
    one = Clearing(cast(Link, Lost()), Names(Topology(), (1.0,)), Stage.COLLECTOR, 0.01)
    task = asyncio.create_task(one.run({}))
    async with asyncio.timeout(10):
        await reading.wait()
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.done()


async def test_on_a_lost_connection_it_ends_and_else_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    link, tries = Lost(), 0

    async def failing(*_: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            link.lost.set()
        raise BusUnavailable("the broker is away")

    monkeypatch.setattr(Clearing, "_clear", failing)
    with pytest.raises(BusUnavailable):
        async with asyncio.timeout(10):
            await Clearing(cast(Link, link), Names(Topology(), (1.0,)), Stage.COLLECTOR, 0.01).run({})
    assert tries == 3
