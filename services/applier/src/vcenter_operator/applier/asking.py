"""Asking the renderer for manifests that the index names and that are not at hand."""

from __future__ import annotations

import time

from vcenter_operator.applier.core.decisions import Plan
from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common.bus.port import Bus
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ResyncRequest, Stage, Trace
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_ASK_AGAIN_AFTER = 5.0
"""Seconds after which the same manifest is asked for again."""


class Asking:
    """Asks over the bus; what is asked for comes as a statement."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def ask(self, state: VCenterState, intended: Plan, cause: Trace | None) -> tuple[ObjectId, ...]:
        """Asks the renderer for the manifests that are lacking, unless that was done a moment ago.

        `cause`: the trace of the statement that names them, if it is one.
        """
        assert state.delta is not None
        now = time.monotonic()
        digests = {left.id: state.delta.index[left.id].digest for left in intended.lacking}
        recently = {
            object_id: (digest, at)
            for object_id, (digest, at) in state.asked.items()
            if digests.get(object_id) == digest and now - at < _ASK_AGAIN_AFTER
        }
        wanted = tuple(sorted(digests.keys() - recently.keys()))
        state.asked = recently
        if not wanted:
            return ()
        partition = self._bus.topology.partition(Stage.RENDERER, state.host)
        try:
            trace = cause.caused() if cause is not None else Trace()
            await self._bus.request(
                ResyncRequest(stage=Stage.RENDERER, partition=partition, host=state.host, objects=wanted, trace=trace)
            )
        except TransientError as error:
            log.warning("manifests not asked for", vcenter=state.host, error=str(error))
            return ()
        state.asked |= {object_id: (digests[object_id], now) for object_id in wanted}
        return wanted
