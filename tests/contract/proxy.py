"""A TCP proxy whose connections can be cut, as a network or a dying process would."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forwards to one address; ``cut`` ends every connection without a word, ``refuse`` takes no new ones."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._refusing = False
        self.requests = 0
        """How often clients wrote something."""
        self._cut_above: int | None = None
        self._silent = asyncio.Event()
        self._silent.set()

    async def start(self) -> int:
        """Listens on loopback; returns the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Resets every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def cut_in_a_frame(self, longer_than: int = 0) -> None:
        """Resets the next connection on which a client sends more bytes than this at once; the last does not arrive.

        May be called from any thread.
        """
        self._cut_above = longer_than

    @property
    def is_to_cut(self) -> bool:
        """Whether no such bytes have come yet."""
        return self._cut_above is not None

    def refuse(self) -> None:
        """Resets every connection, now and from now on."""
        self._refusing = True
        self.cut()

    def hold(self) -> None:
        """Forwards nothing more, in either direction, and keeps the connections open."""
        self._silent.clear()

    def forward(self) -> None:
        """Forwards again, and accepts again."""
        self._silent.set()
        self._refusing = False

    async def close(self) -> None:
        """Ends everything."""
        self.refuse()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, server_writer}
        self._writers |= pair
        for source, sink in ((reader, server_writer), (server_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink, pair, from_client=source is reader))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        pair: set[asyncio.StreamWriter],
        *,
        from_client: bool,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                self.requests += from_client
                await self._silent.wait()
                if from_client and self._cut_above is not None and len(data) > self._cut_above:
                    self._cut_above = None
                    sink.write(data[:-1])
                    await sink.drain()
                    break
                sink.write(data)
                await sink.drain()
        for writer in pair:
            writer.transport.abort()
        self._writers -= pair


async def in_front_of(url: str) -> tuple[Proxy, str]:
    """A started proxy for an AMQP URL, and the URL that leads through it."""
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "localhost", parts.port or 5672)
    port = await proxy.start()
    credentials = parts.netloc.rpartition("@")[0]
    return proxy, urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{port}"))
