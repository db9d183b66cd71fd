"""The applier's section of the record: what was acted on is stored before it is acted on, by compare-and-swap.

What is decided by may be a moment old, where the store knows the record without asking: then the write is refused, the
record is read, and it is decided again.
"""

from __future__ import annotations

from collections.abc import Callable

from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common.errors import StaleRecord, TransientError
from vcenter_operator.common.messages import Provenance, Stage
from vcenter_operator.common.record.port import ABSENT, Applied, Store
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_TRIES = 8

Change = Callable[[Applied | None], Applied | None]
"""The section to be stored instead of this one; None: none, since something newer was acted on."""


class Recorder:
    """Reads and writes the section."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def is_newest(self, state: VCenterState, provenance: Provenance) -> bool:
        """Whether nothing newer than this was acted on, or is about to be, as far as is known.

        Raises TransientError.
        """
        if state.delta is not None and provenance.older_than(state.delta.provenance):
            return False
        if state.applied is None or state.applied.acted_on != provenance:
            await self._read(state, fresh=False)
        return state.applied is None or not provenance.older_than(state.applied.acted_on)

    async def store(self, state: VCenterState, change: Change, *, afresh: bool = False) -> bool:
        """Stores what is made of the section as it is, if it is different. False: something newer was acted on.

        With `afresh` the record is read where nothing is to be written. Raises TransientError, OwnershipLost.
        """
        for attempt in range(_TRIES):
            if attempt:
                await self._read(state, fresh=True)
            wanted = change(state.applied)
            if wanted is None:
                return False
            if wanted == (state.record.applied if state.record else None):
                if attempt or not afresh:
                    return True
                continue
            state.ownership.verify()
            version = state.record.version if state.record else ABSENT
            try:
                state.record = await self._store.write(state.host, wanted, version=version)
            except StaleRecord:
                continue
            state.applied = state.record.applied or wanted
            return True
        raise TransientError(f"VCenter {state.host}: its record is written by others all the time")

    async def keep(self, state: VCenterState) -> None:
        """Reads what people said, and writes the section again where somebody deleted it: the next owner has to know

        what was acted on.
        """
        applied = state.applied
        if applied is None:
            return
        record = await self._store.get(state.host, fresh=False)
        if record is not None and record.applied is not None:
            state.record, state.applied = record, record.applied
        elif record is None or Stage.APPLIER not in record.problems:
            log.warning("the record was deleted: written again", vcenter=state.host)
            state.ownership.verify()
            version = record.version if record else ABSENT
            state.record = await self._store.write(state.host, applied, version=version)

    async def _read(self, state: VCenterState, *, fresh: bool) -> None:
        """What somebody deleted is remembered here: what is held, and what goes by the hour, is not forgotten by it."""
        record = await self._store.get(state.host, fresh=fresh)
        if record is not None:
            record.check(Stage.APPLIER)
        state.record = record
        if record is not None and record.applied is not None:
            state.applied = record.applied


def acting_on(state: VCenterState, applied: Applied | None) -> Applied | None:
    """The section with the state's delta as what is acted on; None: something newer is."""
    assert state.delta is not None
    provenance = state.delta.provenance
    if applied is None:
        return Applied(acted_on=provenance)
    if provenance.older_than(applied.acted_on):
        return None
    return applied.model_copy(update={"acted_on": provenance})
