"""What a vCenter owns: as far as it is known without asking, or looked at."""

from __future__ import annotations

import random
import time
from dataclasses import replace

from vcenter_operator.applier.ports import Cluster, place_of
from vcenter_operator.applier.state import VCenterState


class Looking:
    """Takes over into a vCenter's state what the cluster holds.

    Seconds until everything is looked at again: `look_every` where it is not watched, `relist_every` where it is.
    """

    def __init__(self, cluster: Cluster, *, look_every: float, relist_every: float) -> None:
        self._cluster = cluster
        self._look_every = look_every
        self._relist_every = relist_every

    def know(self, state: VCenterState) -> bool:
        """Takes over what is known without asking; False: it has to be looked at.

        What is in no ApplySet is not known, and neither is what the deployed operator made: so where anything is
        missing it has to be looked at once before anything is written.
        """
        index = state.delta.index if state.delta else {}
        known = self._cluster.known(state.host, state.places, index)
        if known is None:
            return False
        objects = known.holdings.objects
        if not state.surveyed and any(one not in objects and one not in known.others for one in index):
            return False
        strangers = {one: seen for one, seen in state.strangers.items() if one in index and one not in objects}
        state.others = {**strangers, **known.others}
        state.hold(known.holdings)
        if not state.look_at:  # a vCenter that is new
            state.look_at = self._again_at(told=not known.holdings.barred)
        return True

    async def look(self, state: VCenterState, *, afresh: bool = True) -> None:
        """Reads all that is owned, and what stands under the ids of the index; not `afresh`: what no watch tells of."""
        holdings = await self._cluster.owned(state.host, state.places, afresh=afresh)
        index = state.delta.index if state.delta else {}
        missing = [
            object_id
            for object_id in index
            if object_id not in holdings.objects and place_of(object_id) not in holdings.barred
        ]
        found = await self._cluster.occupants(state.host, missing, afresh=afresh) if missing else {}
        known = self._cluster.known(state.host, state.places, index)
        told = known.others if known else {}
        ours = {object_id: one for object_id, one in found.items() if one.host == state.host}
        others = {object_id: one for object_id, one in found.items() if object_id not in ours}
        state.others = others if afresh else {**told, **others}
        state.strangers = {object_id: one for object_id, one in others.items() if object_id not in told}
        state.surveyed = state.delta is not None
        state.hold(replace(holdings, objects={**holdings.objects, **ours}))
        in_sight = known is not None and not (state.strangers or holdings.barred)
        state.look_at = self._again_at(told=in_sight)

    def _again_at(self, *, told: bool) -> float:
        """When (monotonic), depending on whether everything that matters is told of by watches."""
        every = self._relist_every if told else self._look_every
        return time.monotonic() + every * random.uniform(0.8, 1.2)  # noqa: S311
