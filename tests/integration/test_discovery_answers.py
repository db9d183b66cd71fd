"""The incident of the DNS answers: whatever a server answers, the last complete zone stays and it is retried.

Against a small server that gives the answers real ones do not, with the real clients (aiodns for unsigned questions,
dnspython for signed ones and all transfers).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.fakes.discovery import Fixed, TransferThread
from tests.fakes.dns import ADDRESS, DOMAIN, KEY, Behaviour, FakeDns
from vcenter_operator.discovery.adapters import dns as dns_adapter
from vcenter_operator.discovery.adapters.dns import DnsZone
from vcenter_operator.discovery.core.zone import Version, vcenters
from vcenter_operator.discovery.ports import Access, Server, ZoneUnavailable

B = Behaviour


class Setting:
    """A server and a client of it."""

    def __init__(self, server: FakeDns, key: str | None) -> None:
        self.server = server
        self.finder = Fixed(Access(Server(ADDRESS, server.port), key))
        self.zone = DnsZone(DOMAIN, self.finder, TransferThread(), timeout=0.6, transfer_timeout=0.6)

    async def hosts(self, *, afresh: bool = False) -> set[str]:
        copy = await self.zone.transfer(afresh=afresh)
        return {host.split(".")[0] for host in vcenters(copy.names, DOMAIN)}


@pytest.fixture(params=["aiodns", "dnspython"])
async def setting(request: pytest.FixtureRequest) -> AsyncIterator[Setting]:
    key = KEY if request.param == "dnspython" else None
    async with FakeDns(key).running() as server:
        server.hold({"vc-a-0": "10.0.0.1", "vc-b-0": "10.0.0.2"}, serial=10)
        yield Setting(server, key)


async def test_right_answers(setting: Setting) -> None:
    assert await setting.zone.version() == Version(f"{ADDRESS}:{setting.server.port}", 10)
    assert await setting.hosts() == {"vc-a-0", "vc-b-0"}
    assert setting.server.asked == {"SOA/udp": 1, "AXFR/tcp": 1}


@pytest.mark.parametrize(
    ("behaviour", "reasons"),
    [
        (B.SILENT, {"ServerUnreachable"}),
        (B.EOF, {"ServerUnreachable"}),
        (B.CUT_OFF, {"ServerUnreachable"}),
        (B.TRUNCATED, {"AnswerMalformed", "ServerRefused", "ServerUnreachable"}),
        (B.REFUSED, {"ServerRefused"}),
        (B.SERVFAIL, {"ServerRefused"}),
        (B.RUBBISH, {"AnswerMalformed", "ServerUnreachable"}),
        (B.LAME, {"ServerRefused"}),
    ],
)
async def test_a_bad_answer_to_the_question_for_the_serial(
    setting: Setting, behaviour: Behaviour, reasons: set[str]
) -> None:
    setting.server.behaviour = behaviour
    async with asyncio.timeout(5):
        with pytest.raises(ZoneUnavailable, match=f"DNS server {ADDRESS}:{setting.server.port}: .*serial of") as caught:
            await setting.zone.version()
    assert caught.value.reason in reasons
    setting.server.behaviour = B.RIGHT
    assert (await setting.zone.version()).serial == 10


@pytest.mark.parametrize(
    ("behaviour", "reasons"),
    [
        (B.SILENT, {"ServerUnreachable"}),
        (B.EOF, {"ServerUnreachable"}),
        (B.CUT_OFF, {"ServerUnreachable"}),
        (B.TRUNCATED, {"AnswerMalformed"}),
        (B.REFUSED, {"ServerRefused"}),
        (B.RUBBISH, {"AnswerMalformed"}),
        (B.LAME, {"AnswerMalformed"}),
        (B.NO_TRANSFER, {"ServerRefused"}),
        (B.HALF_TRANSFER, {"ServerUnreachable"}),
        (B.HANGING_TRANSFER, {"ServerUnreachable"}),
        (B.EMPTY, {"ZoneIncomplete"}),
    ],
)
@pytest.mark.parametrize("kind", ["first", "incremental"])
async def test_a_bad_answer_to_a_transfer_is_no_zone(
    setting: Setting, kind: str, behaviour: Behaviour, reasons: set[str]
) -> None:
    if kind == "incremental":
        assert await setting.hosts() == {"vc-a-0", "vc-b-0"}
        setting.server.hold({"vc-b-0": "10.0.0.2", "vc-c-0": "10.0.0.3"})
    setting.server.behaviour = behaviour
    async with asyncio.timeout(5):
        with pytest.raises(ZoneUnavailable, match=f"the zone {DOMAIN}") as caught:
            await setting.hosts()
    assert caught.value.reason in reasons
    setting.server.behaviour = B.RIGHT
    expected = {"vc-b-0", "vc-c-0"} if kind == "incremental" else {"vc-a-0", "vc-b-0"}
    assert await setting.hosts() == expected, "nothing of the bad answer is left"


@pytest.mark.parametrize("behaviour", [B.NO_INCREMENT, B.CUT_INCREMENT])
async def test_a_server_that_does_no_incremental_transfers_is_asked_for_none_for_a_while(
    setting: Setting, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it says so or closes the connection: the whole zone is taken in the same look."""
    await setting.hosts()
    setting.server.behaviour = behaviour
    for number in range(3):
        setting.server.hold({f"vc-c-{number}": "10.0.0.3"})
        assert await setting.hosts() == {f"vc-c-{number}"}
    assert setting.server.asked == {"AXFR/tcp": 4, "IXFR/tcp": 1}
    later = time.monotonic() + 3601
    monkeypatch.setattr(time, "monotonic", lambda: later)
    setting.server.hold({"vc-d-0": "10.0.0.4"})
    assert await setting.hosts() == {"vc-d-0"}
    assert setting.server.asked == {"AXFR/tcp": 5, "IXFR/tcp": 2}


async def test_differences_that_make_no_sense_do_not_end_incremental_transfers(setting: Setting) -> None:
    await setting.hosts()
    setting.server.behaviour = B.BROKEN_INCREMENT
    setting.server.hold({"vc-c-0": "10.0.0.3"})
    assert await setting.hosts() == {"vc-c-0"}
    assert setting.server.asked == {"AXFR/tcp": 2, "IXFR/tcp": 1}
    setting.server.behaviour = B.RIGHT
    setting.server.hold({"vc-d-0": "10.0.0.4"})
    assert await setting.hosts() == {"vc-d-0"}
    assert setting.server.asked == {"AXFR/tcp": 2, "IXFR/tcp": 2}


async def test_one_lost_datagram_does_not_end_asking_over_udp(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_adapter, "_TCP_FOR", 0.5)
    setting.server.behaviour = B.TCP_ONLY
    assert (await setting.zone.version()).serial == 10
    lost = setting.server.asked["SOA/udp"]
    setting.server.behaviour = B.RIGHT
    await setting.zone.version()
    assert setting.server.asked == {"SOA/udp": lost, "SOA/tcp": 2}, "TCP first, for a while"
    async with asyncio.timeout(10):
        while setting.server.asked["SOA/udp"] == lost:
            await setting.zone.version()
    over_tcp = setting.server.asked["SOA/tcp"]
    await setting.zone.version()
    assert setting.server.asked == {"SOA/udp": lost + 2, "SOA/tcp": over_tcp}, "and over UDP as before"


async def test_a_serial_that_went_backwards_is_taken_whole_into_a_fresh_zone(setting: Setting) -> None:
    await setting.zone.version()
    await setting.hosts()
    setting.server.hold({"vc-c-0": "10.0.0.3"}, serial=4)
    assert (await setting.zone.version()).serial == 4
    assert await setting.hosts() == {"vc-c-0"}
    assert setting.server.asked == {"SOA/udp": 2, "AXFR/tcp": 2}


async def test_a_serial_that_wraps_around_goes_forward(setting: Setting) -> None:
    setting.server.hold({"vc-a-0": "10.0.0.1"}, serial=2**32 - 1)
    await setting.zone.version()
    await setting.hosts()
    setting.server.hold({"vc-c-0": "10.0.0.3"}, serial=1)
    await setting.zone.version()
    assert await setting.hosts() == {"vc-c-0"}
    assert setting.server.asked["IXFR/tcp"] == 1


async def test_afresh_takes_nothing_from_the_earlier_copy(setting: Setting) -> None:
    await setting.hosts()
    assert await setting.hosts(afresh=True) == {"vc-a-0", "vc-b-0"}
    assert setting.server.asked == {"AXFR/tcp": 2}


async def test_another_server_is_asked_for_the_whole_zone(setting: Setting) -> None:
    await setting.hosts()
    async with FakeDns(setting.finder.access.tsig_key).running() as other:
        other.hold({"vc-x-0": "10.0.0.9"}, serial=11)
        setting.finder.access = Access(Server(ADDRESS, other.port), setting.finder.access.tsig_key)
        assert await setting.zone.version() == Version(f"{ADDRESS}:{other.port}", 11)
        assert await setting.hosts() == {"vc-x-0"}
        assert other.asked["AXFR/tcp"] == 1
        assert other.asked["IXFR/tcp"] == 0


async def test_nobody_listens(setting: Setting) -> None:
    setting.finder.access = Access(Server(ADDRESS, 1), setting.finder.access.tsig_key)
    async with asyncio.timeout(5):
        with pytest.raises(ZoneUnavailable) as caught:
            await setting.zone.version()
        with pytest.raises(ZoneUnavailable) as also:
            await setting.zone.transfer()
    assert caught.value.reason == also.value.reason == "ServerUnreachable"


async def test_unsigned_answers_to_signed_questions_are_refused() -> None:
    async with FakeDns(KEY).running() as server:
        server.hold({"vc-a-0": "10.0.0.1"})
        server.behaviour = B.UNSIGNED
        setting = Setting(server, KEY)
        with pytest.raises(ZoneUnavailable, match=r"not signed.*tsig_key"):
            await setting.zone.version()
        with pytest.raises(ZoneUnavailable):
            await setting.zone.transfer()


async def test_a_key_that_is_not_base64_is_named() -> None:
    async with FakeDns().running() as server:
        setting = Setting(server, "not base64!")
        with pytest.raises(ZoneUnavailable, match="key 'tsig_key' is not base64") as caught:
            await setting.zone.version()
        assert "not base64!" not in str(caught.value).replace("is not base64", "")
        with pytest.raises(ZoneUnavailable, match="key 'tsig_key' is not base64"):
            await setting.zone.transfer()
