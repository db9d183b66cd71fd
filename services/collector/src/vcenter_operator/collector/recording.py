"""The collector's section of one vCenter's record: what it is to hold is known here, and written at once or soon.

At once (`write`) where somebody else has to be able to rely on it before something happens; else (`write_soon`) a
second later, in one, and by a task of its own: nobody waits for it, and the applier's writes to the same resource,
which follow a statement, are not refused because of ours in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from vcenter_operator.collector.core.evidence import in_order
from vcenter_operator.common.bus import Ownership
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import OperatorError
from vcenter_operator.common.identity import NEVER, Revision
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.record import Collected, Condition, RecordedCluster, RefusedLogins, Store
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_SOON = 1.0
"""Seconds."""
_LAST = 2.0
"""Seconds for the last write."""
_DELAYS = RetryDelays(first=1.0, longest=15.0)


class Recorder:
    """From taking a vCenter's partition until losing it."""

    def __init__(self, host: str, ownership: Ownership, store: Store) -> None:
        self.clusters: tuple[RecordedCluster, ...] = ()
        """Those that were stated and are not proven gone; after `recall`."""
        self.refused: RefusedLogins | None = None
        """Set by whoever logs on, after `recall`."""
        self._host = host
        self._ownership = ownership
        self._store = store
        self._revision = NEVER
        self._conditions: dict[str, Condition] = {}
        self._recalled = False
        self._held: Collected | None = Collected(revision=NEVER)
        """What the record holds; None: a write is under way, or what became of one is not known."""
        self._identities: set[RecordedCluster] = set()
        """The clusters that it holds in any case."""
        self._writing = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None
        self._closed = False

    async def recall(self) -> None:
        """Reads the record, the first time. Raises TransientError, PermanentError."""
        if self._recalled:
            return
        record = await self._store.get(self._host)
        if record is not None:
            record.check(Stage.COLLECTOR)
        if record is not None and record.collected is not None:
            self._held = found = record.collected
            self._identities = _identities(found.clusters)
            self._revision, self.clusters, self.refused = found.revision, found.clusters, found.refused
            self._conditions = {condition.type: condition for condition in found.conditions} | self._conditions
        self._recalled = True

    def note(self, *conditions: Condition) -> None:
        """These conditions, in the place of those of their types."""
        self._conditions |= {condition.type: condition for condition in conditions}

    def remember(self, clusters: Iterable[RecordedCluster], revision: Revision) -> None:
        """These clusters, as they are stated under this revision."""
        self.clusters, self._revision = in_order(clusters), revision

    def holds(self, clusters: Iterable[RecordedCluster]) -> bool:
        """Whether the record has all of these clusters, whatever becomes of a write that is under way."""
        return _identities(clusters) <= self._identities

    @property
    def written(self) -> bool:
        """Whether the record holds all that it is to hold."""
        return self._held == self._wanted

    async def write(self) -> None:
        """Writes what is due, now. Raises TransientError, and then goes on trying by itself."""
        try:
            await self._write()
        except OperatorError:
            self.write_soon()
            raise

    def write_soon(self) -> None:
        """Writes what is due in a second, and as often as that fails again later."""
        if not self.written and not self._closed and (self._later is None or self._later.done()):
            self._later = asyncio.create_task(self._write_later(), name=f"record {self._host}")

    async def until_written(self) -> None:
        """Returns when the record holds it all, or nothing is written any more."""
        while not self.written and not self._closed:
            self.write_soon()
            assert self._later is not None
            await asyncio.wait([self._later])

    async def keep(self) -> None:
        """Writes it again where somebody deleted the record: the next owner has to know of the clusters."""
        if self._held is None or self._held.revision == NEVER:
            return
        record = await self._store.get(self._host, fresh=False)
        if record is None or (record.collected is None and Stage.COLLECTOR not in record.problems):
            log.warning("the record was deleted: written again", vcenter=self._host)
            self._held, self._identities = None, set()
            await self.write()

    async def close(self) -> None:
        """Writes what is due for the last time, if that is possible soon. Raises nothing."""
        self._closed = True
        if self._later is not None:
            self._later.cancel()
            await asyncio.wait([self._later])
        if not self._recalled or self.written:
            return
        try:
            async with asyncio.timeout(_LAST):
                await self._write()
        except (OperatorError, TimeoutError) as error:
            log.info("not recorded any more", vcenter=self._host, error=str(error) or "no answer in time")

    @property
    def _wanted(self) -> Collected:
        return Collected(
            revision=self._revision,
            clusters=self.clusters,
            refused=self.refused,
            conditions=tuple(self._conditions[kind] for kind in sorted(self._conditions)),
        )

    async def _write(self) -> None:
        async with self._writing:
            assert self._recalled, "what is not known cannot be kept"
            section = self._wanted
            if section == self._held:
                return
            identities = _identities(section.clusters)
            self._held, self._identities = None, self._identities & identities
            await self._store.write(self._host, section, verify=self._ownership.verify)
            self._held, self._identities = section, identities

    async def _write_later(self) -> None:
        failures = 0
        while not self.written:
            await asyncio.sleep(_DELAYS.after(failures) if failures else _SOON)
            try:
                await self._write()
                failures = 0
            except OperatorError as error:
                failures += 1
                tell = log.info if failures == 1 else log.debug
                tell("this cannot be recorded now, and is tried again", vcenter=self._host, error=str(error))
            except Exception:
                failures += 1
                log.exception("unexpected error", vcenter=self._host)


def _identities(clusters: Iterable[RecordedCluster]) -> set[RecordedCluster]:
    return {cluster.model_copy(update={"members": ()}) for cluster in clusters}
