"""A watched collection tells a change at once, and gathers what follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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


class Lists:
    """Answers lists, and lets something happen while one is under way."""

    def __init__(self, version: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.version = version
        self.meanwhile = meanwhile

    async def list(self, *_: Any, **__: Any) -> Listing:
        self.meanwhile()
        return Listing([config_map("freeze", self.version)], self.version)


async def test_a_fresh_list_of_a_server_that_was_set_back_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher(SimpleNamespace(), Resource("", "v1", "configmaps"))  # type: ignore[arg-type]
    watcher.listed(Listing([], 100), anyhow=True)
    monkeypatch.setattr(watcher, "_api", Lists(9))
    assert set((await watcher.fresh()).items) == {("n", "freeze")}
    assert watcher.revision == 9


async def test_a_fresh_list_that_the_watch_overtook_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher(SimpleNamespace(), Resource("", "v1", "configmaps"))  # type: ignore[arg-type]
    watcher.listed(Listing([config_map("freeze", 100)], 100), anyhow=True)
    monkeypatch.setattr(watcher, "_api", Lists(105, lambda: watcher.happened("DELETED", config_map("freeze", 110))))
    assert not (await watcher.fresh()).items
