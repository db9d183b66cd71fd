"""A DNS server on loopback for the answers that no real server gives when asked to: cut off, refused, rubbish.

It speaks the real protocol over UDP and TCP on one port, so that the real clients meet it. `behaviour` says how it
answers from now on; `asked` counts the questions by type and transport ("SOA/udp", "AXFR/tcp").
"""

from __future__ import annotations

import asyncio
import base64
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.tsig

DOMAIN = "cc.qa-de-1.cloud.sap"
ADDRESS = "127.0.0.1"
KEY = base64.b64encode(b"a key of thirty-two bytes, no less").decode()
OTHER_KEY = base64.b64encode(b"another one, and as long as that is").decode()


class Behaviour(Enum):
    """How questions are answered."""

    RIGHT = auto()
    SILENT = auto()
    """Connections are taken, and nothing is ever answered."""
    TCP_ONLY = auto()
    """What comes over UDP is lost."""
    EOF = auto()
    """Over UDP the answer is cut off, over TCP the connection is closed in place of an answer."""
    CUT_OFF = auto()
    """As EOF, with half an answer before the end."""
    TRUNCATED = auto()
    """Over either, a header with the flag TC and no records."""
    REFUSED = auto()
    SERVFAIL = auto()
    RUBBISH = auto()
    """Bytes that are no DNS message."""
    LAME = auto()
    """A good answer without the record that was asked for."""
    NO_TRANSFER = auto()
    """The serial is told, the transfer refused."""
    HALF_TRANSFER = auto()
    """The serial is told, the transfer ends before its last SOA."""
    HANGING_TRANSFER = auto()
    """The same, but the connection stays open."""
    NO_INCREMENT = auto()
    """Everything but IXFR, which is answered with NOTIMP."""
    BROKEN_INCREMENT = auto()
    """Everything but IXFR, which answers with differences from a serial that nobody asked for."""
    CUT_INCREMENT = auto()
    """Everything but IXFR, at which the connection ends."""
    EMPTY = auto()
    """The transfer is complete, and has nothing but its SOA: no NS, no names."""
    UNSIGNED = auto()
    """Right, but never signed."""


B = Behaviour
_SPARES_THE_SERIAL = {
    B.RIGHT, B.NO_TRANSFER, B.HALF_TRANSFER, B.HANGING_TRANSFER, B.NO_INCREMENT, B.BROKEN_INCREMENT, B.CUT_INCREMENT,
    B.EMPTY, B.UNSIGNED, B.TCP_ONLY,
}  # fmt: skip


class FakeDns:
    """Serves one zone of vCenters; `hold` changes it and its serial."""

    def __init__(self, tsig_key: str | None = None) -> None:
        self.behaviour = Behaviour.RIGHT
        self.asked: Counter[str] = Counter()
        self.serial = 1
        self.vcenters: dict[str, str] = {}
        self.port = 0
        key = dns.tsig.Key("tsig-key", tsig_key, dns.tsig.HMAC_SHA256) if tsig_key else None
        self._connections: set[asyncio.Task[None]] = set()
        self._keyring = {key.name: key} if key else None

    def hold(self, vcenters: dict[str, str], *, serial: int | None = None) -> None:
        """First label to address. The serial goes up by one, or becomes what is given."""
        self.vcenters = dict(vcenters)
        self.serial = self.serial + 1 if serial is None else serial

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """The answer to a question; None: none at all. Empty: the connection ends."""
        query = dns.message.from_wire(wire, keyring=self._keyring)
        question = query.question[0]
        self.asked[f"{dns.rdatatype.to_text(question.rdtype)}/{transport}"] += 1
        if question.rdtype == dns.rdatatype.SOA or self.behaviour not in _SPARES_THE_SERIAL:
            return self._to_any(query, transport)
        return self._to_transfer(query)

    def _to_any(self, query: dns.message.Message, transport: str) -> bytes | None:
        response = self._response(query)
        match self.behaviour:
            case B.SILENT:
                return None
            case B.TCP_ONLY if transport == "udp":
                return None
            case B.TRUNCATED:
                response.flags |= dns.flags.TC
            case B.EOF | B.CUT_OFF if transport == "udp":
                response.flags |= dns.flags.TC
            case B.EOF:
                return b""
            case B.REFUSED:
                response.set_rcode(dns.rcode.REFUSED)
            case B.SERVFAIL:
                response.set_rcode(dns.rcode.SERVFAIL)
            case B.RUBBISH:
                return query.id.to_bytes(2) + b"\x81\x80\xff\xff rubbish"
            case B.LAME:
                pass
            case _:
                response.answer = [self._soa()]
        whole = response.to_wire()
        return whole[: len(whole) // 2] if self.behaviour is B.CUT_OFF and transport == "tcp" else whole

    def _to_transfer(self, query: dns.message.Message) -> bytes:
        response = self._response(query)
        incremental = query.question[0].rdtype == dns.rdatatype.IXFR
        match self.behaviour:
            case B.NO_TRANSFER:
                response.set_rcode(dns.rcode.REFUSED)
            case B.CUT_INCREMENT if incremental:
                return b""
            case B.NO_INCREMENT if incremental:
                response.set_rcode(dns.rcode.NOTIMP)
            case B.BROKEN_INCREMENT if incremental:
                response.answer = [self._soa(), self._soa(4711), self._soa(), self._soa()]
            case B.HALF_TRANSFER | B.HANGING_TRANSFER:
                response.answer = self._records()[:-1]
            case B.EMPTY:
                response.answer = [self._soa(), self._soa()]
            case _:
                response.answer = self._records()
        return response.to_wire()

    def _response(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self.behaviour is B.UNSIGNED:
            response.tsig = None
            response.keyring = None
        return response

    def _soa(self, serial: int | None = None) -> dns.rrset.RRset:
        return _rrset("", "SOA", f"ns.{DOMAIN}. hostmaster.{DOMAIN}. {serial or self.serial} 3600 600 86400 60")

    def _records(self) -> list[dns.rrset.RRset]:
        """A whole zone, as AXFR gives it (RFC 5936) and an IXFR may (RFC 1995, 4)."""
        vcenters = [_rrset(label, "A", address) for label, address in self.vcenters.items()]
        return [self._soa(), _rrset("", "NS", f"ns.{DOMAIN}."), _rrset("ns", "A", ADDRESS), *vcenters, self._soa()]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = self.answer(await reader.readexactly(length), "tcp")
            if answer:
                promised = len(answer) * 2 if self.behaviour is B.CUT_OFF else len(answer)
                writer.write(struct.pack("!H", promised) + answer)
                await writer.drain()
            if answer is None or self.behaviour is B.HANGING_TRANSFER:
                await reader.read()
                return
            if not answer or self.behaviour in (B.CUT_OFF, B.HALF_TRANSFER):
                writer.write_eof()
                await reader.read()
                return

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeDns]:
        """Listens on a free port, or on the one that it had before, inside the block."""
        tcp = await asyncio.start_server(self._connected, ADDRESS, self.port)
        self.port = tcp.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (ADDRESS, self.port))
        try:
            yield self
        finally:
            udp.close()
            tcp.close()
            await tcp.wait_closed()
            connections = list(self._connections)
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections, return_exceptions=True)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: FakeDns) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        if answer := self._server.answer(data, "udp"):
            self._transport.sendto(answer, addr)


def notify(
    zone: str, key: dns.tsig.Key | None, rdtype: dns.rdatatype.RdataType = dns.rdatatype.SOA
) -> dns.message.Message:
    """A NOTIFY (RFC 1996) as a name server sends it."""
    message = dns.message.make_query(zone, rdtype, flags=dns.flags.AA)
    message.set_opcode(dns.opcode.NOTIFY)
    if key is not None:
        message.use_tsig(key)
    return message


def _rrset(label: str, rdtype: str, value: str) -> dns.rrset.RRset:
    name = dns.name.from_text(f"{label}.{DOMAIN}" if label else DOMAIN)
    return dns.rrset.from_text(name, 60, "IN", rdtype, value)
