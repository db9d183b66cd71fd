"""What is stated about one vCenter by the replica that owns it.

The order of writing keeps a crash at any point harmless: a cluster is recorded, under each of its names, before the
Inventory that states it goes out, and forgotten only after the one that states it gone. All else is recorded when the
Inventory is out, and nobody waits for it: conditions are for people, the next owner's epoch is higher than any revision
of ours, and a member that was stated and not yet recorded is missed only by an owner that takes over in that moment and
cannot see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

from vcenter_operator.collector.core.evidence import Conclusion
from vcenter_operator.collector.recording import Recorder
from vcenter_operator.common.bus import Bus, Ownership
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import DnsChange, Inventory, Stage, Trace, ZoneSource
from vcenter_operator.common.record import Condition, RecordedCluster, Store
from vcenter_operator.common.tracing import Observation

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
        self.recorder = Recorder(change.host, ownership, store)
        self._ownership = ownership
        self._bus = bus
        self._lock = asyncio.Lock()
        self._published = False
        self._sequence = 0
        self._cause: Trace | None = change.trace
        """The word of discovery of which nothing came yet."""

    def adopt(self, change: DnsChange) -> None:
        """A newer word of discovery. What was made from the last one has to be published again: see `publish`."""
        if change.age != self.change.age:
            self._cause = change.trace
        self.change = change
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
        """Sees to it that the record is there, as long as the vCenter is."""
        if self.change.present:
            await self.recorder.keep()

    async def state(self, conclusion: Conclusion, observation: Observation | None = None) -> bool:
        """States what a reading came to; False: it says nothing new. `observation`: the reading, for its trace."""
        recorder = self.recorder
        async with self._lock:
            recorder.note(connected("True", "LoggedOn", "logged on, and watching for changes"), collected(conclusion))
            current = self.statement
            new = current is None or any(
                getattr(current, name) != getattr(conclusion, name) for name in ("clusters", "unknown", "partial")
            )
            if new:
                if not recorder.holds(conclusion.recorded):
                    recorder.remember([*recorder.clusters, *conclusion.recorded], self._next_revision)
                    await recorder.write()
                self._mint(True, conclusion, observation)
            await self._publish()
            self._remember(conclusion.recorded)
            return new

    async def state_gone(self) -> None:
        """States that the zone lacks it. Its clusters stay recorded: they are looked for again if it comes back."""
        await self.recorder.recall()
        async with self._lock:
            self.recorder.note(connected("False", "NotInZone", "a complete zone lacks it"))
            if self.statement is None or self.statement.present:
                self._mint(False, Conclusion())
            await self._publish()
            self._remember(self.recorder.clusters)

    async def show(self, *conditions: Condition) -> None:
        """Shows conditions in the record. Where that fails it is tried again, whatever this raises."""
        await self.recorder.recall()
        self.recorder.note(*conditions)
        await self.recorder.write()

    async def close(self) -> None:
        """Records what is not recorded yet, if that is possible soon; after the last call of anything else."""
        await self.recorder.close()

    @property
    def _next_revision(self) -> Revision:
        return Revision(self._ownership.epoch, self._sequence + 1)

    def _mint(self, present: bool, conclusion: Conclusion, observation: Observation | None = None) -> None:
        observation = observation or Observation(Stage.COLLECTOR)
        counts = {"clusters": len(conclusion.clusters), "unknown": len(conclusion.unknown)}
        with observation.stated("inventory changed", self.host, self._cause, present=present, **counts) as trace:
            self.statement = Inventory(
                host=self.host,
                present=present,
                revision=self._next_revision,
                zone=self._zone(),
                clusters=conclusion.clusters,
                unknown=conclusion.unknown,
                partial=conclusion.partial,
                trace=trace,
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
            self._published, self._cause = False, None
        if not self._published:
            self._ownership.verify()
            await self._bus.publish(self.statement)
            self._published = True

    def _remember(self, clusters: Iterable[RecordedCluster]) -> None:
        assert self.statement is not None
        self.recorder.remember(clusters, self.statement.revision)
        self.recorder.write_soon()

    def _zone(self) -> ZoneSource:
        return ZoneSource(revision=self.change.revision, serial=self.change.serial)


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
