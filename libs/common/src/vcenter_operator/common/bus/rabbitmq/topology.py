"""Every exchange and queue, declared in one place.

Names begin with `vcenter-operator.g<generation>.` (here `~`), in dry runs with
`vcenter-operator-dry-run.g<generation>.`:

| name | what |
|---|---|
| `~<arrow>` | direct exchange of an arrow (`dns-change`, `inventory`, `manifest-delta`), routing key = partition |
| `~<stage>.<partition>` | quorum queue of a partition, one active consumer: its owner |
| `~<stage>.<partition>.owner` | exclusive queue: who has it owns the partition. Resync requests arrive in it |
| `~<stage>.members` | every replica consumes it: the consumer count is n. Its `x-max-length` records P |
| `~<stage>.again` | direct exchange of what a stage sends to itself, routing key = partition: retries, probes |
| `~<stage>.retry.<n>ms` | fanout exchange and quorum queue of one delay; dead letters go to `~<stage>.again` |
| `~<stage>.parked` | quorum queue of what can never work as it stands; fanout exchange of the same name |
| `~<stage>.parked.reader` | exclusive queue: who has it reads what is parked |
| `~<stage>.resync` | direct exchange of requests to a stage, routing key = partition |
| `~<arrow>.archive` | stream of all statements, bounded in age and size; fanout exchange of the same name |

The archive is not bound to the arrow's exchange: a statement that only the archive took would count as routed, and be
confirmed although its partition queue is missing. The publisher sends it copies instead, in bundles (`archiving`).

Discovery has a partition queue as well, which no statement is sent to: its consumer shows that it is owned.

Everything belongs to one stage, so that each may have a user of its own with rights on nothing else (`definitions`):
what it receives from, and the exchange and archive of the arrow that it sends. It writes to the exchange of the stage
before it for resync requests, and that stage's arrow it may bind its queues to. Nothing goes through the broker's
default exchange, which leads to every queue.

Every queue gets its limits as arguments, so that replicas which disagree about them are told so at the declaration.
`x-delivery-limit` is set everywhere, since RabbitMQ 4 has a default of 20 and then drops.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelPreconditionFailed

from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import Stage

ARROWS: dict[Stage, str] = {
    Stage.COLLECTOR: "dns-change",
    Stage.RENDERER: "inventory",
    Stage.APPLIER: "manifest-delta",
}
"""The arrow that leads to a stage."""
RECEIVERS: dict[Stage, Stage] = dict(pairwise(Stage))
"""The stage that the arrow of a stage leads to."""
_MB = 1024 * 1024
_REDELIVERIES = 100
"""So often a statement may be delivered without an answer (its consumer died each time), then it is parked."""
_ANY_NUMBER = 1_000_000
_REQUESTS_AT_MOST = 1_000
PARKED_AT_MOST = 10_000
_PARKED_BYTES = 1024 * _MB
_ARCHIVE_AGE = "7D"
_ARCHIVE_BYTES = 5 * 1024 * _MB
_ARCHIVE_SEGMENT = 50 * _MB
"""Retention drops whole segments, and never the newest."""

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Exchange:
    """An exchange to declare."""

    name: str
    type: ExchangeType


@dataclass(frozen=True)
class Queue:
    """A queue to declare, and what it is bound to: pairs of exchange and routing key."""

    name: str
    arguments: Arguments = field(hash=False)
    bindings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Names:
    """The names and the declarations of one topology."""

    topology: Topology
    delays: tuple[float, ...]
    """The steps of the retry delays, in seconds."""

    def arrow(self, stage: Stage) -> str:
        """The exchange of the arrow that leads to a stage."""
        return self._name(ARROWS[stage])

    def archive(self, stage: Stage) -> str:
        """The archive stream of that arrow, and the exchange that leads to it."""
        return self._name(ARROWS[stage], "archive")

    def partition(self, stage: Stage, partition: int) -> str:
        """The queue of a partition."""
        return self._name(stage, partition)

    def owner(self, stage: Stage, partition: int) -> str:
        """The exclusive queue of whoever owns a partition."""
        return self._name(stage, partition, "owner")

    def members(self, stage: Stage) -> str:
        """The queue whose consumers are the replicas of a stage."""
        return self._name(stage, "members")

    def parked(self, stage: Stage) -> str:
        """The queue, and the exchange, of what a stage parked."""
        return self._name(stage, "parked")

    def parked_reader(self, stage: Stage) -> str:
        """The exclusive queue of whoever reads what a stage parked."""
        return self._name(stage, "parked", "reader")

    def retry(self, stage: Stage, delay: float) -> str:
        """The exchange, and the queue, of one delay (one of `delays`)."""
        return self._name(stage, "retry", f"{round(delay * 1000)}ms")

    def again(self, stage: Stage) -> str:
        """The exchange of what a stage sends to itself."""
        return self._name(stage, "again")

    def resync(self, stage: Stage) -> str:
        """The exchange of resync requests to a stage."""
        return self._name(stage, "resync")

    def owner_arguments(self) -> Arguments:
        """The arguments of an owner's queue."""
        return {"x-max-length": _REQUESTS_AT_MOST}

    def everything(self) -> list[Exchange | Queue]:
        """All declarations, in an order in which they can be made."""
        return [item for stage in Stage for item in self.of(stage)]

    def of(self, stage: Stage) -> Iterable[Exchange | Queue]:
        """What belongs to a stage. Its queues are bound to the arrow of the stage before it, which has to be there."""
        yield Exchange(self.again(stage), ExchangeType.DIRECT)
        yield Exchange(self.resync(stage), ExchangeType.DIRECT)
        yield from self._with_exchange(self.parked(stage), _parked())
        if stage in ARROWS:
            yield from self._retries(stage)
        count = self.topology.partitions_of(stage)
        yield Queue(self.members(stage), {"x-max-length": count, **_quorum(_ANY_NUMBER)})
        for partition in range(count):
            yield self.of_partition(stage, partition)
        if (receiver := RECEIVERS.get(stage)) is not None:
            yield Exchange(self.arrow(receiver), ExchangeType.DIRECT)
            yield from self._with_exchange(self.archive(receiver), _stream())

    def of_partition(self, stage: Stage, partition: int) -> Queue:
        """A partition's queue."""
        sources = [self.again(stage), *([self.arrow(stage)] if stage in ARROWS else [])]
        dead = {"x-dead-letter-exchange": self.parked(stage), **_never_losing()}
        arguments = {"x-single-active-consumer": True, **_quorum(_REDELIVERIES), **dead}
        return Queue(self.partition(stage, partition), arguments, tuple((each, str(partition)) for each in sources))

    def _retries(self, stage: Stage) -> Iterable[Exchange | Queue]:
        back = {"x-dead-letter-exchange": self.again(stage), **_never_losing()}
        for delay in self.delays:
            arguments = {"x-message-ttl": round(delay * 1000), **_quorum(_ANY_NUMBER), **back}
            yield from self._with_exchange(self.retry(stage, delay), arguments)

    @staticmethod
    def _with_exchange(name: str, arguments: Arguments) -> Iterable[Exchange | Queue]:
        yield Exchange(name, ExchangeType.FANOUT)
        yield Queue(name, arguments, ((name, ""),))

    def _name(self, *parts: object) -> str:
        pipeline = "vcenter-operator-dry-run" if self.topology.dry_run else "vcenter-operator"
        return ".".join(str(part) for part in (pipeline, f"g{self.topology.generation}", *parts))


async def declare(channel: AbstractChannel, items: Iterable[Exchange | Queue]) -> None:
    """Declares what is missing and checks what is there.

    Raises:
        ConfigurationError: something of that name is different; the text says what, and what to do.
        ChannelAccessRefused: it belongs to somebody else.
    """
    for item in items:
        try:
            if isinstance(item, Exchange):
                await channel.declare_exchange(item.name, item.type, durable=True)
                continue
            queue = await channel.declare_queue(item.name, durable=True, arguments=item.arguments)
            for exchange, key in item.bindings:
                await queue.bind(exchange, key)
        except ChannelPreconditionFailed as error:
            raise ConfigurationError(_clash(item, str(error))) from None


async def find(channel: AbstractChannel, items: Iterable[Exchange | Queue]) -> None:
    """Looks whether it is all there, without the right to declare it. Raises ChannelNotFoundEntity."""
    for item in items:
        if isinstance(item, Exchange):
            await channel.declare_exchange(item.name, passive=True)
        else:
            await channel.declare_queue(item.name, passive=True)


def _clash(item: Exchange | Queue, text: str) -> str:
    kind = type(item).__name__.lower()
    found = re.search(r"inequivalent arg '(.+?)' for .*: received (.*) but current is (.*)", text)
    if found is None:
        return f"RabbitMQ: {kind} '{item.name}' cannot be declared: {text}"
    argument, wanted, there = (part.strip() for part in found.groups())
    if item.name.endswith(".members") and argument == "x-max-length":
        argument = "number of partitions (VCENTER_OPERATOR_PARTITIONS)"
    return (
        f"RabbitMQ: {kind} '{item.name}' exists with another {argument}: wanted {wanted}, there is {there}. "
        "Use a new VCENTER_OPERATOR_GENERATION, or delete what is there once it is drained"
    )


def _quorum(delivery_limit: int) -> Arguments:
    return {"x-queue-type": "quorum", "x-delivery-limit": delivery_limit}


def _never_losing() -> Arguments:
    """Dead letters are kept until the target queue confirmed them (quorum queues, RabbitMQ 3.10)."""
    return {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


def _parked() -> Arguments:
    """Bounded: beyond that the oldest goes, which its producer has said again long since."""
    limits = {"x-max-length": PARKED_AT_MOST, "x-max-length-bytes": _PARKED_BYTES, "x-overflow": "drop-head"}
    return {**_quorum(_ANY_NUMBER), **limits}


def _stream() -> Arguments:
    return {
        "x-queue-type": "stream",
        "x-max-age": _ARCHIVE_AGE,
        "x-max-length-bytes": _ARCHIVE_BYTES,
        "x-stream-max-segment-size-bytes": _ARCHIVE_SEGMENT,
    }
