"""A zone transfer: IXFR (RFC 1995) or AXFR (RFC 5936) over TCP, signed with TSIG where a key is set.

It blocks, and keeps the interpreter busy for seconds where the zone is large: it belongs into a process of its own.
"""

from __future__ import annotations

import queue
import resource
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.tsig
import dns.xfr
import dns.zone

from vcenter_operator.discovery.adapters.failures import INCOMPLETE, translated
from vcenter_operator.discovery.adapters.records import entries, serial
from vcenter_operator.discovery.adapters.soa import signing_key
from vcenter_operator.discovery.core.serial import is_newer
from vcenter_operator.discovery.core.zone import Entry
from vcenter_operator.discovery.ports import Access, Server, ZoneUnavailable

_NOT_CURED_BY_AXFR = (
    TimeoutError,
    dns.exception.Timeout,
    dns.tsig.PeerError,
    dns.tsig.BadSignature,
    dns.tsig.BadTime,
)
_NOT_OFFERED = (EOFError, OSError, dns.xfr.TransferError)
"""How a server answers that does no incremental transfers: it closes the connection, or says so."""
_WHOLE_FOR = 3600.0
"""Seconds for which such a server is not asked for one again."""
_LARGEST = 512 * 1024 * 1024
"""Bytes of a transfer: nobody's zone, but a server that never ends."""


_ATTEMPTS = 3
"""Where the server that answers is behind the one that stated the serial: the next connection may lead to that one."""


class _Behind(Exception):
    """The server that answers is behind the one that stated the serial."""


@dataclass(frozen=True)
class Order:
    """What to transfer, and from where."""

    domain: str
    address: str
    port: int
    tsig_key: str | None = field(repr=False)
    asked: int | None
    """The serial that the server stated last, where it was asked."""
    afresh: bool
    timeout: float
    """Seconds for the connection, and for each next message."""
    within: float
    """Seconds for all of it."""
    memory: int | None = None
    """Bytes that this process may have resident meanwhile: what takes more is given up."""

    @property
    def access(self) -> Access:
        """The server and the key."""
        return Access(Server(self.address, self.port), self.tsig_key)

    def is_behind(self, serial: int) -> bool:
        """Whether a serial is older than the one that was stated."""
        return self.asked is not None and is_newer(self.asked, serial)


@dataclass(frozen=True)
class Outcome:
    """A complete zone."""

    serial: int
    how: str
    """`AXFR`, `IXFR`, or `none` where the server turned out to have nothing newer than the copy."""
    names: dict[str, Entry]
    """What counts of it; see `records.entries`."""
    size: int
    """How many names the zone has."""
    problem: str | None = None
    """Why it is not an incremental transfer, where one was tried."""


class Transfers:
    """Keeps the last complete copy of the zone, from which an incremental transfer starts."""

    def __init__(self) -> None:
        self._copy: dns.zone.Zone | None = None
        self._copied_from: tuple[str, Server] | None = None
        self._whole: dict[Server, float] = {}
        """Servers that do no incremental transfers, and until when that is taken for granted (monotonic)."""

    def transfer(self, order: Order) -> Outcome:
        """Incremental where an earlier copy of this server's allows it, whole otherwise. Raises ZoneUnavailable."""
        with translated(order.access, f"transferring the zone {order.domain}"):
            zone, how, problem = self._transferred(order)
            _check(zone, order)
            names = entries(zone, order.domain)
        self._copy, self._copied_from = zone, (order.domain, order.access.server)
        return Outcome(serial(zone), how, names, len(zone.nodes), problem)

    def _transferred(self, order: Order) -> tuple[dns.zone.Zone, str, str | None]:
        base = None if order.afresh else self._base(order)
        # Whatever happens to an incremental transfer, the next attempt starts from nothing.
        self._copy = None
        if base is None:
            return _whole(order), "AXFR", None
        before, offered = serial(base), True
        try:
            _catch_up(order, base)
        except _NOT_CURED_BY_AXFR:
            raise
        except _NOT_OFFERED as error:
            problem, offered = f"{type(error).__name__}: {error}", False
        except dns.exception.DNSException as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            return base, "IXFR" if serial(base) != before else "none", None
        zone = _whole(order)
        if not offered:
            self._whole[order.access.server] = time.monotonic() + _WHOLE_FOR
        return zone, "AXFR", problem

    def _base(self, order: Order) -> dns.zone.Zone | None:
        """The copy to start an incremental transfer from; None where it is another server's, not older, or no use."""
        server = order.access.server
        if self._copy is None or self._copied_from != (order.domain, server):
            return None
        if time.monotonic() < self._whole.get(server, 0.0):
            return None
        ours = serial(self._copy)
        backwards = order.asked is not None and order.asked != ours and not is_newer(order.asked, ours)
        return None if backwards else self._copy


def _catch_up(order: Order, zone: dns.zone.Zone) -> None:
    for _ in range(_ATTEMPTS):
        try:
            _receive(order, zone, dns.rdatatype.IXFR)
        except dns.xfr.SerialWentBackwards:
            if order.asked is None:
                raise
        if not order.is_behind(serial(zone)):
            return


def _whole(order: Order) -> dns.zone.Zone:
    for left in reversed(range(_ATTEMPTS)):
        zone = dns.zone.Zone(dns.name.from_text(order.domain), relativize=False)
        try:
            _receive(order, zone, dns.rdatatype.AXFR, leave_if_behind=left > 0)
        except _Behind:
            continue
        return zone
    raise AssertionError("the last attempt returns or raises")


def _receive(
    order: Order, zone: dns.zone.Zone, kind: dns.rdatatype.RdataType, *, leave_if_behind: bool = False
) -> None:
    query, base = dns.xfr.make_query(zone, serial=None if kind == dns.rdatatype.AXFR else 0)
    if order.tsig_key is not None:
        key = signing_key(order.tsig_key)
        query.use_tsig({key.name: key}, key.name)
    with _Reader(order, query.to_wire()) as messages, dns.xfr.Inbound(zone, kind, base) as inbound:
        done, first, context = False, True, None
        while not done:
            message = dns.message.from_wire(
                messages.next(),
                keyring=query.keyring,
                request_mac=query.mac,
                xfr=True,
                origin=zone.from_wire_origin(),
                tsig_ctx=context,
                multi=True,
                one_rr_per_rrset=kind == dns.rdatatype.IXFR,
            )
            if not query.is_response(message, xfr_continuation=not first):
                raise dns.query.BadResponse
            done, context = inbound.process_message(message), message.tsig_ctx
            if order.memory is not None and _resident() > order.memory:
                raise MemoryError
            if first and leave_if_behind and inbound.soa_rdataset and order.is_behind(inbound.soa_rdataset[0].serial):
                raise _Behind
            first = False


def _check(zone: dns.zone.Zone, order: Order) -> None:
    try:
        zone.check_origin()
    except dns.zone.NoSOA:
        problem = "no SOA record at its apex"
    except dns.zone.NoNS:
        problem = "no NS record at its apex"
    else:
        return
    raise ZoneUnavailable(INCOMPLETE, f"DNS server {order.access.server}: the zone {order.domain} has {problem}")


def _resident() -> int:
    """Bytes of this process in memory; 0 where there is no procfs to tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


class _Reader:
    """Takes the server's messages as they come, while those before are parsed.

    Servers cut off whoever reads slowly (Knot after half a second), and parsing is slow.
    """

    def __init__(self, order: Order, query: bytes) -> None:
        self._order = order
        self._deadline = time.monotonic() + order.within
        self._messages: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self._socket = socket.create_connection((order.address, order.port), min(order.timeout, order.within))
        self._thread = threading.Thread(target=self._read, name="transfer", daemon=True)
        self._query = query

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def next(self) -> bytes:
        """The next message. Raises TimeoutError, EOFError, OSError, ValueError."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            message = self._messages.get(timeout=min(left, self._order.timeout))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(message, Exception):
            raise message
        return message

    def _read(self) -> None:
        try:
            self._socket.sendall(struct.pack("!H", len(self._query)) + self._query)
            taken = 0
            with self._socket.makefile("rb") as stream:
                while taken < _LARGEST:
                    (length,) = struct.unpack("!H", _exactly(stream.read(2), 2))
                    self._messages.put(_exactly(stream.read(length), length))
                    taken += length
            raise ValueError(f"the zone takes more than {_LARGEST} bytes")
        except Exception as error:
            self._messages.put(error)


def _exactly(data: bytes | None, length: int) -> bytes:
    if data is None or len(data) < length:
        raise EOFError
    return data
