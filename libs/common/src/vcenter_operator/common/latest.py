"""A value of which only the newest counts, for any number of readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """The newest value, and a way to hear of every change (of several in a row, of the last)."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._version = 0
        self._next = asyncio.Event()

    @property
    def value(self) -> T | None:
        """None: there is none yet."""
        return self._values[0] if self._values else None

    def set(self, value: T) -> None:
        """Replaces the value, and wakes all readers."""
        self._values = [value]
        self._version += 1
        self._next.set()
        self._next = asyncio.Event()

    def correct(self, value: T) -> None:
        """Replaces the value without waking anybody: it differs in nothing that readers wait for."""
        self._values = [value]

    async def changes(self) -> AsyncIterator[T]:
        """Yields the value as soon as there is one, then after each change the newest."""
        seen = 0
        while True:
            while self._version == seen:
                await self._next.wait()
            seen = self._version
            yield self._values[0]
