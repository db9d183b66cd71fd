"""Two real name servers behind one address, of which one lags behind: what the older one says is not stated again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from tests.fakes.discovery import Bus, Fixed, Scene, becomes
from tests.fakes.relay import ADDRESS, Relay
from vcenter_operator.discovery.adapters.dns import DnsZone
from vcenter_operator.discovery.adapters.process import TransferProcess
from vcenter_operator.discovery.ports import Access, Notifications, Server
from vcenter_operator.discovery.service import DiscoveryService

if TYPE_CHECKING:
    from tests.stack import Stack
    from tests.stack.dns import Knot

pytestmark = pytest.mark.needs("dns", control=True)


class Region(Scene):
    """The discovery, with the adapters of a real installation, on the address that both servers are behind."""

    def __init__(self, ahead: Knot, behind: Knot, relay: Relay, transfers: TransferProcess) -> None:
        super().__init__()
        self.ahead, self.behind, self.relay = ahead, behind, relay
        self.domain = ahead.zone
        self.finder = Fixed(Access(Server(ADDRESS, relay.port), ahead.tsig_key))
        self.transfers = transfers
        self.settings = self.settings.model_copy(
            update={"dns_poll_every": 0.05, "dns_timeout": 2.0, "zone_set_back_after": 3600.0}
        )

    def service(self, bus: Bus, notifications: Notifications | None = None) -> DiscoveryService:
        zone = DnsZone(self.domain, self.finder, self.transfers, timeout=2.0, transfer_timeout=5.0)
        return DiscoveryService(bus=bus, store=self.store, zone=zone, domain=self.domain, settings=self.settings)

    async def asked(self, times: int) -> None:
        """Returns when each server was asked so many times more."""
        before = len(self.relay.passed)
        await becomes(lambda: len(self.relay.passed) >= before + 2 * times, "both servers asked", within=30)


@pytest.fixture
def servers(stack: Stack) -> Iterator[tuple[Knot, Knot]]:
    """Two with the same zone and key."""
    ahead = stack.start_dns(serial=100)
    behind = stack.start_dns(serial=100, key=ahead.key)
    for server in (ahead, behind):
        server.add("vc-a-0", "A", "10.0.0.1")
        server.add("vc-b-0", "A", "10.0.0.2")
    yield ahead, behind
    stack.discard(ahead)
    stack.discard(behind)


@pytest.fixture
async def region(servers: tuple[Knot, Knot]) -> AsyncIterator[Region]:
    relay = Relay([(server.address, server.port) for server in servers])
    async with relay.running(), TransferProcess() as transfers:
        made = Region(*servers, relay, transfers)
        async with made.listening():
            yield made


async def test_a_change_that_one_server_lacks_is_stated_once_and_not_taken_back(region: Region) -> None:
    with capture_logs() as logs:
        async with region.discovery():
            await becomes(lambda: len(region.heard) == 2, "both stated", within=20)
            region.ahead.add("vc-c-0", "A", "10.0.0.3")
            region.ahead.remove("vc-a-0")
            await becomes(lambda: region.told().get("vc-c-0"), "the newcomer", within=20)
            await becomes(lambda: not region.told()["vc-a-0"], "the one removed", within=20)
            stated = len(region.heard)
            await region.asked(20)
            assert len(region.heard) == stated, "the older server's zone was stated"
            region.behind.add("vc-c-0", "A", "10.0.0.3")
            region.behind.remove("vc-a-0")
            await region.asked(10)
            assert region.told() == {"vc-a-0": False, "vc-b-0": True, "vc-c-0": True}
            assert len(region.heard) == stated
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert len(warnings) <= 1, "said once, not at every look"
    transfers = [entry for entry in logs if entry["event"] == "zone transferred"]
    assert len(transfers) < 10, "a server that lags is not transferred from at every look"


async def test_a_restart_while_one_server_lags_states_nothing_old(region: Region) -> None:
    async with region.discovery():
        await becomes(lambda: len(region.heard) == 2, "both stated", within=20)
        region.ahead.add("vc-c-0", "A", "10.0.0.3")
        region.ahead.remove("vc-a-0")
        await becomes(lambda: len(region.heard) == 4, "the changes", within=20)
    place = (region.behind.address, region.behind.port)
    region.relay.behind = [place]
    before = len(region.relay.passed)
    async with region.discovery():
        await becomes(lambda: len(region.relay.passed) > before + 5, "the older server asked", within=20)
        assert len(region.heard) == 4
        region.relay.behind = [place, (region.ahead.address, region.ahead.port)]
        region.finder.tell(region.finder.access)
        await becomes(lambda: len(region.heard) == 7, "all stated anew", within=20)
    assert region.told() == {"vc-a-0": False, "vc-b-0": True, "vc-c-0": True}


async def test_the_newer_server_gone_for_good_is_a_set_back(region: Region) -> None:
    region.settings = region.settings.model_copy(update={"zone_set_back_after": 1.0})
    async with region.discovery():
        await becomes(lambda: len(region.heard) == 2, "both stated", within=20)
        region.ahead.add("vc-c-0", "A", "10.0.0.3")
        await becomes(lambda: len(region.heard) == 3, "the newcomer", within=20)
        region.ahead.kill()
        region.relay.behind = [(region.behind.address, region.behind.port)]
        await becomes(lambda: region.told() == {"vc-a-0": True, "vc-b-0": True, "vc-c-0": False}, "set back", within=30)
        region.behind.add("vc-d-0", "A", "10.0.0.4")
        await becomes(lambda: region.told().get("vc-d-0"), "forward from there", within=20)
    assert len(region.of("vc-a-0")) == 1
