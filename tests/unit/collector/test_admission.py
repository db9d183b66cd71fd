"""Only so many vCenters are worked on at once, and one that hangs does not keep the others out."""

from __future__ import annotations

import asyncio

import pytest

from vcenter_operator.collector.adapters.admission import Admission


async def test_so_many_are_let_in_at_once_and_the_next_as_soon_as_one_is_done() -> None:
    admission, inside, most = Admission(3, patience=60), 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with admission.admitted():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(30):
        await asyncio.gather(*(work() for _ in range(50)))
    assert most == 3


async def test_those_that_hang_or_are_cancelled_keep_nobody_out_for_long() -> None:
    admission = Admission(2, patience=0.01)

    async def hang() -> None:
        async with admission.admitted():
            await asyncio.Event().wait()

    hung = [asyncio.create_task(hang()) for _ in range(5)]
    async with asyncio.timeout(30):
        async with admission.admitted():
            pass
    for task in hung:
        task.cancel()
    await asyncio.wait(hung)
    # What the patience gave back is not given back once more.
    admission = Admission(1, patience=0.01)
    with pytest.raises(TimeoutError):
        async with admission.admitted(), asyncio.timeout(0.05):
            await asyncio.Event().wait()
    patient = Admission(1, patience=60)
    async with patient.admitted():
        waiting = asyncio.create_task(patient.admitted().__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
    async with asyncio.timeout(30), patient.admitted():
        pass
    assert admission._free._value == 1
