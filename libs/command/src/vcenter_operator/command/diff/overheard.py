"""A bus that passes everything on, and lets statements be overheard, or kept back."""

from __future__ import annotations

from collections.abc import Callable

from vcenter_operator.common.bus.port import Bus, Consumer, Parked
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement


class OverheardBus:
    """A `Bus`. `passes` is asked for every statement: False keeps it back."""

    def __init__(self, bus: Bus, passes: Callable[[Statement], bool]) -> None:
        self.topology = bus.topology
        self._bus = bus
        self._passes = passes

    async def publish(self, statement: Statement) -> None:
        """See `Bus.publish`."""
        if self._passes(statement):
            await self._bus.publish(statement)

    async def request(self, request: ResyncRequest) -> None:
        """See `Bus.request`."""
        await self._bus.request(request)

    async def serve(self, stage: Stage, consumer: Consumer) -> None:
        """See `Bus.serve`."""
        await self._bus.serve(stage, consumer)

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
