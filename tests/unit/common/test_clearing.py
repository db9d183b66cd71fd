"""Taking away what is parked ends with the connection that it goes over."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.clearing import Clearing
from vcenter_operator.common.bus.rabbitmq.connection import Link
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.messages import Stage


class Lost:
    """Of a link, whether it is lost."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()


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
    clearing = Clearing(cast(Link, Lost()), Names(Topology(), (1.0,)), Stage.COLLECTOR, 0.01)
    task = asyncio.create_task(clearing.run({}))
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
