"""What can be seen of the operator from outside, with the time at which it was seen.

A tap on each exchange (a queue of its own beside the partitions'), and a watch on each kind in the API server. The
operator does not know that it is measured.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aio_pika
import aiohttp
from kubernetes_asyncio import client, config

from tests.e2e.region import KINDS, Region
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.topology import ARROWS, Names
from vcenter_operator.common.labels import GROUP
from vcenter_operator.common.messages import Statement
from vcenter_operator.common.wire import decode

T = TypeVar("T")


@dataclass(frozen=True)
class Said:
    """A statement on the bus."""

    at: float
    statement: Statement
    body: bytes


@dataclass(frozen=True)
class Written:
    """An event of the API server: ADDED, MODIFIED or DELETED."""

    at: float
    event: str
    item: dict[str, Any]

    @property
    def key(self) -> str:
        """`Kind/name`."""
        return f"{self.item['kind']}/{self.item['metadata']['name']}"


class Observer:
    """Collects what happens; times are of `time.perf_counter`."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.written: list[Written] = []
        self._news = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession
        self._url = ""

    def forget(self) -> None:
        """Lets go of what was seen."""
        self.said.clear()
        self.written.clear()

    async def see(self, found: Callable[[], T | None], what: str, within: float = 60.0) -> T:
        """The first truthy value, asked whenever something happened."""
        try:
            async with asyncio.timeout(within), self._news:
                while not (value := found()):
                    await self._news.wait()
                return value
        except TimeoutError:
            raise AssertionError(f"not within {within:g} s: {what}") from None

    async def quiet(self, seconds: float = 0.4) -> None:
        """Returns when nothing was seen for so long."""
        while True:
            last = max([each.at for each in self.said[-1:]] + [each.at for each in self.written[-1:]], default=0.0)
            left = last + seconds - time.perf_counter()
            if left <= 0:
                return
            await asyncio.sleep(left)

    def object(self, key: str, since: float, holds: Callable[[Written], bool] = lambda _: True) -> Written | None:
        """The first event of `Kind/name` since then for which something holds."""
        return next((each for each in self.written if each.at >= since and each.key == key and holds(each)), None)

    async def tap(self, channel: aio_pika.abc.AbstractChannel, partitions: int) -> None:
        """Begins to listen to every arrow."""
        names = Names(Topology(partitions), ())
        queue = await channel.declare_queue(exclusive=True)
        for stage in ARROWS:
            for partition in range(partitions):
                await queue.bind(names.arrow(stage), str(partition))
        await queue.consume(self._heard, no_ack=True)

    async def _heard(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        at = time.perf_counter()
        statement = decode(message.body)
        assert isinstance(statement, Statement)
        self.said.append(Said(at, statement, message.body))
        await self._tell()

    def watch(self, session: aiohttp.ClientSession, url: str, paths: Iterable[str]) -> None:
        """Begins to watch collections."""
        self._session, self._url = session, url
        self._tasks += [asyncio.create_task(self._follow(session, url + path)) for path in paths]

    async def patch(self, path: str, body: dict[str, Any]) -> None:
        """A merge patch, on a connection that is open already."""
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._session.patch(self._url + path, data=json.dumps(body), headers=headers) as answer:
            answer.raise_for_status()
            await answer.read()

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> None:
        position = ""
        while True:
            query = {"watch": "true", "resourceVersion": position, "timeoutSeconds": "3000"}
            if not position:
                async with session.get(url) as listed:
                    query["resourceVersion"] = str((await listed.json())["metadata"]["resourceVersion"])
            async with session.get(url, params=query) as answer:
                async for line in answer.content:
                    at = time.perf_counter()
                    event = json.loads(line)
                    assert event["type"] != "ERROR", event
                    position = event["object"]["metadata"]["resourceVersion"]
                    self.written.append(Written(at, event["type"], event["object"]))
                    await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def close(self) -> None:
        """Ends the watches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def observing(
    region: Region, partitions: int, kinds: Iterable[str] = ("ConfigMap", "VCenterTemplate")
) -> AsyncIterator[Observer]:
    """Watches the records and some kinds of a region, and taps its bus, whose topology is declared by now."""
    configuration: Any = client.Configuration()
    await config.load_kube_config(str(region.kubernetes.kubeconfig), client_configuration=configuration)
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    context.load_cert_chain(configuration.cert_file, configuration.key_file)
    observer = Observer()
    connection = await aio_pika.connect(region.amqp_url)
    connector = aiohttp.TCPConnector(ssl=context)
    no_limit = aiohttp.ClientTimeout(total=None)
    async with connection, aiohttp.ClientSession(connector=connector, timeout=no_limit, read_bufsize=2**21) as session:
        await observer.tap(await connection.channel(), partitions)
        paths = [KINDS[kind].format(namespace=region.namespace) for kind in kinds]
        records = f"/apis/{GROUP}/v1/namespaces/{region.namespace}/vcenters"
        observer.watch(session, configuration.host, (*paths, records))
        try:
            yield observer
        finally:
            await observer.close()
