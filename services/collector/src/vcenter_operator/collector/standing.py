"""What is stated about one vCenter by the replica that owns it, and what the record remembers of it.

The order of writing keeps a crash at any point harmless: a cluster is recorded, under each of its names, before the
Inventory that states it goes out, and forgotten only after the one that states it gone. All else waits until the
Inventory is out: conditions are for people, the next owner's epoch is higher than any revision of ours, and a member
that was stated and not yet recorded is missed only by an owner that takes over in that moment and cannot see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

from vcenter_operator.collector.core.evidence import Conclusion, in_order
from vcenter_operator.common.bus import Bus, Ownership
from vcenter_operator.common.identity import NEVER, Revision
from vcenter_operator.common.messages import DnsChange, Inventory, Stage, Trace, ZoneSource
from vcenter_operator.common.record import Collected, Condition, RecordedCluster, RefusedLogins, Store
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_NAMED = 5
"""How many unknown clusters a condition names."""


class Standing:
    """The current statement about one vCenter, from taking its partition until losing it.

    Every method may raise TransientError, and leaves things so that calling it again goes on where it failed.
    """

    def __init__(self, change: DnsChange, ownership: Ownership, bus: Bus, store: Store) -> None:
        self.host = change.host
        self.change = change
        """The newest word of discovery."""
        self.statement: Inventory | None = None
        """What was minted last; None: nothing is known of it yet."""
        self.refused: RefusedLogins | None = None
        """Set by whoever logs on, after `recall`; recorded with what is written next."""
        self._ownership = ownership
        self._bus = bus
        self._store = store
        self._lock = asyncio.Lock()
        self._published = False
        self._sequence = 0
        self._cause: Trace | None = change.trace
        self._recalled = False
        self._section = Collected(revision=NEVER)
        self._conditions: dict[str, Condition] = {}

    @property
    def recorded(self) -> tuple[RecordedCluster, ...]:
        """The clusters that were stated and are not proven gone; after `recall`."""
        return self._section.clusters

    async def recall(self) -> None:
        """Reads the record, the first time."""
        if self._recalled:
            return
        record = await self._store.get(self.host)
        if record is not None:
            record.check(Stage.COLLECTOR)
        if record is not None and record.collected is not None:
            self._section = record.collected
            self.refused = record.collected.refused
            remembered = {condition.type: condition for condition in record.collected.conditions}
            self._conditions = remembered | self._conditions
        self._recalled = True

    def adopt(self, change: DnsChange) -> None:
        """A newer word of discovery. What was made from the last one has to be published again: see `publish`."""
        self.change, self._cause = change, change.trace
        if change.present and self.statement is not None and not self.statement.present:
            self.statement = None  # it is back, and nothing is known of it yet

    async def publish(self) -> None:
        """Publishes the current statement, unless exactly this was published already."""
        async with self._lock:
            await self._publish()

    async def repeat(self) -> None:
        """Says the current statement again."""
        async with self._lock:
            await self._publish()
            if self.statement is not None:
                self._ownership.verify()
                await self._bus.publish(self.statement.repeated())

    async def keep_recorded(self) -> None:
        """Writes the record's section again where somebody deleted it: the next owner has to know of the clusters."""
        async with self._lock:
            if not self._recalled or not self.change.present or self._section.revision == NEVER:
                return
            record = await self._store.get(self.host)
            if record is None or (record.collected is None and Stage.COLLECTOR not in record.problems):
                log.warning("the record was deleted: written again", vcenter=self.host)
                await self._store.write(self.host, self._section, verify=self._ownership.verify)

    async def state(self, conclusion: Conclusion) -> bool:
        """States what a reading came to; False: it says nothing new."""
        async with self._lock:
            self._note(connected("True", "LoggedOn", "logged on, and watching for changes"), collected(conclusion))
            current = self.statement
            new = current is None or (current.clusters, current.unknown) != (conclusion.clusters, conclusion.unknown)
            if new:
                if not _identities(conclusion.recorded) <= _identities(self.recorded):
                    await self._remember([*self.recorded, *conclusion.recorded], self._next_revision)
                self._mint(True, conclusion)
            await self._publish()
            await self._remember(conclusion.recorded)
            return new

    async def state_gone(self) -> None:
        """States that the zone lacks it. Its clusters stay recorded: they are looked for again if it comes back."""
        await self.recall()
        async with self._lock:
            self._note(connected("False", "NotInZone", "a complete zone lacks it: its objects are retained"))
            if self.statement is None or self.statement.present:
                self._mint(False, Conclusion())
            await self._publish()
            await self._remember(self.recorded)

    async def show(self, *conditions: Condition) -> None:
        """Shows conditions in the record."""
        await self.recall()
        async with self._lock:
            self._note(*conditions)
            await self._remember(self.recorded)

    @property
    def _next_revision(self) -> Revision:
        return Revision(self._ownership.epoch, self._sequence + 1)

    def _mint(self, present: bool, conclusion: Conclusion) -> None:
        self.statement = Inventory(
            host=self.host,
            present=present,
            revision=self._next_revision,
            zone=self._zone(),
            clusters=conclusion.clusters,
            unknown=conclusion.unknown,
            trace=self._cause.caused() if self._cause else Trace(),
        )
        self._sequence += 1
        self._published, self._cause = False, None

    async def _publish(self) -> None:
        if self.statement is None:
            return
        if self.statement.zone != self._zone():
            # The inventory was not observed anew, so it keeps its revision.
            trace = self.change.trace.caused()
            self.statement = self.statement.model_copy(update={"zone": self._zone(), "trace": trace})
            self._published = False
        if not self._published:
            self._ownership.verify()
            await self._bus.publish(self.statement)
            self._published = True

    async def _remember(self, clusters: Iterable[RecordedCluster], revision: Revision | None = None) -> None:
        assert self._recalled, "what is not known cannot be kept"
        section = Collected(
            revision=revision or (self.statement.revision if self.statement else self._section.revision),
            clusters=in_order(clusters),
            refused=self.refused,
            conditions=tuple(self._conditions[kind] for kind in sorted(self._conditions)),
        )
        if section == self._section:
            return
        await self._store.write(self.host, section, verify=self._ownership.verify)
        self._section = section

    def _note(self, *conditions: Condition) -> None:
        self._conditions |= {condition.type: condition for condition in conditions}

    def _zone(self) -> ZoneSource:
        return ZoneSource(revision=self.change.revision, serial=self.change.serial)


def _identities(recorded: Iterable[RecordedCluster]) -> set[RecordedCluster]:
    return {entry.model_copy(update={"members": ()}) for entry in recorded}


def connected(status: Literal["True", "False", "Unknown"], reason: str, message: str) -> Condition:
    """Whether there is a session with the vCenter."""
    return Condition(type="Connected", status=status, reason=reason, message=message)


def collected(conclusion: Conclusion) -> Condition:
    """Whether everything about its clusters could be read."""
    problems = [f"{cluster.cluster_name}: {cluster.reason}" for cluster in conclusion.unknown]
    problems += conclusion.unplaced
    if not problems:
        message = f"everything about {len(conclusion.clusters)} clusters was read"
        return Condition(type="Collected", status="True", reason="Complete", message=message)
    message = f"{len(problems)} clusters are left as they are: {'; '.join(problems[:_NAMED])}"
    if len(problems) > _NAMED:
        message += f"; and {len(problems) - _NAMED} more"
    return Condition(type="Collected", status="False", reason="Partial", message=message)
