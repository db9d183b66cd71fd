"""The applier's section of the record: what was acted on is stored before it is acted on, by compare-and-swap."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common.errors import StaleRecord, TransientError
from vcenter_operator.common.messages import Provenance, Stage
from vcenter_operator.common.record.port import Applied, Store
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_TRIES = 8


class Acceptance(Enum):
    """What the record says to a delta."""

    OLDER = auto()
    """Something newer was acted on: it is to be dropped."""
    KNOWN = auto()
    """It is what was acted on last, as far as this process knows."""
    STORED = auto()
    """It is the newest now, by the record as it is."""


class Recorder:
    """Reads and writes the section."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept(self, state: VCenterState, provenance: Provenance, *, afresh: bool = False) -> Acceptance:
        """Whether a delta of this provenance is to be worked on. If so, nothing older will be from now on.

        With `afresh` the record is read in any case. Raises TransientError, OwnershipLost.
        """
        if state.applied is not None and not afresh:
            if provenance.older_than(state.applied.acted_on):
                return Acceptance.OLDER
            if provenance == state.applied.acted_on:
                return Acceptance.KNOWN

        def newest(applied: Applied | None) -> Applied | None:
            if applied is None:
                return Applied(acted_on=provenance)
            if provenance.older_than(applied.acted_on):
                return None
            return applied.model_copy(update={"acted_on": provenance})

        return Acceptance.STORED if await self._swap(state, newest) else Acceptance.OLDER

    async def conclude(self, state: VCenterState, section: Applied) -> None:
        """Stores what came of it, unless something newer was acted on meanwhile."""
        if section == state.applied:
            return
        await self._swap(
            state, lambda applied: section if applied is None or applied.acted_on == section.acted_on else None
        )

    async def keep(self, state: VCenterState) -> None:
        """Writes the section again where somebody deleted it: the next owner has to know what was acted on."""
        if state.applied is None:
            return
        record = await self._store.get(state.host)
        if record is None or (record.applied is None and Stage.APPLIER not in record.problems):
            log.warning("the record was deleted: written again", vcenter=state.host)
            state.ownership.verify()
            await self._store.write(state.host, state.applied, version=record.version if record else None)

    async def _swap(self, state: VCenterState, change: Callable[[Applied | None], Applied | None]) -> bool:
        for _ in range(_TRIES):
            record = await self._store.get(state.host)
            if record is not None:
                record.check(Stage.APPLIER)
            applied = record.applied if record else None
            wanted = change(applied)
            if wanted is None:
                state.applied = applied
                return False
            if wanted != applied:
                state.ownership.verify()
                try:
                    await self._store.write(state.host, wanted, version=record.version if record else None)
                except StaleRecord:
                    continue
            state.applied = wanted
            return True
        raise TransientError(f"VCenter {state.host}: its record is written by others all the time")
