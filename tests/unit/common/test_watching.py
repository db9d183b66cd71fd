"""A watched collection tells a change at once, and gathers what follows it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from vcenter_operator.common.kubernetes import watching
from vcenter_operator.common.kubernetes.api import Listing, Resource
from vcenter_operator.common.kubernetes.watching import Watcher

NOT_IN_THIS_TEST = 3600.0


def config_map(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version)}}


async def test_a_change_is_told_at_once_and_what_follows_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(watching, "COALESCE", NOT_IN_THIS_TEST)
    watcher = Watcher(SimpleNamespace(), Resource("", "v1", "configmaps"))  # type: ignore[arg-type]
    changes = watcher.changes()
    watcher.listed(Listing([], 1), anyhow=True)
    async with asyncio.timeout(20):
        assert not (await anext(changes)).items, "the first state is told at once"
        clock.now += NOT_IN_THIS_TEST
        watcher.happened("ADDED", config_map("a", 2))
        assert set((await anext(changes)).items) == {("n", "a")}, "and so is a change after a quiet time"
        watcher.happened("ADDED", config_map("b", 3))
        following = asyncio.ensure_future(anext(changes))
        _, waiting = await asyncio.wait({following}, timeout=0.1)
        assert waiting, "what follows is gathered"
        following.cancel()
