"""A bus that leads nowhere: what is said on it can be looked at, and nobody else hears it."""

from __future__ import annotations

from vcenter_operator.common.bus.port import Consumer, Parked, Topology
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement


class Nowhere:
    """A `Bus`. Stages are handed their statements by whoever runs them: nothing can be served here."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.said: list[Statement] = []
        """What was published, oldest first."""
        self.asked: list[ResyncRequest] = []

    async def publish(self, statement: Statement) -> None:
        """Keeps it."""
        self.said.append(statement)

    async def request(self, request: ResyncRequest) -> None:
        """Keeps it: there is nobody to ask."""
        self.asked.append(request)

    async def serve(self, stage: Stage, consumer: Consumer) -> None:  # noqa: ARG002 - the port's
        """Not to be called."""
        raise TypeError(f"nothing arrives here for {stage}")

    async def parked(self, stage: Stage) -> list[Parked]:  # noqa: ARG002 - the port's
        """Nothing."""
        return []

    @property
    def connected(self) -> bool:
        """Always: there is nothing to lose."""
        return True

    def stopped(self) -> list[str]:
        """Nothing is owned."""
        return []

    async def close(self) -> None:
        """Nothing is open."""
