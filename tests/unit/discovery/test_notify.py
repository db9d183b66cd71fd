"""What a NOTIFY is answered (RFC 1996, RFC 8945), and the listener: floods, slow clients, ports that are taken."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import dns.asyncquery
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.rrset
import dns.tsig
import pytest

from tests.fakes.discovery import Fixed, becomes
from tests.fakes.dns import KEY, OTHER_KEY, notify
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.discovery.adapters.listening import NotifyListener
from vcenter_operator.discovery.adapters.notify import answer
from vcenter_operator.discovery.adapters.soa import signing_key
from vcenter_operator.discovery.ports import Access, Server

DOMAIN = "cc.qa-de-1.cloud.sap"
SERVER = Server("192.0.2.53", 53)
OURS = signing_key(KEY)


def rcode_of(wire: bytes | None) -> str:
    assert wire is not None
    return dns.rcode.to_text(dns.message.from_wire(wire, keyring=False).rcode())


def tsig_error(wire: bytes | None) -> str:
    assert wire is not None
    message = dns.message.from_wire(wire, keyring=False)
    assert message.tsig is not None
    given = message.tsig[0]
    assert isinstance(given, dns.rdtypes.ANY.TSIG.TSIG)
    return dns.rcode.to_text(given.error, tsig=True)


@pytest.mark.parametrize("key", [None, OURS], ids=["unsigned", "signed"])
def test_a_notify_for_our_zone_counts_and_is_acknowledged(key: dns.tsig.Key | None) -> None:
    request = notify(DOMAIN, key)
    found = answer(request.to_wire(), DOMAIN, key)
    assert found.counts
    assert found.wire is not None
    response = dns.message.from_wire(found.wire, keyring=key or {}, request_mac=request.mac)
    assert response.had_tsig is (key is not None), "the answer is signed where the request was"
    assert request.is_response(response)
    assert (response.opcode(), response.rcode()) == (dns.opcode.NOTIFY, dns.rcode.NOERROR)
    assert response.flags & dns.flags.AA


def test_what_a_notify_says_of_the_zone_does_not_matter() -> None:
    request = notify(DOMAIN.upper(), None)
    soa = f"ns.{DOMAIN}. hostmaster.{DOMAIN}. 4711 1 1 1 1"
    request.answer = [dns.rrset.from_text(f"{DOMAIN}.", 60, "IN", "SOA", soa)]
    assert answer(request.to_wire(), DOMAIN, None).counts


def test_where_a_key_is_set_an_unsigned_notify_is_refused() -> None:
    found = answer(notify(DOMAIN, None).to_wire(), DOMAIN, OURS)
    assert not found.counts
    assert rcode_of(found.wire) == "REFUSED"


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (dns.tsig.Key("tsig-key", OTHER_KEY, dns.tsig.HMAC_SHA256), "BADSIG"),
        (dns.tsig.Key("some-other-key", KEY, dns.tsig.HMAC_SHA256), "BADKEY"),
        (dns.tsig.Key("tsig-key", KEY, dns.tsig.HMAC_SHA512), "BADKEY"),
    ],
    ids=["another secret", "another name", "another algorithm"],
)
@pytest.mark.parametrize("ours", [OURS, None], ids=["with a key", "without"])
def test_a_wrong_key_is_not_authentic(key: dns.tsig.Key, error: str, ours: dns.tsig.Key | None) -> None:
    found = answer(notify(DOMAIN, key).to_wire(), DOMAIN, ours)
    assert not found.counts
    assert rcode_of(found.wire) == "NOTAUTH"
    assert tsig_error(found.wire) == (error if ours is not None else "BADKEY")


def test_a_wrong_time_is_said_in_a_signed_answer_with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: now - 3600)
        request = notify(DOMAIN, OURS)
        wire = request.to_wire()
    found = answer(wire, DOMAIN, OURS)
    assert not found.counts
    assert (rcode_of(found.wire), tsig_error(found.wire)) == ("NOTAUTH", "BADTIME")
    assert found.wire is not None
    with pytest.raises(dns.tsig.PeerBadTime):
        dns.message.from_wire(found.wire, keyring=OURS, request_mac=request.mac)
    given = dns.message.from_wire(found.wire, keyring=False).tsig[0]  # type: ignore[index]
    assert abs(int.from_bytes(given.other) - now) < 60
    assert given.mac != b"\0" * 32


@pytest.mark.parametrize("key", [None, OURS], ids=["unsigned", "signed"])
def test_another_zone_is_not_ours(key: dns.tsig.Key | None) -> None:
    request = notify("elsewhere.example", key)
    found = answer(request.to_wire(), DOMAIN, key)
    assert not found.counts
    assert found.wire is not None
    response = dns.message.from_wire(found.wire, keyring=key or {}, request_mac=request.mac)
    assert response.rcode() == dns.rcode.NOTAUTH
    assert response.had_tsig is (key is not None)


def test_another_type_or_no_question_is_malformed() -> None:
    other = notify(DOMAIN, None, rdtype=dns.rdatatype.A)
    empty = notify(DOMAIN, None)
    empty.question = []
    for request in (other, empty):
        assert rcode_of(answer(request.to_wire(), DOMAIN, None).wire) == "FORMERR"


def test_rubbish_behind_a_header_is_malformed_and_keeps_its_id() -> None:
    found = answer(b"\x12\x34\x20\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff\xff", DOMAIN, None)
    assert not found.counts
    assert found.wire is not None
    assert found.wire[:2] == b"\x12\x34"
    assert rcode_of(found.wire) == "FORMERR"


def test_what_would_be_much_work_to_parse_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    many = notify(DOMAIN, None)
    many.answer = [dns.rrset.from_text(f"host-{number}.{DOMAIN}.", 60, "IN", "A", "10.0.0.1") for number in range(60)]
    padded = notify(DOMAIN, None)
    padded.answer = [dns.rrset.from_text(f"{DOMAIN}.", 60, "IN", "TXT", " ".join(["x" * 250] * 20))]
    monkeypatch.setattr(dns.message, "from_wire", lambda *_, **__: pytest.fail("parsed"))
    for request in (many, padded):
        found = answer(request.to_wire(), DOMAIN, None)
        assert not found.counts
        assert found.wire is not None
        assert len(found.wire) == 12
        assert found.wire[3] & 0x0F == dns.rcode.FORMERR


def test_other_requests_are_not_implemented() -> None:
    query = dns.message.make_query(DOMAIN, "SOA")
    assert rcode_of(answer(query.to_wire(), DOMAIN, None).wire) == "NOTIMP"


def test_answers_and_what_is_no_message_are_not_answered() -> None:
    response = dns.message.make_response(notify(DOMAIN, None))
    for wire in (response.to_wire(), b"", b"short", response.to_wire()[:11]):
        assert answer(wire, DOMAIN, None).wire is None


def test_no_bytes_make_it_fail_or_count() -> None:
    """10,000 messages that were right, and then damaged."""
    chance = random.Random(7)
    whole = notify(DOMAIN, OURS).to_wire()
    signed = 12 + len(dns.name.from_text(DOMAIN).to_wire() or b"") + 4
    for _ in range(10_000):
        wire = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            wire[chance.randrange(len(wire))] ^= chance.randint(1, 255)
        found = answer(bytes(wire[: chance.choice((len(wire), chance.randrange(len(wire) + 1)))]), DOMAIN, OURS)
        if found.counts:  # the id is not signed, nor are class and TTL of the signature itself
            assert bytes(wire[2:signed]).lower() == whole[2:signed].lower()
        assert found.wire is None or len(found.wire) <= len(whole) + 64


@pytest.mark.parametrize("ours", [OURS, None], ids=["with a key", "without"])
@pytest.mark.parametrize("secret", [KEY, OTHER_KEY], ids=["our secret", "another"])
def test_bytes_behind_a_signature_make_it_neither_fail_nor_count(ours: dns.tsig.Key | None, secret: str) -> None:
    key = dns.tsig.Key("tsig-key", secret, dns.tsig.HMAC_SHA256)
    found = answer(notify(DOMAIN, key).to_wire() + b"more", DOMAIN, ours)
    assert not found.counts
    assert rcode_of(found.wire) in ("NOTAUTH", "FORMERR")


class Nowhere:
    """A finder that knows nothing yet."""

    access = None

    async def find(self) -> Access:
        raise AssertionError

    async def changed(self) -> None: ...


@pytest.fixture
async def listener() -> AsyncIterator[NotifyListener]:
    async with listening() as made:
        yield made


@asynccontextmanager
async def listening(key: str | None = None, connection_ends: float = 5.0) -> AsyncIterator[NotifyListener]:
    made = NotifyListener(DOMAIN, Fixed(Access(SERVER, key)), connection_ends=connection_ends)
    async with made.listening("127.0.0.1", 0):
        yield made


async def heard(listener: NotifyListener) -> None:
    async with asyncio.timeout(10):
        await listener.heard()


async def by(transport: str, request: dns.message.Message, port: int) -> dns.message.Message:
    if transport == "udp":
        return await dns.asyncquery.udp(request, "127.0.0.1", 10, port)
    return await dns.asyncquery.tcp(request, "127.0.0.1", 10, port)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("key", [None, KEY], ids=["unsigned", "signed"])
async def test_it_listens_on_both_transports(transport: str, key: str | None) -> None:
    async with listening(key) as listener:
        response = await by(transport, notify(DOMAIN, signing_key(key) if key else None), listener.port)
        assert response.rcode() == dns.rcode.NOERROR
        await heard(listener)


async def test_several_on_one_connection_are_heard_once(listener: NotifyListener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    for _ in range(3):
        wire = notify(DOMAIN, None).to_wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        assert rcode_of(await reader.readexactly(length)) == "NOERROR"
    writer.close()
    await heard(listener)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await listener.heard()


async def test_a_changed_key_counts_at_once() -> None:
    finder = Fixed(Access(SERVER, KEY))
    async with NotifyListener(DOMAIN, finder).listening("127.0.0.1", 0) as listener:
        new = notify(DOMAIN, signing_key(OTHER_KEY))
        assert rcode_of(listener.answer(new.to_wire(), "x", "udp")) == "NOTAUTH"
        finder.tell(Access(SERVER, OTHER_KEY))
        assert rcode_of(listener.answer(new.to_wire(), "x", "udp")) == "NOERROR"
        finder.tell(Access(SERVER, "no base64!"))
        assert rcode_of(listener.answer(new.to_wire(), "x", "udp")) == "SERVFAIL"


async def test_while_it_is_not_known_whether_there_is_a_key_nothing_counts() -> None:
    listener = NotifyListener(DOMAIN, Nowhere())
    assert rcode_of(listener.answer(notify(DOMAIN, None).to_wire(), "x", "udp")) == "SERVFAIL"
    assert listener.answer(b"short", "x", "udp") is None


async def test_a_flood_over_udp_is_dropped_and_silences_tcp_not_at_all(listener: NotifyListener) -> None:
    wire = notify(DOMAIN, None).to_wire()
    answered = sum(listener.answer(wire, "192.0.2.1", "udp") is not None for _ in range(5_000))
    assert 100 <= answered < 1_000
    assert (await by("tcp", notify(DOMAIN, None), listener.port)).rcode() == dns.rcode.NOERROR


async def test_clients_that_are_slow_are_ended() -> None:
    async with listening(connection_ends=0.5) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"\x00")  # half of a length
        async with asyncio.timeout(20):
            assert await ended(reader)
        await becomes(lambda: not listener.connections, "none is left", within=20)
        writer.close()


async def test_clients_that_are_slow_keep_nobody_out() -> None:
    """However long one may take: the oldest make room for the next."""
    async with listening(connection_ends=3600.0) as listener:
        slow = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(100)]
        async with asyncio.timeout(20):
            for reader, _ in slow[:60]:
                assert await ended(reader)
        assert (await by("tcp", notify(DOMAIN, None), listener.port)).rcode() == dns.rcode.NOERROR
        assert listener.connections <= 32
        for _, writer in slow:
            writer.close()


async def test_one_that_sends_too_much_is_ended(listener: NotifyListener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"\xff\xff")
    async with asyncio.timeout(4):
        assert await ended(reader)
    writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


@pytest.fixture(params=["udp", "tcp"])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that somebody else has."""
    with ExitStack() as stack:
        kind = socket.SOCK_DGRAM if request.param == "udp" else socket.SOCK_STREAM
        other = stack.enter_context(socket.socket(socket.AF_INET, kind))
        other.bind(("127.0.0.1", 0))
        if request.param == "tcp":
            other.listen()
        yield other.getsockname()[1]


async def test_a_port_that_is_taken_is_said_with_what_to_do(taken: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with NotifyListener(DOMAIN, Nowhere()).listening("127.0.0.1", taken):
            pass
    for part in ("VCENTER_OPERATOR_NOTIFY_PORT", f"127.0.0.1, port {taken}", "already in use", "of its own"):
        assert part in str(caught.value)


async def test_an_address_that_is_not_this_hosts_is_said() -> None:
    with pytest.raises(ConfigurationError, match="VCENTER_OPERATOR_NOTIFY_ADDRESS has to be an address of this host"):
        async with NotifyListener(DOMAIN, Nowhere()).listening("192.0.2.1", 0):
            pass


async def test_every_address_is_both_families() -> None:
    async with NotifyListener(DOMAIN, Fixed(Access(SERVER))).listening(None, 0) as listener:
        assert (await by("udp", notify(DOMAIN, None), listener.port)).rcode() == dns.rcode.NOERROR
        if socket.has_dualstack_ipv6():
            response = await dns.asyncquery.udp(notify(DOMAIN, None), "::1", 10, listener.port)
            assert response.rcode() == dns.rcode.NOERROR
