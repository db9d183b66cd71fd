"""Listens for NOTIFY (RFC 1996) on one port, UDP and TCP: some servers send it over the one, some over the other."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import cast

import dns.tsig

from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.settings import PREFIX
from vcenter_operator.common.telemetry import logger
from vcenter_operator.discovery.adapters.notify import LARGEST, Answer, answer, busy
from vcenter_operator.discovery.adapters.soa import signing_key
from vcenter_operator.discovery.metrics import NOTIFIES
from vcenter_operator.discovery.ports import Finder, ZoneUnavailable

log = logger(__name__)

_RATE = 100.0
"""Messages a second that are looked at, on each transport: a flood of the one does not silence the other. What is
beyond gets no answer; a server sends again what is not answered (RFC 1996, 3.6)."""
_CONNECTIONS = 32
"""At once. One more ends the oldest: whoever means it is done in milliseconds."""
_CONNECTION_ENDS = 5.0
"""Seconds that a connection may last."""
_SAY_AGAIN = 60.0
"""Seconds between two warnings about the same problem."""


class NotifyListener:
    """The port `Notifications`. Many at once are one: `heard` returns once for all that came before."""

    def __init__(self, domain: str, finder: Finder, *, connection_ends: float = _CONNECTION_ENDS) -> None:
        self._domain = domain
        self._finder = finder
        self._heard = asyncio.Event()
        self._allowance = {"udp": _Allowance(_RATE), "tcp": _Allowance(_RATE)}
        self._connections: dict[asyncio.Task[None], None] = {}
        self._connection_ends = connection_ends
        self._said: dict[str, float] = {}
        self.port = 0
        """That it listens on."""

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    async def heard(self) -> None:
        """See `Notifications.heard`."""
        await self._heard.wait()
        self._heard.clear()

    @asynccontextmanager
    async def listening(self, address: str | None, port: int) -> AsyncIterator[NotifyListener]:
        """Listens inside the block; `address` None: on every one of this host's. Port 0: any that is free.

        Raises:
            ConfigurationError: it cannot, and why.
        """
        loop = asyncio.get_running_loop()
        with ExitStack() as closing:
            tcp, udp = _bound(address, port, closing)
            self.port = tcp.getsockname()[1]
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
            closing.callback(transport.close)
            server = await asyncio.start_server(self._connected, sock=tcp, backlog=128)
            closing.callback(server.close)
            log.info("listening for NOTIFY", address=address or "every address", port=self.port)
            try:
                yield self
            finally:
                server.close()
                for task in list(self._connections):
                    task.cancel()
                await asyncio.gather(*self._connections, return_exceptions=True)

    def answer(self, wire: bytes, sender: str, transport: str) -> bytes | None:
        """The answer to a message; None: none. Wakes `heard` where the message counts."""
        if not self._allowance[transport].take():
            self._say("more than can be looked at: dropped", sender, transport)
            return None
        access = self._finder.access
        if access is None:
            self._say("it is not known yet where the DNS server is, and what its key", sender, transport)
            return busy(wire)
        try:
            key: dns.tsig.Key | None = signing_key(access.tsig_key) if access.tsig_key is not None else None
            found = answer(wire, self._domain, key)
        except ZoneUnavailable as error:  # what stands in the Secret is no key
            found = Answer(busy(wire), problem=str(error))
        if found.counts:
            log.debug("NOTIFY", sender=sender, transport=transport)
            NOTIFIES.labels("heard").inc()
            self._heard.set()
        else:
            self._say(found.problem, sender, transport)
        return found.wire

    def _say(self, problem: str, sender: str, transport: str) -> None:
        """Once a minute for a problem: whoever can reach the port could fill the log otherwise."""
        NOTIFIES.labels("refused").inc()
        now = time.monotonic()
        kind = problem.split(",", maxsplit=1)[0]
        tell = log.debug
        if now - self._said.get(kind, -_SAY_AGAIN) >= _SAY_AGAIN:
            self._said[kind] = now
            tell = log.warning
        tell("a NOTIFY that does not count", problem=problem, sender=sender, transport=transport)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = None
        while len(self._connections) > _CONNECTIONS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.cancel()
        try:
            async with asyncio.timeout(self._connection_ends):
                await self._converse(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass  # to make room, or because we end: the streams' own task, nobody waits for it
        finally:
            self._connections.pop(task, None)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        sender = str(peer[0]) if peer else "unknown"
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            if length > LARGEST:
                self._say("too long for a NOTIFY", sender, "tcp")
                return
            response = self.answer(await reader.readexactly(length), sender, "tcp")
            if response is None:
                return
            writer.write(struct.pack("!H", len(response)) + response)
            await writer.drain()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, listener: NotifyListener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        if (response := self._listener.answer(data, str(addr[0]), "udp")) is not None:
            self._transport.sendto(response, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("an answer to a NOTIFY was not taken", error=str(exc))


class _Allowance:
    """So many a second, and as many at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left = rate
        self._at = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _bound(address: str | None, port: int, closing: ExitStack) -> tuple[socket.socket, socket.socket]:
    """The TCP and the UDP socket, on one port."""
    for _ in range(20):
        tcp = None
        with ExitStack() as attempt:
            try:
                tcp = attempt.enter_context(_socket(address, port, socket.SOCK_STREAM))
                udp = attempt.enter_context(_socket(address, tcp.getsockname()[1], socket.SOCK_DGRAM))
            except OSError as error:
                if port == 0 and tcp is not None and error.errno == errno.EADDRINUSE:
                    continue  # free for TCP only
                raise _cannot(address, port, error) from None
            closing.push(attempt.pop_all())
            return tcp, udp
    raise ConfigurationError("no port is free for both TCP and UDP")


def _socket(address: str | None, port: int, kind: socket.SocketKind) -> socket.socket:
    host = address or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")  # noqa: S104 - as it was asked for
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address is not None))
        if kind == socket.SOCK_STREAM:  # connections of a process that ended are in nobody's way
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def _cannot(address: str | None, port: int, error: OSError) -> ConfigurationError:
    advice = {
        errno.EACCES: "a port below 1024 needs a right of its own: take one above, and have a Service map 53 to it",
        errno.EADDRINUSE: "another process has it (another replica on this host?): give each a port of its own",
        errno.EADDRNOTAVAIL: f"{PREFIX}NOTIFY_ADDRESS has to be an address of this host, or unset for all of them",
    }
    where = f"{address or 'every address'}, port {port} (UDP and TCP)"
    what = advice.get(error.errno or 0)
    reason = error.strerror or str(error)
    with suppress(ValueError):
        reason = reason[0].lower() + reason[1:]
    return ConfigurationError(f"{PREFIX}NOTIFY_PORT: cannot listen on {where}: {reason}{f'; {what}' if what else ''}")
