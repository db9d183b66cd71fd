"""How many vCenters are logged on to or read at the same moment.

Logging on and reading is work for the interpreter, of which one thread runs at a time: a hundred at once hold up the
event loop for seconds, and a replica that cannot confirm its ownership in time loses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_AT_ONCE = 4
_PATIENCE = 1.0
"""Seconds after which one that is not done is not counted any more: it waits for its vCenter, and does not work."""


class Admission:
    """Lets in so many at once, in the order in which they come; one that hangs holds up the others for a moment."""

    def __init__(self, at_once: int = _AT_ONCE, patience: float = _PATIENCE) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._patience = patience

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Waits for a turn, and holds it inside the `async with` block, but not for long."""
        await self._free.acquire()
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._patience, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()
