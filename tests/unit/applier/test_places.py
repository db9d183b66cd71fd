"""The places for writing: shared out so that no vCenter has all of them, and none is lost."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from vcenter_operator.applier.places import Places


async def fill(places: Places, host: str, stack: AsyncExitStack, most: int) -> int:
    """How many places a vCenter gets that wants this many, and gives none back."""
    for taken in range(most):
        try:
            async with asyncio.timeout(0.01):
                await stack.enter_async_context(places.taken(host))
        except TimeoutError:
            return taken
    return most


@pytest.mark.parametrize(("total", "alone"), [(1, 1), (2, 1), (5, 4), (10, 8), (50, 40)])
async def test_a_vcenter_alone_gets_four_fifths(total: int, alone: int) -> None:
    async with AsyncExitStack() as stack:
        assert await fill(Places(total), "a", stack, 100) == alone


async def test_several_that_hang_leave_a_place_to_one_more() -> None:
    places = Places(10)
    async with AsyncExitStack() as stack:
        taken = [await fill(places, host, stack, 100) for host in "abc"]
        assert taken == [8, 1, 1]
    async with AsyncExitStack() as stack:
        shared = dict.fromkeys("ab", 0)
        for _ in range(10):
            for host in shared:
                shared[host] += await fill(places, host, stack, 1)
        assert shared == {"a": 5, "b": 4}
        assert await fill(places, "c", stack, 1) == 1


async def test_whoever_waits_gets_the_place_that_is_given_back_also_when_others_gave_up() -> None:
    places, order = Places(1), list[str]()

    async def work(host: str) -> None:
        async with places.taken(host):
            order.append(host)
            await asyncio.sleep(0)

    async with places.taken("first"):
        tasks = [asyncio.create_task(work(host)) for host in ("b", "c", "d")]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["c", "d"]


async def test_a_place_that_comes_as_its_waiter_gives_up_is_not_lost() -> None:
    places = Places(1)

    async def take() -> None:
        async with places.taken("a"):
            pass

    async with places.taken("first"):
        waiting = asyncio.create_task(take())
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(1), places.taken("b"):
        pass


async def test_vcenters_take_turns_however_much_one_of_them_has_to_write() -> None:
    places, order = Places(1), list[str]()

    async def work(host: str) -> None:
        async with places.taken(host):
            order.append(host)
            await asyncio.sleep(0)

    async with places.taken("first"):
        tasks = [asyncio.create_task(work(host)) for host in "aaabc"]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c", "a", "a"]


async def test_a_place_costs_no_more_when_a_whole_region_waits() -> None:
    """500 vCenters with 100 objects each: looked through anew for each place they would take a quarter of a minute."""
    places = Places(10)

    async def work(host: str) -> None:
        async with places.taken(host):
            await asyncio.sleep(0)

    began = time.process_time()
    await asyncio.gather(*(work(f"vc-{number % 500}") for number in range(50_000)))
    assert time.process_time() - began < 6
