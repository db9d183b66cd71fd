"""What is known without asking is not looked at, until it is time for the net under the watches."""

from __future__ import annotations

import time
from collections.abc import Collection

from tests.fakes.cluster import SimulatedCluster
from tests.unit.applier.given import HOST, OWN
from vcenter_operator.applier.looking import Looking
from vcenter_operator.applier.ports import Holdings, Known, Place
from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common.bus import Ownership
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import Stage


class Watched(SimulatedCluster):
    """A cluster of which everything is known, or nothing."""

    current = True

    def known(self, host: str, places: Collection[Place], ids: Collection[ObjectId]) -> Known | None:
        return Known(Holdings()) if self.current else None


def state() -> VCenterState:
    return VCenterState(HOST, Ownership(Stage.APPLIER, 0, 1))


def looking(cluster: Watched) -> Looking:
    return Looking(cluster, look_every=300.0, relist_every=3600.0)


def test_a_vcenter_that_is_new_is_not_listed_at_once_where_watches_tell_of_all_that_it_owns() -> None:
    one = state()

    assert looking(Watched(OWN)).know(one)
    assert 2800 < one.look_at - time.monotonic() < 4400


def test_what_is_known_again_and_again_is_listed_in_time_all_the_same() -> None:
    one, look = state(), looking(Watched(OWN))
    look.know(one)
    due = one.look_at

    look.know(one)
    assert one.look_at == due


async def test_what_is_not_watched_is_looked_at_more_often() -> None:
    cluster, one = Watched(OWN), state()
    cluster.current = False

    assert not looking(cluster).know(one)
    assert one.look_at == 0
    await looking(cluster).look(one)
    assert 200 < one.look_at - time.monotonic() < 400
