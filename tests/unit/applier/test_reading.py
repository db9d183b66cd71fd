"""Lists that are the same for all vCenters are shared by those that ask before they begin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.unit.applier.given import OWN
from vcenter_operator.applier.adapters.kubernetes.kinds import Kinds, Served
from vcenter_operator.applier.adapters.kubernetes.reading import Reading
from vcenter_operator.applier.core.observed import GroupKind
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.kubernetes.api import Api, Listing, Resource

PLACE = GroupKind("", "ConfigMap"), "monsoon3"
IDS = [ObjectId("", "ConfigMap", "monsoon3", f"c-{number}") for number in range(12)]


class Server:
    """In the place of the API server: a list has the one object that is there when it begins, and ends when it may."""

    def __init__(self) -> None:
        self.there = "c-1"
        self.lists = 0
        self.may_end = asyncio.Event()
        self.fails = False

    async def find(self, _: GroupKind) -> Served:
        return Served(Resource("", "v1", "configmaps"), namespaced=True)

    async def list(self, _: str, *, kept: Callable[[dict[str, Any]], Any], **__: Any) -> Listing:
        self.lists += 1
        item = {"metadata": {"name": self.there, "namespace": "monsoon3", "uid": "u", "resourceVersion": "7"}}
        await self.may_end.wait()
        if self.fails:
            raise TransientError("the API server is away")
        return Listing([kept(item)], 9)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def reading(server: Server) -> Reading:
    return Reading(cast(Api, server), cast(Kinds, server), OWN, concurrency=10)


def asked(reading: Reading, number: int) -> list[asyncio.Task[dict[ObjectId, Any]]]:
    """So many vCenters ask at once."""
    return [asyncio.create_task(reading.occupants(f"vc-{each}", IDS, {PLACE})) for each in range(number)]


async def test_who_asks_while_one_is_under_way_shares_the_next(reading: Reading, server: Server) -> None:
    first = asked(reading, 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    server.there = "c-2"
    later = asked(reading, 20)
    await asyncio.sleep(0)
    server.may_end.set()
    found = [list(each) for each in await asyncio.gather(*first, *later)]
    assert found == [[IDS[1]], *([[IDS[2]]] * 20)]
    assert server.lists == 2
    server.there = "c-3"
    assert list(await reading.occupants("vc-0", IDS, {PLACE})) == [IDS[3]]
    assert not reading._shared, "the whole region is not kept for later"


async def test_a_failure_is_shared_and_what_is_given_up_is_not(reading: Reading, server: Server) -> None:
    given_up, *others = asked(reading, 4)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    given_up.cancel()
    server.fails = True
    server.may_end.set()
    ends = await asyncio.gather(given_up, *others, return_exceptions=True)
    assert [type(each) for each in ends] == [asyncio.CancelledError, *([TransientError] * 3)]
    assert server.lists == 2, "what takes long to fail is not tried by one after the other"
    server.fails = False
    assert list(await reading.occupants("vc-0", IDS, {PLACE})) == [IDS[1]]
