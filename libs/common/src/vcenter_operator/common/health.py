"""What a supervisor asks: whether the process should go on (healthy), and whether it can work now (ready).

Not healthy is what only a new process cures: an event loop that hangs (there is no answer), threads that all hang,
messages that do not flow though the broker is there. A broker or an API server that is away is none of it: it makes a
process not ready, and restarting all of them would only add to the load when it is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from vcenter_operator.common.bus.port import Bus
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_PATIENCE = 2
"""The threads have so many times `every` to do nothing."""


class Health:
    """Of this process. `every` is the time between two looks at the threads, in seconds."""

    def __init__(self, every: float) -> None:
        self.bus: Bus | None = None
        """Set as soon as the stages start to work."""
        self._every = every
        self._asked_at: float | None = None
        self._known: list[str] = []

    @property
    def ready(self) -> bool:
        """Whether the stages work, and the bus takes statements."""
        return self.bus is not None and self.bus.connected

    def problems(self) -> list[str]:
        """What only a new process cures, for people; empty: it is healthy."""
        found = self.bus.stopped() if self.bus is not None else []
        if self._asked_at is not None and (waited := time.monotonic() - self._asked_at) > _PATIENCE * self._every:
            found.append(f"no thread is free: work for one waits since {waited:.0f} s")
        return found

    def look(self) -> list[str]:
        """The problems, for a supervisor; what is new is logged."""
        problems = self.problems()
        for problem in problems[:1] if not self._known else []:
            log.error("not healthy", problem=problem, problems=len(problems))
        self._known = problems
        return problems

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Self]:
        """Looks at the threads inside the `with` block."""
        asking = asyncio.create_task(self._keep_asking_threads(), name="health")
        try:
            yield self
        finally:
            asking.cancel()

    async def _keep_asking_threads(self) -> None:
        while True:
            self._asked_at = time.monotonic()
            await asyncio.to_thread(_nothing)
            self._asked_at = None
            await asyncio.sleep(self._every)


def _nothing() -> None:
    """The work that any thread can do at once."""
