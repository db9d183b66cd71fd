"""What a process answers over HTTP beside its probes, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import aiohttp
import pytest

from tests.metrics import Scrape
from tests.ports import free_port
from vcenter_operator.common import telemetry
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.serving import served


@pytest.fixture(autouse=True)
def at_info() -> Iterator[None]:
    before = logging.getLogger().level
    telemetry.set_level("INFO")
    yield
    logging.getLogger().setLevel(before)


async def said(port: int, method: str, path: str, body: str = "", of: str = "127.0.0.1") -> tuple[int, str]:
    """The answer to somebody at this address."""
    connector = aiohttp.TCPConnector(local_addr=(of, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, f"http://127.0.0.1:{port}{path}", data=body) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    ("wanted", "level"), [("debug", logging.DEBUG), (" Warn\n", logging.WARNING), ("CRITICAL", logging.CRITICAL)]
)
async def test_the_level_is_what_was_asked_for(wanted: str, level: int) -> None:
    async with served(port := free_port(), probe_every=1):
        assert await said(port, "PUT", "/log-level", wanted) == (200, f"{logging.getLevelName(level)}\n")
    assert logging.getLogger().level == level
    assert logging.getLogger("kubernetes_asyncio").level == max(level, logging.WARNING), "who is noisy stays quieter"


@pytest.mark.parametrize(("wanted", "status"), [("loud", 400), ("", 400), ("10", 400), ("x" * 5000, 413)])
async def test_what_is_no_level_changes_nothing(wanted: str, status: int) -> None:
    async with served(port := free_port(), probe_every=1):
        answered, text = await said(port, "PUT", "/log-level", wanted)
    assert answered == status
    assert status != 400 or "DEBUG, INFO, WARNING" in text
    assert telemetry.level() == "INFO"


async def test_who_comes_from_elsewhere_may_look_and_change_nothing() -> None:
    """As a proxy of a service mesh does that passes on what comes from other pods."""
    async with served(port := free_port(), probe_every=1):
        assert await said(port, "GET", "/log-level", of="127.0.0.6") == (200, "INFO\n")
        status, text = await said(port, "PUT", "/log-level", "debug", of="127.0.0.6")
        assert (status, telemetry.level()) == (403, "INFO")
        assert "kubectl port-forward" in text


async def test_metrics_tell_whether_the_bus_takes_statements() -> None:
    async def connected() -> float:
        return Scrape((await said(port, "GET", "/metrics"))[1]).value("bus_connected")

    async with served(port := free_port(), probe_every=1) as health:
        assert await connected() == 0
        bus = health.bus = InProcessBus(Broker(), FolderEpochs(None))
        assert await connected() == 1
        await bus.close()
        assert await connected() == 0
