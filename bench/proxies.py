"""Proxies that count what passes: requests to the API server by stage, and DNS queries."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiohttp
import yaml
from aiohttp import web
from multidict import CIMultiDict

from tests.ports import free_port

T = TypeVar("T")
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "upgrade", "host", "content-length", "authorization")


class Loop(threading.Thread):
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.loop = asyncio.new_event_loop()
        self.start()

    def run(self) -> None:
        """Until `close`."""
        self.loop.run_forever()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, run there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        """Ends what runs there, then the thread."""
        self.do(_cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join(10)
        self.loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Request(NamedTuple):
    """A kind of request to the API server."""

    stage: str
    verb: str
    resource: str
    agent: str


class CountingApi:
    """Between the stages and the API server. Each stage has a port of its own, by which it is known."""

    def __init__(self, kubernetes: Any, pair: Any, folder: Path) -> None:
        self.counted: Counter[Request] = Counter()
        self._kubernetes = kubernetes
        self._folder = folder
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(pair.certificate, pair.key)
        self._session: aiohttp.ClientSession
        self._runners: list[web.AppRunner] = []

    async def start(self, stages: tuple[str, ...]) -> dict[str, Path]:
        """Listens. The kubeconfig of each stage."""
        config = yaml.safe_load(self._kubernetes.kubeconfig.read_text())
        user = config["users"][0]["user"]
        context = ssl.create_default_context(cafile=str(self._kubernetes.ca))
        context.load_cert_chain(user["client-certificate"], user["client-key"])
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            read_bufsize=2**21,
        )
        kubeconfigs = {}
        for stage in stages:
            port = await self._listen(stage)
            cluster = {"certificate-authority": str(self._kubernetes.ca), "server": f"https://127.0.0.1:{port}"}
            config["clusters"][0]["cluster"] = cluster
            config["users"][0]["user"] = {"token": "counted"}
            kubeconfigs[stage] = self._folder / f"{stage}.kubeconfig"
            kubeconfigs[stage].write_text(yaml.safe_dump(config))
        return kubeconfigs

    async def _listen(self, stage: str) -> int:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._pass_on(stage, request)

        application = web.Application(client_max_size=2**25)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=self._tls).start()
        self._runners.append(runner)
        return port

    async def _pass_on(self, stage: str, request: web.Request) -> web.StreamResponse:
        verb = "WATCH" if request.query.get("watch") == "true" else request.method
        self.counted[Request(stage, verb, _resource(request.path), request.headers.get("User-Agent", ""))] += 1
        async with self._session.request(
            request.method,
            self._kubernetes.url + request.raw_path,
            headers=_end_to_end(request.headers),
            data=await request.read(),
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
            await response.prepare(request)
            with suppress(ConnectionError):  # who asked has gone
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response

    async def close(self) -> None:
        """Ends everything."""
        for runner in self._runners:
            await runner.cleanup()
        await self._session.close()


class CountingDns(asyncio.DatagramProtocol):
    """Before a DNS server: queries over UDP by themselves, connections over TCP as a whole."""

    def __init__(self, address: str, port: int) -> None:
        self.counted: Counter[str] = Counter()
        self._server = (address, port)
        self._transport: asyncio.DatagramTransport
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listens on both. The port."""
        port = free_port()
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, ("127.0.0.1", port))
        await asyncio.start_server(self._connected, "127.0.0.1", port)
        return port

    def connection_made(self, transport: Any) -> None:
        """Of asyncio."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        """One query."""
        self.counted["queries over UDP"] += 1
        task = asyncio.ensure_future(self._ask(data, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, data: bytes, address: tuple[str | Any, int]) -> None:
        if (answer := await _answer(data, self._server)) is not None:
            self._transport.sendto(answer, address)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counted["connections over TCP"] += 1
        their_reader, their_writer = await asyncio.open_connection(*self._server)
        await asyncio.gather(_copy(reader, their_writer), _copy(their_reader, writer))


class NotifyRelay(asyncio.DatagramProtocol):
    """Where a DNS server sends NOTIFY, over UDP or TCP: passed on as it is, and the time remembered

    (`time.perf_counter`).
    """

    def __init__(self, address: str, port: int) -> None:
        self.at: list[float] = []
        self._to = (address, port)
        self._transport: asyncio.DatagramTransport
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listens on both. The port."""
        port = free_port()
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, ("127.0.0.1", port))
        await asyncio.start_server(self._connected, "127.0.0.1", port)
        return port

    def connection_made(self, transport: Any) -> None:
        """Of asyncio."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        """One NOTIFY."""
        self.at.append(time.perf_counter())
        task = asyncio.ensure_future(self._tell(data, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, data: bytes, address: tuple[str | Any, int]) -> None:
        if (answer := await _answer(data, self._to)) is not None:
            self._transport.sendto(answer, address)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at.append(time.perf_counter())
        try:
            their_reader, their_writer = await asyncio.open_connection(*self._to)
        except ConnectionError:
            writer.close()  # nobody listens yet, or any more: the server tries again
            return
        await asyncio.gather(_copy(reader, their_writer), _copy(their_reader, writer))


async def _answer(data: bytes, server: tuple[str, int]) -> bytes | None:
    """What a server answers to a datagram; None: nothing within 5 s, as whoever asked will notice."""
    answers: asyncio.Queue[bytes | None] = asyncio.Queue()

    class Asked(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _: tuple[str | Any, int]) -> None:
            answers.put_nowait(data)

        def error_received(self, _: Exception) -> None:
            answers.put_nowait(None)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Asked, remote_addr=server)
    transport.sendto(data)
    try:
        return await asyncio.wait_for(answers.get(), 5)
    except TimeoutError:
        return None
    finally:
        transport.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


def _end_to_end(headers: Any) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP)


def _resource(path: str) -> str:
    """`vcenters/status` of `/apis/<group>/v1/namespaces/<namespace>/vcenters/<name>/status`."""
    parts = path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    return "/".join(parts[:1] + parts[2:]) or "discovery documents"
