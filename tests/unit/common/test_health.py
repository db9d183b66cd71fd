"""Liveness: what turns `/healthz` red and what does not, asked over HTTP as a supervisor does."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.contract.harness import EpochsInMemory, Recorder, change, until, until_async
from tests.ports import free_port
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.bus.pulse import Pulse
from vcenter_operator.common.errors import BusUnavailable, ConfigurationError
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.serving import served

STAGE = Stage.COLLECTOR
EVERY = 0.1


@pytest.fixture
def port() -> int:
    return free_port()


class Counted:
    """How many messages are put into a queue."""

    def __init__(self, queue: Any) -> None:
        self.count = 0
        self._put = queue.put
        queue.put = self.put

    def put(self, item: Any) -> None:
        self.count += 1
        self._put(item)


async def answer(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/{path}") as response:
        return response.status, await response.text()


@asynccontextmanager
async def serving(bus: InProcessBus) -> AsyncIterator[Recorder]:
    recorder = Recorder()
    task = asyncio.create_task(bus.serve(STAGE, recorder))
    await until(lambda: len(recorder.owned) == bus.topology.partitions, "every partition to be owned")
    yield recorder
    task.cancel()
    await asyncio.wait({task})
    await bus.close()


async def test_a_process_is_healthy_from_its_start_and_ready_when_it_works(port: int) -> None:
    async with served(port, probe_every=EVERY) as health:
        assert (await answer(port, "healthz"))[0] == 200
        assert await answer(port, "readyz") == (503, "not connected\n")
        bus = health.bus = InProcessBus(Broker(), EpochsInMemory())
        assert await answer(port, "readyz") == (200, "ok\n")
        await bus.close()
        assert (await answer(port, "readyz"))[0] == 503
        assert (await answer(port, "healthz"))[0] == 200, "a bus that is away is no reason to restart"


async def test_an_idle_partition_is_told_from_one_in_which_nothing_flows(port: int) -> None:
    topology = Topology(partitions=2)
    broker = Broker(topology)
    bus = InProcessBus(broker, EpochsInMemory(), probe_every=EVERY)
    probes = Counted(broker.statements[STAGE, 0])
    async with serving(bus) as recorder, served(port, probe_every=EVERY) as health:
        health.bus = bus
        await until(lambda: probes.count >= 4, "some probes")
        assert (await answer(port, "healthz"))[0] == 200, "idleness"
        assert recorder.started == [], "probes are nothing for a consumer"
        await bus.publish(change("vc-a.example.test", 1))
        await until(lambda: recorder.handled, "a statement between probes")

        lost = broker.statements[STAGE, 1]
        lost.put = lambda item: None  # type: ignore[method-assign]

        async def red() -> bool:
            return (await answer(port, "healthz"))[0] == 503

        await until_async(red, "it to be noticed", within=5)
        assert "messages do not flow in partition 1 of collector" in (await answer(port, "healthz"))[1]
        del lost.put
        hosts = (f"vc-{number}.example.test" for number in range(100))
        await bus.publish(change(next(host for host in hosts if topology.partition(STAGE, host) == 1), 1))
        await until_async(lambda: _not(red()), "health, as messages flow again", within=5)


async def _not(question: object) -> bool:
    return not await question  # type: ignore[misc]


async def test_threads_that_all_hang_are_noticed(port: int) -> None:
    hang = threading.Event()
    async with served(port, probe_every=EVERY):
        jobs = [asyncio.create_task(asyncio.to_thread(hang.wait, 30)) for _ in range(50)]

        async def red() -> bool:
            return (await answer(port, "healthz"))[0] == 503

        try:
            await until_async(red, "it to be noticed", within=5)
            assert "no thread is free" in (await answer(port, "healthz"))[1]
        finally:
            hang.set()
        await asyncio.gather(*jobs)
        await until_async(lambda: _not(red()), "health", within=5)


async def test_a_bus_that_takes_no_probe_says_nothing_about_the_process() -> None:
    asked = 0

    async def away() -> None:
        nonlocal asked
        asked += 1
        raise BusUnavailable("away")

    pulse = Pulse(STAGE, 0, 0.02)
    beating = asyncio.create_task(pulse.beat(away))
    await until(lambda: asked >= 4, "some probes")
    assert pulse.stopped is None
    beating.cancel()


async def test_a_probe_that_arrives_before_it_is_confirmed_counts() -> None:
    pulse, asked = Pulse(STAGE, 0, 0.02), 0

    async def probe() -> None:
        nonlocal asked
        asked += 1
        pulse.arrived()
        await asyncio.sleep(0)

    beating = asyncio.create_task(pulse.beat(probe))
    await until(lambda: asked >= 4, "some probes")
    assert pulse.stopped is None
    beating.cancel()


async def test_a_port_that_is_taken_is_said() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as server,
        pytest.raises(ConfigurationError, match="VCENTER_OPERATOR_PROBE_PORT"),
    ):
        async with served(server.getsockname()[1], probe_every=EVERY):
            pass
