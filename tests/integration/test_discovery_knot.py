"""The discovery against a real DNS server with TSIG: changes, transfers, keys, kills and hangs."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from tests.fakes.discovery import Bus, Fixed, Scene, TransferThread, becomes
from vcenter_operator.discovery.adapters import process
from vcenter_operator.discovery.adapters.dns import DnsZone
from vcenter_operator.discovery.adapters.process import TransferProcess
from vcenter_operator.discovery.adapters.transfer import Order
from vcenter_operator.discovery.core.zone import Version, vcenters
from vcenter_operator.discovery.ports import Access, Notifications, Server, ZoneUnavailable
from vcenter_operator.discovery.service import DiscoveryService

if TYPE_CHECKING:
    from tests.stack import Stack
    from tests.stack.dns import Knot

pytestmark = pytest.mark.needs("dns", control=True)


def signed(knot: Knot) -> Access:
    return Access(Server(knot.address, knot.port), knot.tsig_key)


def unsigned(knot: Knot) -> Access:
    return Access(Server(knot.address, knot.port))


_started: list[TransferProcess] = []


@pytest.fixture(autouse=True)
async def processes() -> AsyncIterator[None]:
    """Ends the processes of a test that transferred zones."""
    yield
    while _started:
        await _started.pop().__aexit__(None, None, None)


def zone_of(knot: Knot, access: Access | None = None, **timeouts: float) -> DnsZone:
    _started.append(TransferProcess())
    timeouts = {"timeout": 1.0, "transfer_timeout": 5.0} | timeouts
    return DnsZone(knot.zone, Fixed(access or signed(knot)), _started[-1], **timeouts)


async def labels(zone: DnsZone, knot: Knot, *, afresh: bool = False) -> dict[str, tuple[str, ...]]:
    copy = await zone.transfer(afresh=afresh)
    return {host.split(".")[0]: addresses for host, addresses in vcenters(copy.names, knot.zone).items()}


@pytest.mark.parametrize("access", [signed, unsigned], ids=["dnspython", "aiodns"])
async def test_the_serial_is_the_servers_at_every_question(zone: Knot, access: Callable[[Knot], Access]) -> None:
    """Also within the record's TTL: c-ares would answer from its cache."""
    prober = zone_of(zone, access(zone))
    for number in range(3):
        assert await prober.version() == Version(f"{zone.address}:{zone.port}", zone.serial())
        zone.add(f"vc-a-{number}", "A", "10.0.0.1")


async def test_names_are_read_by_the_contract_with_aliases_and_both_families(zone: Knot) -> None:
    zone.add("vc-a-0", "A", "10.0.0.1")
    zone.add("vc-a-0", "AAAA", "2001:db8::1")
    zone.add("VC-B-0", "CNAME", f"Rack-1.{zone.zone}.")
    zone.add("rack-1", "A", "10.0.0.2")
    zone.add("vc-c-0", "CNAME", "elsewhere.example.")
    zone.add("vc-d-0.sub", "A", "10.0.0.9")
    zone.add("vc-e-0", "TXT", "no-address")
    assert await labels(zone_of(zone), zone) == {
        "vc-a-0": ("10.0.0.1", "2001:db8::1"),
        "vc-b-0": ("10.0.0.2",),
        "vc-c-0": (),
    }


async def test_changes_come_by_incremental_transfer(zone: Knot) -> None:
    zone.add("vc-a-0", "A", "10.0.0.1")
    transferring = zone_of(zone)
    with capture_logs() as logs:
        assert await labels(transferring, zone) == {"vc-a-0": ("10.0.0.1",)}
        zone.add("vc-b-0", "A", "10.0.0.2")
        zone.remove("vc-a-0")
        zone.add("vc-c-0", "A", "10.0.0.3")
        assert await labels(transferring, zone) == {"vc-b-0": ("10.0.0.2",), "vc-c-0": ("10.0.0.3",)}
        assert await labels(transferring, zone) == {"vc-b-0": ("10.0.0.2",), "vc-c-0": ("10.0.0.3",)}
        assert await labels(transferring, zone, afresh=True) == {"vc-b-0": ("10.0.0.2",), "vc-c-0": ("10.0.0.3",)}
    assert [entry["how"] for entry in logs if entry["event"] == "zone transferred"] == ["AXFR", "IXFR", "none", "AXFR"]


async def test_an_unsigned_transfer_is_refused_and_the_message_says_of_whom_and_what(zone: Knot) -> None:
    with pytest.raises(ZoneUnavailable) as caught:
        await zone_of(zone, unsigned(zone)).transfer()
    assert caught.value.reason == "ServerRefused"
    for part in (f"{zone.address}:{zone.port}", zone.zone, "tsig_key", "not set"):
        assert part in str(caught.value)


async def test_a_wrong_key_names_the_key_of_the_secret_and_not_its_value(zone: Knot) -> None:
    wrong = base64.b64encode(b"another key, of the same length.").decode()
    prober = zone_of(zone, dataclasses.replace(signed(zone), tsig_key=wrong))
    for attempt in (prober.version, prober.transfer):
        with pytest.raises(ZoneUnavailable, match="key 'tsig_key' is not the server's secret") as caught:
            await attempt()
        assert caught.value.reason == "SignatureRejected"
        assert wrong not in str(caught.value)


async def test_a_key_that_the_server_does_not_know_is_named(stack: Stack) -> None:
    from tests.stack.zones import Key

    other = stack.start_dns(key=Key(base64.b64encode(b"x" * 32).decode(), name="some-other-key"))
    with pytest.raises(ZoneUnavailable, match="does not know the TSIG key 'tsig-key'"):
        await zone_of(other).version()
    stack.discard(other)


class Region(Scene):
    """The discovery, with the adapters of a real installation, on the server."""

    def __init__(self, knot: Knot) -> None:
        super().__init__()
        self.knot = knot
        self.finder = Fixed(signed(knot))
        self.settings = self.settings.model_copy(
            update={"dns_poll_every": 0.05, "dns_timeout": 0.5, "zone_confirm_after": 0.3, "dns_retry_longest": 0.3}
        )

    def service(self, bus: Bus, notifications: Notifications | None = None) -> DiscoveryService:
        _started.append(TransferProcess())
        timeout = self.settings.dns_timeout
        zone = DnsZone(self.knot.zone, self.finder, _started[-1], timeout=timeout, transfer_timeout=2.0)
        return DiscoveryService(
            bus=bus,
            store=self.store,
            zone=zone,
            domain=self.knot.zone,
            settings=self.settings,
            notifications=notifications,
        )


@pytest.fixture
async def region(zone: Knot) -> AsyncIterator[Region]:
    made = Region(zone)
    async with made.listening():
        yield made


async def test_a_vcenter_added_and_one_removed_by_update_are_stated(region: Region) -> None:
    region.knot.add("vc-a-0", "A", "10.0.0.1")
    region.knot.add("vc-b-0", "A", "10.0.0.2")
    async with region.discovery():
        await becomes(lambda: region.told() == {"vc-a-0": True, "vc-b-0": True}, "both stated")
        region.knot.add("vc-c-0", "A", "10.0.0.3")
        await becomes(lambda: region.told().get("vc-c-0"), "the newcomer stated")
        region.knot.remove("vc-a-0")
        await becomes(lambda: region.told()["vc-a-0"] is False, "the one removed is gone")
        assert region.of("vc-a-0")[-1].serial == region.knot.serial()
    assert len(region.of("vc-b-0")) == 1


async def test_the_server_killed_and_started_with_changes_in_between(region: Region) -> None:
    region.knot.add("vc-a-0", "A", "10.0.0.1")
    region.knot.add("vc-b-0", "A", "10.0.0.2")
    with capture_logs() as logs:
        async with region.discovery():
            await becomes(lambda: len(region.heard) == 2, "both stated")
            region.knot.kill()
            await becomes(lambda: any("cannot be read" in entry["event"] for entry in logs), "the trouble noticed")
            await asyncio.to_thread(region.knot.start)
            region.knot.add("vc-c-0", "A", "10.0.0.3")
            region.knot.remove("vc-b-0")
            await becomes(
                lambda: region.told() == {"vc-a-0": True, "vc-b-0": False, "vc-c-0": True}, "the changes stated"
            )
    assert len(region.of("vc-a-0")) == 1
    assert [entry["reason"] for entry in logs if "cannot be read" in entry["event"]] == ["ServerUnreachable"]


async def test_a_server_that_hangs_takes_nothing_away_and_is_found_again(region: Region) -> None:
    region.knot.add("vc-a-0", "A", "10.0.0.1")
    region.settings = region.settings.model_copy(update={"zone_unreadable_after": 0.1})
    async with region.discovery():
        await becomes(lambda: region.told() == {"vc-a-0": True}, "stated")
        host = region.heard[0].host
        with region.knot.paused():
            await becomes(
                lambda: region.store.discovered(host).conditions[0].reason == "ServerUnreachable", "the trouble shown"
            )
        region.knot.add("vc-b-0", "A", "10.0.0.2")
        await becomes(lambda: region.told() == {"vc-a-0": True, "vc-b-0": True}, "the newcomer stated")
        await becomes(lambda: region.store.discovered(host).conditions[0].reason == "InZone", "the trouble over")


async def test_a_server_that_hangs_in_the_middle_of_a_transfer(zone: Knot) -> None:
    zone.add("vc-a-0", "A", "10.0.0.1")
    transferring = zone_of(zone, timeout=0.3, transfer_timeout=0.5)
    await transferring.transfer()
    zone.add("vc-b-0", "A", "10.0.0.2")
    with zone.paused():
        async with asyncio.timeout(3):
            with pytest.raises(ZoneUnavailable, match="no answer in time"):
                await transferring.transfer()
    assert set(await labels(transferring, zone)) == {"vc-a-0", "vc-b-0"}


async def test_a_zone_set_back_to_a_lower_serial_and_moved_to_another_server(region: Region, stack: Stack) -> None:
    """As after a restore: another server at another port, whose serial is lower and whose content is another."""
    for number in range(4):
        region.knot.add(f"vc-a-{number}", "A", "10.0.0.1")
    other = stack.start_dns(serial=1)
    other.add("vc-a-0", "A", "10.0.0.1")
    other.add("vc-a-1", "A", "10.0.0.1")
    other.add("vc-x-0", "A", "10.0.0.9")
    assert other.serial() < region.knot.serial()
    async with region.discovery():
        await becomes(lambda: len(region.told()) == 4, "four stated")
        region.finder.tell(signed(other))
        await becomes(
            lambda: {name for name, present in region.told().items() if present} == {"vc-a-0", "vc-a-1", "vc-x-0"},
            "the other server's zone",
        )
    stack.discard(other)


async def test_a_serial_set_back_on_the_same_server(stack: Stack) -> None:
    old = stack.start_dns(serial=4_000)
    old.add("vc-a-0", "A", "10.0.0.1")
    transferring = zone_of(old)
    await transferring.version()
    assert set(await labels(transferring, old)) == {"vc-a-0"}
    old.stop()
    new = stack.start_dns(serial=7, port=old.port, key=old.key)
    new.add("vc-b-0", "A", "10.0.0.2")
    assert (await transferring.version()).serial == 8
    assert set(await labels(transferring, new)) == {"vc-b-0"}
    stack.discard(new)
    stack.discard(old)


async def test_a_key_that_is_mended_is_used_without_a_restart(region: Region) -> None:
    region.knot.add("vc-a-0", "A", "10.0.0.1")
    right = region.finder.access
    region.settings = region.settings.model_copy(update={"dns_retry_longest": 3600.0})
    region.finder.access = dataclasses.replace(right, tsig_key=base64.b64encode(b"wrong" * 8).decode())
    with capture_logs() as logs:
        async with region.discovery():
            await becomes(lambda: any(entry.get("reason") == "SignatureRejected" for entry in logs), "refused")
            assert region.heard == []
            region.finder.tell(right)
            await becomes(lambda: region.told() == {"vc-a-0": True}, "stated")


async def test_a_zone_emptied_by_accident_is_held_and_nothing_is_stated_gone(region: Region) -> None:
    region.settings = region.settings.model_copy(update={"zone_confirm_after": 2.0})
    for number in range(3):
        region.knot.add(f"vc-a-{number}", "A", "10.0.0.1")
    async with region.discovery():
        await becomes(lambda: len(region.told()) == 3, "three stated")
        host = region.heard[0].host
        region.knot.clear()
        await becomes(lambda: region.store.discovered(host).conditions[0].reason == "ZoneHeld", "held")
        for number in range(3):
            region.knot.add(f"vc-a-{number}", "A", "10.0.0.1")
        await becomes(lambda: region.store.discovered(host).conditions[0].reason == "InZone", "there again")
    assert len(region.heard) == 3


async def test_a_large_zone_is_parsed_in_another_process(stack: Stack) -> None:
    """10,000 names cost this process next to nothing: its loop can be stalled by neither the lock nor the collector.

    Measured as CPU time, which is the same however busy the machine is.
    """
    knot = stack.start_dns()
    await asyncio.to_thread(fill, knot, 10_000)
    knot.add("vc-a-0", "A", "10.0.0.1")
    transferring = zone_of(knot, timeout=20.0, transfer_timeout=60.0)
    before = time.process_time()
    with capture_logs() as logs:
        assert await labels(transferring, knot) == {"vc-a-0": ("10.0.0.1",)}
    here = time.process_time() - before
    (transferred,) = [entry for entry in logs if entry["event"] == "zone transferred"]
    assert transferred["names"] > 10_000
    before = time.process_time()
    await TransferThread().transfer(dataclasses.replace(order_for(knot), within=60.0))
    assert here < (time.process_time() - before) / 4
    stack.discard(knot)


async def test_a_transfer_that_nobody_waits_for_any_more_ends_its_process_and_the_next_starts_anew(zone: Knot) -> None:
    zone.add("vc-a-0", "A", "10.0.0.1")
    transfers = TransferProcess()
    _started.append(transfers)
    assert (await transfers.transfer(order_for(zone))).how == "AXFR"
    first = transfers.pid
    with zone.paused():
        waiting = asyncio.create_task(transfers.transfer(order_for(zone)))
        await asyncio.sleep(0)
        await becomes(lambda: transfers.busy, "under way")
        waiting.cancel()
        await asyncio.wait([waiting])
    assert transfers.pid is None
    assert (await transfers.transfer(order_for(zone))).how == "AXFR", "nothing of the copy is left"
    assert transfers.pid not in (None, first)


async def test_a_transfer_process_that_was_killed_is_replaced(zone: Knot) -> None:
    zone.add("vc-a-0", "A", "10.0.0.1")
    transfers = TransferProcess()
    _started.append(transfers)
    await transfers.transfer(order_for(zone))
    assert transfers.pid is not None
    os.kill(transfers.pid, signal.SIGKILL)
    with suppress(ZoneUnavailable):  # where the death is not seen yet
        await transfers.transfer(order_for(zone))
    assert set((await transfers.transfer(order_for(zone))).names) == {f"vc-a-0.{zone.zone}"}


async def test_a_transfer_process_that_hangs_is_ended_and_replaced(zone: Knot, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.add("vc-a-0", "A", "10.0.0.1")
    transfers = TransferProcess()
    _started.append(transfers)
    await transfers.transfer(order_for(zone))
    hung = transfers.pid
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)
    monkeypatch.setattr(process, "_START_WITHIN", 0.5)
    with pytest.raises(ZoneUnavailable, match="does not answer"):
        async with asyncio.timeout(20):
            await transfers.transfer(dataclasses.replace(order_for(zone), within=0.5))
    with pytest.raises(ProcessLookupError):  # it is gone, and no zombie
        os.kill(hung, 0)
    monkeypatch.undo()
    assert (await transfers.transfer(order_for(zone))).how == "AXFR"


async def test_a_zone_that_takes_too_much_memory_is_none_and_costs_nobody_else_his(stack: Stack, zone: Knot) -> None:
    zone.add("vc-a-0", "A", "10.0.0.1")
    knot = stack.start_dns()
    await asyncio.to_thread(fill, knot, 50_000)
    transfers = TransferProcess(memory=64)
    _started.append(transfers)
    for _ in range(2):
        with pytest.raises(ZoneUnavailable, match="DNS_TRANSFER_MEMORY") as caught:
            await transfers.transfer(dataclasses.replace(order_for(knot), within=60.0))
        assert caught.value.reason == "ZoneTooLarge"
        assert transfers.pid is None, "what it took is given back"
    assert (await transfers.transfer(order_for(zone))).how == "AXFR"
    stack.discard(knot)


def order_for(knot: Knot) -> Order:
    return Order(knot.zone, knot.address, knot.port, knot.tsig_key, None, False, 5.0, 10.0)


def fill(knot: Knot, names: int) -> None:
    import dns.query
    import dns.tsigkeyring
    import dns.update

    keyring = dns.tsigkeyring.from_text({knot.key.name: (knot.key.algorithm, knot.key.secret)})
    for start in range(0, names, 500):
        update = dns.update.UpdateMessage(knot.zone, keyring=keyring)
        for number in range(start, min(names, start + 500)):
            update.add(f"host-{number}", 60, "A", "10.1.2.3")
        dns.query.tcp(update, knot.address, timeout=10, port=knot.port)
