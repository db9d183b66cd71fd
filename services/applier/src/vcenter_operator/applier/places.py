"""Places for writing: bounded for the process, shared so that a vCenter whose writes hang leaves some to the others."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_SHARE = 4
"""A vCenter takes at most this many times the places that are free: alone it gets four fifths, one of two half.

The bound shrinks with what is free, so that some always are (dynamic thresholds, Choudhury and Hahne 1998).
"""


class Places:
    """`total` places. Whoever waits longest, and may have one, gets the next."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._taken: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, host: str) -> AsyncIterator[None]:
        """A place for one of the vCenter's writes."""
        if self._may(host):
            self._take(host)
        else:
            await self._wait(host)
        try:
            yield
        finally:
            self._give_back(host)

    async def _wait(self, host: str) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((host, mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._give_back(host)
            else:
                self._waiting.remove((host, mine))
            raise

    def _may(self, host: str) -> bool:
        taken = self._taken[host]
        return self._free > 0 if taken == 0 else self._free > 1 and taken < _SHARE * self._free

    def _take(self, host: str) -> None:
        self._free -= 1
        self._taken[host] += 1

    def _give_back(self, host: str) -> None:
        self._free += 1
        self._taken[host] -= 1
        if not self._taken[host]:
            del self._taken[host]
        for waiting in list(self._waiting):
            if self._free == 0:
                return
            if self._may(waiting[0]):
                self._waiting.remove(waiting)
                if not waiting[1].done():
                    self._take(waiting[0])
                    waiting[1].set_result(None)
