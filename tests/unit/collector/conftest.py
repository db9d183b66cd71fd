"""The scene of the collector's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.collector.scene import Scene
from vcenter_operator.common.delays import RetryDelays


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded in a moment."""
    monkeypatch.setattr("vcenter_operator.collector.recording._SOON", 0.05)
    monkeypatch.setattr("vcenter_operator.collector.recording._DELAYS", RetryDelays(first=0.05, longest=0.1))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    async with made.neighbours():
        yield made
