"""The bus port. Two adapters keep it, `rabbitmq` and `inprocess`, under one contract test suite."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from vcenter_operator.common.errors import MalformedMessage, OwnershipLost
from vcenter_operator.common.identity import partition_of
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement
from vcenter_operator.common.wire import name_of


@dataclass(frozen=True)
class Topology:
    """How many partitions there are, and of which generation."""

    partitions: int = 11
    generation: int = 1
    dry_run: bool = False
    """Dry runs are a pipeline of their own on the same broker: they take nothing away from the real one."""

    def partitions_of(self, stage: Stage) -> int:
        """Discovery owns one thing, the zone; every other stage P partitions."""
        return 1 if stage is Stage.DISCOVERY else self.partitions

    def partition(self, stage: Stage, host: str) -> int:
        """The partition of a stage that a vCenter belongs to."""
        return partition_of(host, self.partitions_of(stage))

    def expect(self, statement: Statement, partition: int) -> None:
        """Raises MalformedMessage: in this partition nobody may say anything about that vCenter.

        Two replicas would act on it, neither of which would know of the other.
        """
        if (own := self.partition(statement.receiver, statement.host)) != partition:
            raise MalformedMessage(f"{statement.host} belongs to partition {own}, and this is {partition}")


@dataclass(eq=False)
class Ownership:
    """That this replica owns a partition, from when it took it until it lost or gave it up.

    `valid_for` (seconds) is how long the ownership may be relied on without a word from the broker. A process that
    was stopped and wakes up finds it expired before it does anything, since the monotonic clock went on.
    """

    stage: Stage
    partition: int
    epoch: int
    valid_for: float = float("inf")
    confirmed_at: float = field(default_factory=time.monotonic, repr=False)
    """When the broker was last asked something that it answered (monotonic clock)."""
    _lost: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def held(self) -> bool:
        """Whether it is still ours."""
        return not self._lost.is_set() and time.monotonic() - self.confirmed_at < self.valid_for

    def verify(self) -> None:
        """To be called right before every effect on the world outside. Raises OwnershipLost."""
        if not self.held:
            raise OwnershipLost(f"partition {self.partition} of {self.stage} is no longer owned (epoch {self.epoch})")

    def renew(self, at: float | None = None) -> None:
        """The broker answered what was asked at that time, now if None (adapters only)."""
        self.confirmed_at = max(self.confirmed_at, time.monotonic() if at is None else at)

    def end(self) -> None:
        """It is lost or given up (adapters only)."""
        self._lost.set()

    async def ended(self) -> None:
        """Returns when it is lost or given up."""
        await self._lost.wait()


class Epochs(Protocol):
    """Numbers that only grow, raised by compare-and-swap: one for each partition of each stage."""

    async def raise_epoch(self, name: str) -> int:
        """The next epoch of `name` (`<stage>-<partition>`): above all that were given out to its stage before.

        Raises TransientError.
        """
        ...


class Consumer(Protocol):
    """What a stage does with the partitions that it owns."""

    async def take(self, ownership: Ownership) -> None:
        """A partition is ours now, before its first statement: ask for a resync, prepare what belongs to it.

        If it raises, the partition is released, and taken again later, here or by another replica.
        """
        ...

    async def release(self, ownership: Ownership) -> None:
        """Stop everything that belongs to it: it was lost, or is given up when this returns, and is held until then.

        Called after every `take`, also one that failed.
        """
        ...

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        """Works on one statement: one at a time for a vCenter, only the newest of several that wait.

        Acknowledged when it returns. TransientError: again later, or a newer one instead; PermanentError: parked.
        Once the ownership is over, whatever is raised, it is returned to the queue for the next owner.
        """
        ...

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        """Somebody downstream asks to be told again: one at a time for a vCenter, while `handle` goes on."""
        ...


@dataclass(frozen=True)
class Parked:
    """A message that can never work as it stands, kept with the reason."""

    stage: Stage
    reason: str
    attempts: int
    parked_at: datetime
    body: bytes = field(repr=False)
    host: str | None = None

    @property
    def id(self) -> str:
        """What people call it by: its message id, or a digest of what is no message."""
        return name_of(self.body)


class Bus(Protocol):
    """Statements down the pipeline, resync requests up, at least once, in order for each vCenter."""

    topology: Topology

    async def publish(self, statement: Statement) -> None:
        """Returns when the bus has it for good (confirmed and routed).

        Raises:
            BusUnavailable: it has not, or did not say so in time: publish it again, or what is newer by then.
            PermanentError: it is larger than the bus takes.
        """
        ...

    async def request(self, request: ResyncRequest) -> None:
        """Asks a stage upstream to say again. Lost where nobody owns the partition: who takes it says all anyway."""
        ...

    async def serve(self, stage: Stage, consumer: Consumer) -> None:
        """Takes a fair share of the stage's partitions and works on them until cancelled.

        Reconnects by itself. On cancellation what is under way is finished within the grace time or returned.
        """
        ...

    async def parked(self, stage: Stage) -> list[Parked]:
        """What was parked by a stage, oldest first; it stays parked."""
        ...

    @property
    def connected(self) -> bool:
        """Whether it takes statements now, as far as is known."""
        ...

    def stopped(self) -> list[str]:
        """Owned partitions in which messages do not flow, though the bus is there, for people; empty: all is well.

        What is lost in the normal course (a connection, a consumer that the broker ends) is had again and not named.
        """
        ...

    async def close(self) -> None:
        """Gives up every partition and the connection."""
        ...
