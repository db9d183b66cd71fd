"""The bus port on RabbitMQ."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from vcenter_operator.common import metrics
from vcenter_operator.common.bus.dispatch import CLEAR_EVERY
from vcenter_operator.common.bus.port import Consumer, Epochs, Parked, Topology
from vcenter_operator.common.bus.pulse import PROBE_EVERY, Pulses
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint, Link, first_contact, keep_connected
from vcenter_operator.common.bus.rabbitmq.consuming import PREFETCH
from vcenter_operator.common.bus.rabbitmq.ownership import Owner
from vcenter_operator.common.bus.rabbitmq.parking import Parking
from vcenter_operator.common.bus.rabbitmq.publishing import Publisher, declare_all
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement


class RabbitMQBus:
    """One replica's view of the broker: a connection for publishing, and one for each stage that it serves."""

    def __init__(
        self,
        endpoint: Endpoint,
        names: Names,
        epochs: Epochs,
        *,
        delays: RetryDelays,
        stop_within: float,
        prefetch: int,
        probe_every: float,
        clear_every: float,
    ) -> None:
        """Use `connect`."""
        self.topology = names.topology
        self._endpoint = endpoint
        self._names = names
        self._epochs = epochs
        self._delays = delays
        self._stop_within = stop_within
        self._prefetch = prefetch
        self._clear_every = clear_every
        self._pulses = Pulses(probe_every)
        self._replica = f"{socket.gethostname()}/{os.getpid()}"
        self._publisher = Publisher(endpoint, names, f"{self._replica} publishing")
        self._publishing: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(
        cls,
        url: str,
        topology: Topology,
        epochs: Epochs,
        *,
        heartbeat: int = 10,
        stop_within: float = 5.0,
        delays: RetryDelays | None = None,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        within: float = 30.0,
        prefetch: int = PREFETCH,
        probe_every: float = PROBE_EVERY,
        clear_every: float = CLEAR_EVERY,
    ) -> RabbitMQBus:
        """A bus on the broker at `url`, with its topology declared.

        Args:
            url: amqp or amqps; amqps is verified against `ca` (PEM), or the system's authorities.
            topology: partitions and generation: the same in every process.
            epochs: numbers the ownerships.
            heartbeat: seconds; a replica that is silent for longer loses its partitions within twice the time.
            stop_within: seconds for finishing what is under way when a partition is given up.
            delays: of retries: the same in every process, since each step is a queue.
            ca: authorities to trust instead of the system's.
            certificate: the client's own, for brokers that want one; with a URL that names no user it is the login.
            key: the certificate's private key, where it is not in the same file.
            within: seconds to wait for a broker that is away.
            prefetch: statements of a partition in memory at most.
            probe_every: seconds without an arrival after which a partition is probed.
            clear_every: seconds between two looks for parked statements that are superseded by now.

        Raises:
            BusUnavailable: the broker was away for `within` seconds.
            ConfigurationError: URL, user, password, certificate, or a clash with queues that exist.
        """
        delays = delays or RetryDelays()
        endpoint = Endpoint.parse(url, heartbeat, ca, certificate, key)
        names = Names(topology, delays.steps)
        bus = cls(
            endpoint,
            names,
            epochs,
            delays=delays,
            stop_within=stop_within,
            prefetch=prefetch,
            probe_every=probe_every,
            clear_every=clear_every,
        )
        await first_contact(endpoint, f"{bus._replica} declaring", bus._declare, within)
        bus._publishing = asyncio.create_task(bus._publisher.run(), name="publishing")
        try:
            async with asyncio.timeout(within):
                await bus._publisher.ready.wait()
        except TimeoutError:
            await bus.close()
            raise BusUnavailable(f"{endpoint}: not connected within {within:g} s") from None
        except BaseException:
            await bus.close()
            raise
        return bus

    async def publish(self, statement: Statement) -> None:
        """See `Bus.publish`. A statement that was not confirmed in time may arrive all the same."""
        self._check_open()
        with metrics.publishing(statement):
            await self._publisher.statement(statement)

    async def publish_raw(self, stage: Stage, partition: int, body: bytes) -> None:
        """Bytes as they are, for putting back what was parked. Raises BusUnavailable."""
        self._check_open()
        await self._publisher.body(stage, partition, body)

    async def request(self, request: ResyncRequest) -> None:
        """See `Bus.request`. Raises BusUnavailable."""
        self._check_open()
        await self._publisher.request(request)

    async def serve(self, stage: Stage, consumer: Consumer) -> None:
        """See `Bus.serve`."""
        self._check_open()
        current: Link | None = None

        async def own(link: Link) -> None:
            nonlocal current
            current = link
            await Owner(
                link,
                stage,
                consumer,
                names=self._names,
                publisher=self._publisher,
                epochs=self._epochs,
                delays=self._delays,
                grace=self._stop_within,
                valid_for=self._endpoint.valid_for,
                prefetch=self._prefetch,
                pulses=self._pulses,
                clear_every=self._clear_every,
            ).run()

        serving = asyncio.create_task(
            keep_connected(self._endpoint, f"{self._replica} {stage}", own), name=f"serving {stage}"
        )
        self._serving.add(serving)
        try:
            await asyncio.wait({serving})
            if not serving.cancelled():
                serving.result()
        finally:
            serving.cancel()
            # A broker that does not answer is asked one thing after the other, but not for longer than there is time.
            await asyncio.wait({serving}, timeout=self._stop_within)
            if current is not None and not serving.done():
                current.abort()
            await asyncio.gather(serving, return_exceptions=True)
            self._serving.discard(serving)

    async def parked(self, stage: Stage) -> list[Parked]:
        """See `Bus.parked`. Raises BusUnavailable, also where somebody else is reading them."""
        self._check_open()
        return await Parking(self._endpoint, self._names).all(stage)

    @property
    def connected(self) -> bool:
        """See `Bus.connected`."""
        return self._publisher.ready.is_set()

    def stopped(self) -> list[str]:
        """See `Bus.stopped`."""
        return self._pulses.stopped()

    async def close(self) -> None:
        """See `Bus.close`."""
        self._closed.set()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise BusUnavailable("the bus is closed")

    async def _declare(self, link: Link) -> None:
        await declare_all(link, self._names)
