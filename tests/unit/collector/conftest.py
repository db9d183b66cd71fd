"""The scene of the collector's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.collector.scene import Scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    async with made.neighbours():
        yield made
