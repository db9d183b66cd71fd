"""Who stops leaves no session behind, however many vCenters it has, and whatever one of them does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.stack import Stack
from tests.stack.vcsim import Vcsim
from tests.unit.collector.scene import Scene, becomes, present
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.collector.wiring import real_vcenters

pytestmark = pytest.mark.needs("vcsim", control=True)

VCENTERS = 20
STOP_WITHIN = CollectorSettings().stop_within


@pytest.fixture
async def scene(stack: Stack) -> AsyncIterator[Scene]:
    made = Scene()
    made.settings = CollectorSettings(
        vcenter_port=stack.vcenter_port, vcenter_ca=stack.ca.certificate, snapshot_every=3600
    )
    made.vcenters = real_vcenters(made.settings)
    async with made.neighbours():
        yield made


async def test_every_session_is_ended_in_time_though_one_vcenter_hangs(
    scene: Scene, vcsim_factory: Callable[..., Vcsim]
) -> None:
    servers = []
    for number in range(VCENTERS):
        host = f"vc-a-{number}.cc.qa-de-1.cloud.sap"
        password = scene.secret.configuration.password_for(host)
        servers.append(vcsim_factory(host, password=password, username=scene.secret.configuration.username))
    hung, *others = servers
    task = asyncio.create_task(scene.service(scene.outside).run())
    for server in servers:
        await scene.say(present(server.fqdn, addresses=(server.address,)))
    await becomes(lambda: all(scene.inventories(server.fqdn) for server in servers), "all stated", 60)
    await becomes(lambda: all(server.sessions() for server in servers), "a session with each", 20)
    clock = asyncio.get_running_loop().time
    with hung.paused():
        began = clock()
        task.cancel()
        await asyncio.wait([task])
        took = clock() - began
        left = [server.fqdn for server in others if server.sessions()]
    assert not left, "logged out"
    assert took < STOP_WITHIN
