"""A server in front of a vCenter: it passes calls on over TLS until it is told to answer something else."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.stack.certificates import KeyPair

Reply = bytes | AsyncIterator[bytes]


def http_reply(body: bytes, status: str = "200 OK", kind: str = "text/xml", length: int | None = None) -> bytes:
    """A whole HTTP answer; `length`: what it claims its body to be."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode() + body


async def endless(start: bytes, more: bytes) -> AsyncIterator[bytes]:
    """An answer that never ends."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n" + start
    while True:
        yield more


class Front:
    """`rubbish` is answered to each call while it is set."""

    def __init__(self, address: str, port: int, pair: KeyPair, behind: tuple[str, int] | None = None) -> None:
        self.address = address
        self.port = port
        self.rubbish: Reply | None = None
        self.calls: list[bytes] = []
        """Bodies."""
        self.connections = 0
        self._behind = behind
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(pair.certificate, pair.key)

    @asynccontextmanager
    async def running(self, plain: bytes | None = None) -> AsyncIterator[Front]:
        """Listens inside the block. `plain` is sent in the place of a TLS handshake."""
        open_: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._converse(reader, writer, plain))
            open_.add(task)
            task.add_done_callback(open_.discard)

        server = await asyncio.start_server(
            connected, self.address, self.port, ssl=self._context if plain is None else None
        )
        try:
            yield self
        finally:
            server.close()
            for task in list(open_):
                task.cancel()
            await asyncio.gather(*open_, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, plain: bytes | None) -> None:
        self.connections += 1
        try:
            if plain is not None:
                writer.write(plain)
                await writer.drain()
            else:
                while await self._call(reader, writer):
                    pass
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except BaseException:
            writer.transport.abort()
            raise

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        self.calls.append(body)
        reply = self.rubbish if self.rubbish is not None else await asyncio.to_thread(self._passed_on, headers, body)
        if isinstance(reply, bytes):
            writer.write(reply)
            await writer.drain()
        else:
            async for part in reply:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)  # draining alone may never let the loop notice that the client has gone
        return self.rubbish is None

    def _passed_on(self, headers: dict[str, str], body: bytes) -> bytes:
        assert self._behind is not None
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(*self._behind, timeout=60, context=context)
        try:
            connection.request("POST", "/sdk", body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return http_reply(b"behind it is nobody", "503 Service Unavailable")
        finally:
            connection.close()
        cookies = "".join(f"Set-Cookie: {cookie}\r\n" for cookie in answer.headers.get_all("Set-Cookie") or ())
        head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n{cookies}Content-Type: text/xml\r\n"
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
