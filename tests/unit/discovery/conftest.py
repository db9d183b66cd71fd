"""The discovery on an in-process bus, with a zone and a record that do as told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.discovery import Scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    async with made.listening():
        yield made
