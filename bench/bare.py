"""The chain without us: one property read, three confirmed publishes and deliveries, one server-side apply.

Nothing but the libraries that the operator stands on, on the same servers, with messages of the same size and queues of
the same kind. What the operator needs beside it is what it adds.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import pyVmomi
from aio_pika.abc import AbstractChannel, AbstractQueue
from kubernetes_asyncio import client, config

from tests.e2e.region import Region
from vcenter_operator.collector.adapters.connection import vim, vmodl

_library: Any = pyVmomi
STEPS = ("property read", "publish 1", "publish 2", "publish 3", "server-side apply")


class Session:
    """A session of one's own with a vCenter, as blocking calls: reads, waits, and changes the inventory."""

    def __init__(self, vcenter: Any) -> None:
        context = ssl.create_default_context(cafile=str(vcenter.ca))
        context.check_hostname = False  # the address is connected to, and the certificate names the FQDN alone
        stub = _library.SoapStubAdapter(
            host=vcenter.address, port=vcenter.port, version="vim.version.version9", sslContext=context
        )
        self.content: Any = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        self.content.sessionManager.Login(userName=vcenter.username, password=vcenter.password)
        self._stub = stub
        self._view = self.content.viewManager.CreateContainerView(
            container=self.content.rootFolder, type=[vim.ClusterComputeResource], recursive=True
        )
        self._collector: Any = self.content.propertyCollector
        self._version = ""
        self._watching = False

    def read(self) -> Any:
        """One property read: every cluster with its datastores and networks, and their names."""
        options = vmodl.query.PropertyCollector.RetrieveOptions()
        return self._collector.RetrievePropertiesEx(specSet=[self._everything()], options=options)

    def watch(self) -> None:
        """Begins to watch for changes, with a property collector of its own."""
        self._collector = self.content.propertyCollector.CreatePropertyCollector()
        self._collector.CreateFilter(spec=self._everything(), partialUpdates=True)
        self.wait(0)

    def wait(self, seconds: int) -> bool:
        """Whether a change is reported within that time."""
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=seconds)
        update = self._collector.WaitForUpdatesEx(version=self._version, options=options)
        if update is None:
            return False
        self._version = update.version
        return True

    def cluster(self, name: str) -> Any:
        """A cluster by its name."""
        return next(found for found in self._view.view if found.name == name)

    def close(self) -> None:
        """Logs out."""
        self.content.sessionManager.Logout()
        self._stub.DropConnections()

    def _everything(self) -> Any:
        collector = vmodl.query.PropertyCollector

        def walk(of: Any, path: str, *further: Any) -> Any:
            return collector.TraversalSpec(name=path, type=of, path=path, skip=False, selectSet=list(further))

        members = [walk(vim.ClusterComputeResource, path) for path in ("datastore", "network")]
        clusters = walk(vim.view.ContainerView, "view", *members)
        properties = {
            vim.ClusterComputeResource: ["name", "parent", "datastore", "network"],
            vim.Datastore: ["name"],
            vim.Network: ["name"],
        }
        return collector.FilterSpec(
            objectSet=[collector.ObjectSpec(obj=self._view, skip=True, selectSet=[clusters])],
            propSet=[collector.PropertySpec(type=of, all=False, pathSet=paths) for of, paths in properties.items()],
        )


@dataclass
class Sample:
    """Seconds of each step."""

    steps: dict[str, float]

    @property
    def total(self) -> float:
        """Of the whole chain."""
        return sum(self.steps.values())


class Chain:
    """Everything connected beforehand, as it is in the operator."""

    def __init__(
        self,
        vcenter: Session,
        channel: AbstractChannel,
        queues: Sequence[AbstractQueue],
        api: Any,
        namespace: str,
    ) -> None:
        self._vcenter = vcenter
        self._channel = channel
        self._queues = queues
        self._api = api
        self._namespace = namespace
        self._arrived: asyncio.Queue[None] = asyncio.Queue()
        self._count = 0

    async def _arrive(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self._arrived.put_nowait(None)
        await message.ack()

    async def listen(self) -> None:
        """Begins to consume."""
        for queue in self._queues:
            await queue.consume(self._arrive)

    async def run(self, bodies: Sequence[bytes], manifest: dict[str, Any]) -> Sample:
        """Once. `bodies` are three messages as the operator sent them, `manifest` an object that it applied."""
        self._count += 1
        steps = {}
        began = time.perf_counter()
        await asyncio.to_thread(self._vcenter.read)
        steps[STEPS[0]] = time.perf_counter() - began
        for step, queue, body in zip(STEPS[1:4], self._queues, bodies, strict=True):
            began = time.perf_counter()
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await self._channel.default_exchange.publish(message, queue.name)
            await self._arrived.get()
            steps[step] = time.perf_counter() - began
        began = time.perf_counter()
        metadata = {"name": "bare-chain", "namespace": self._namespace}
        applied = {**manifest, "metadata": metadata, "data": {**manifest["data"], "count": str(self._count)}}
        await self._api.patch_namespaced_config_map(
            "bare-chain",
            self._namespace,
            applied,
            field_manager="bare",
            force=True,
            _content_type="application/apply-patch+yaml",
        )
        steps[STEPS[4]] = time.perf_counter() - began
        return Sample(steps)


@asynccontextmanager
async def connected(region: Region, vcenter: Any) -> AsyncIterator[Chain]:
    """The chain against a region's servers."""
    session = await asyncio.to_thread(Session, vcenter)
    configuration = client.Configuration()
    await config.load_kube_config(str(region.kubernetes.kubeconfig), client_configuration=configuration)
    connection = await aio_pika.connect(region.amqp_url)
    async with connection, client.ApiClient(configuration) as api:
        channel = await connection.channel(publisher_confirms=True)
        arguments: Any = {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": 100}
        queues = [
            await channel.declare_queue(f"bare.{number}", durable=True, arguments=arguments) for number in range(3)
        ]
        chain = Chain(session, channel, queues, client.CoreV1Api(api), region.namespace)
        await chain.listen()
        try:
            yield chain
        finally:
            await asyncio.to_thread(session.close)
