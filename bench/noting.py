"""A bus that tells when a stage took a partition, published a statement, or finished one; else it is as any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vcenter_operator.common.bus.port import Bus, Consumer, Ownership, Parked
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement

Note = Callable[[Statement], None]
NoteOwned = Callable[[Ownership], None]


def _ignore(_: object) -> None:
    pass


class NotingBus:
    """A `Bus` upon another."""

    def __init__(
        self, bus: Bus, *, taken: NoteOwned = _ignore, published: Note = _ignore, handled: Note = _ignore
    ) -> None:
        self.topology = bus.topology
        self._bus = bus
        self._taken = taken
        self._published = published
        self._handled = handled

    async def publish(self, statement: Statement) -> None:
        """See `Bus.publish`."""
        await self._bus.publish(statement)
        self._published(statement)

    async def request(self, request: ResyncRequest) -> None:
        """See `Bus.request`."""
        await self._bus.request(request)

    async def serve(self, stage: Stage, consumer: Consumer) -> None:
        """See `Bus.serve`."""
        await self._bus.serve(stage, _Noting(consumer, self._taken, self._handled))

    async def parked(self, stage: Stage) -> list[Parked]:
        """See `Bus.parked`."""
        return await self._bus.parked(stage)

    @property
    def connected(self) -> bool:
        """See `Bus.connected`."""
        return self._bus.connected

    def stopped(self) -> list[str]:
        """See `Bus.stopped`."""
        return self._bus.stopped()

    async def close(self) -> None:
        """See `Bus.close`."""
        await self._bus.close()


@dataclass(frozen=True)
class _Noting:
    consumer: Consumer
    taken: NoteOwned
    handled: Note

    async def take(self, ownership: Ownership) -> None:
        await self.consumer.take(ownership)
        self.taken(ownership)

    async def release(self, ownership: Ownership) -> None:
        await self.consumer.release(ownership)

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        """Told once nothing is left to be done about it, not when it is to be tried again."""
        await self.consumer.handle(statement, ownership)
        self.handled(statement)

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        await self.consumer.resync(request, ownership)
