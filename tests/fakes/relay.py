"""One address with several DNS servers behind it, as a Kubernetes Service has: each question goes to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

ADDRESS = "127.0.0.1"


class Relay:
    """UDP and TCP on one port. `behind` may be changed while it runs; `passed` says to whom each question went."""

    def __init__(self, behind: Sequence[tuple[str, int]]) -> None:
        self.behind = list(behind)
        self.passed: list[tuple[str, int]] = []
        self.port = 0
        self._conversations: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        """Listens on a free port inside the block."""
        server = await asyncio.start_server(self._connected, ADDRESS, 0)
        self.port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (ADDRESS, self.port))
        try:
            yield self
        finally:
            udp.close()
            server.close()
            for task in list(self._conversations):
                task.cancel()
            await asyncio.gather(*self._conversations, return_exceptions=True)

    def next(self) -> tuple[str, int]:
        """Whose turn it is."""
        turn = self.behind[len(self.passed) % len(self.behind)]
        self.passed.append(turn)
        return turn

    def begin(self, conversation: asyncio.Task[None]) -> None:
        """Keeps a conversation until it ends."""
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.begin(task)
        with suppress(OSError, asyncio.CancelledError):
            theirs, ours = await asyncio.open_connection(*self.next())
            try:
                there = asyncio.create_task(_copy(reader, ours))
                await _copy(theirs, writer)
                there.cancel()
            finally:
                ours.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


class _Datagrams(asyncio.DatagramProtocol):
    """Of the questioners."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._relay.begin(asyncio.get_running_loop().create_task(self._ask(data, addr)))

    async def _ask(self, data: bytes, addr: tuple[str | object, int]) -> None:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Answer(answered), remote_addr=self._relay.next())
        try:
            transport.sendto(data)
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(5):
                    self._transport.sendto(await answered, addr)
        finally:
            transport.close()


class _Answer(asyncio.DatagramProtocol):
    """Of a server."""

    def __init__(self, answered: asyncio.Future[bytes]) -> None:
        self._answered = answered

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        if not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)
