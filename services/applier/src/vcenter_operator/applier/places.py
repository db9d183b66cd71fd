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
    """`total` places. The vCenters that wait take turns, each with what has waited longest.

    What a place costs does not grow with what waits: of the vCenters that wait, only those that have places already may
    have to be passed over.
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

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
        self._waiting.setdefault(host, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._give_back(host)
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
        while self._free and (waiting := next(filter(self._may, self._waiting), None)) is not None:
            self._serve(waiting)

    def _serve(self, host: str) -> None:
        """What has waited longest of a vCenter gets a place, unless it gave up, and other vCenters have their turn."""
        queue = self._waiting.pop(host)
        mine = queue.popleft()
        if queue:
            self._waiting[host] = queue
        if not mine.done():
            self._take(host)
            mine.set_result(None)
