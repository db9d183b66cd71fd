"""The discovery against BIND: what it does otherwise than Knot, and serials that wrap around on either."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from tests.fakes.discovery import Fixed
from vcenter_operator.discovery.adapters.dns import DnsZone
from vcenter_operator.discovery.adapters.process import TransferProcess
from vcenter_operator.discovery.core.serial import is_newer
from vcenter_operator.discovery.core.zone import vcenters
from vcenter_operator.discovery.ports import Access, Server, ZoneUnavailable

if TYPE_CHECKING:
    from tests.stack import Stack
    from tests.stack.bind import Bind
    from tests.stack.zones import NameServer

pytestmark = pytest.mark.needs("bind", "dns", control=True)


@pytest.fixture
def bind(stack: Stack) -> Iterator[Bind]:
    server = stack.start_bind()
    yield server
    stack.discard(server)


@pytest.fixture
async def transfers() -> AsyncIterator[TransferProcess]:
    async with TransferProcess() as process:
        yield process


def zone_on(server: NameServer, transfers: TransferProcess, *, signed: bool = True) -> DnsZone:
    access = Access(Server(server.address, server.port), server.tsig_key if signed else None)
    return DnsZone(server.zone, Fixed(access), transfers, timeout=2.0, transfer_timeout=10.0)


async def labels(zone: DnsZone, server: NameServer) -> set[str]:
    """The vCenters that a look at the zone finds, which has to be the zone as it is."""
    version = await zone.version()
    copy = await zone.transfer()
    assert version.serial == copy.version.serial == server.serial()
    return {host.split(".")[0] for host in vcenters(copy.names, server.zone)}


async def test_changes_come_by_incremental_transfer(bind: Bind, transfers: TransferProcess) -> None:
    zone = zone_on(bind, transfers)
    for number in range(20):
        bind.add(f"host-{number}", "A", "10.0.0.1")
    bind.add("vc-a-0", "A", "10.0.0.1")
    with capture_logs() as logs:
        assert await labels(zone, bind) == {"vc-a-0"}
        bind.add("vc-b-0", "A", "10.0.0.2")
        bind.remove("vc-a-0")
        assert await labels(zone, bind) == {"vc-b-0"}
        assert await labels(zone, bind) == {"vc-b-0"}
    assert [entry["how"] for entry in logs if entry["event"] == "zone transferred"] == ["AXFR", "IXFR", "none"]
    assert ": IXFR started" in bind.log


async def test_the_whole_zone_in_answer_to_an_incremental_question(bind: Bind, transfers: TransferProcess) -> None:
    """As BIND gives it where that is shorter than the differences (RFC 1995, 4)."""
    zone = zone_on(bind, transfers)
    for number in range(20):
        bind.add(f"vc-a-{number}", "A", "10.0.0.1")
    assert len(await labels(zone, bind)) == 20
    bind.clear()
    bind.add("vc-b-0", "A", "10.0.0.2")
    assert await labels(zone, bind) == {"vc-b-0"}
    assert ": AXFR-style IXFR started" in bind.log


async def test_transfers_want_the_key(bind: Bind, transfers: TransferProcess) -> None:
    zone = zone_on(bind, transfers, signed=False)
    assert (await zone.version()).serial == bind.serial()
    with pytest.raises(ZoneUnavailable, match="tsig_key") as caught:
        await zone.transfer()
    assert caught.value.reason == "ServerRefused"


@pytest.mark.parametrize("start", ["start_dns", "start_bind"])
async def test_a_serial_that_wraps_around(stack: Stack, transfers: TransferProcess, start: str) -> None:
    """Knot goes from the highest to 0, BIND to 1 (RFC 1982, RFC 2136 4.6): either is newer."""
    server: NameServer = getattr(stack, start)(serial=2**32 - 3)
    zone = zone_on(server, transfers)
    listed, serials = set(), [server.serial()]
    with capture_logs() as logs:
        for number in range(5):
            server.add(f"vc-a-{number}", "A", "10.0.0.1")
            listed.add(f"vc-a-{number}")
            assert await labels(zone, server) == listed
            serials.append(server.serial())
    assert serials[-1] < 5, "it went around"
    assert all(is_newer(late, early) for early, late in itertools.pairwise(serials))
    hows = [entry["how"] for entry in logs if entry["event"] == "zone transferred"]
    assert hows == ["AXFR", "IXFR", "IXFR", "IXFR", "IXFR"], "never taken for a set-back"
    stack.discard(server)
