"""The region beside the bus: its record, Secret, templates and objects.

It is opened for a dry run, on a bus that leads nowhere: whatever is done with it, nothing is written or published.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vcenter_operator.command import pipeline
from vcenter_operator.command.messages.nowhere import Nowhere
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import ConfigurationError, TransientError
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.process import IN_PROCESS
from vcenter_operator.common.settings import PREFIX, Settings


@dataclass(frozen=True)
class Access:
    """How servers are reached. `timeout`: seconds that a server has for its first answer."""

    settings: Settings
    files: pipeline.Files | None = None
    """In place of Kubernetes."""
    timeout: float = 30.0

    @property
    def topology(self) -> Topology:
        """Of the stages, which have to have the same settings."""
        return Topology(self.settings.partitions, self.settings.generation)

    @property
    def names(self) -> Names:
        """Their queues."""
        return Names(self.topology, RetryDelays().steps)

    @asynccontextmanager
    async def region(self) -> AsyncIterator[Platform]:
        """The region. Raises ConfigurationError, and TransientError where a server is away."""
        try:
            async with asyncio.timeout(self.timeout) as connecting:
                async with pipeline.open_platform(
                    self.settings, self.files, dry_run=True, bus=Nowhere(self.topology)
                ) as platform:
                    connecting.reschedule(None)
                    yield platform
        except TimeoutError:
            raise TransientError(f"the API server was not to be had within {self.timeout:g} s") from None

    async def endpoint(self, platform: Platform | None = None) -> Endpoint:
        """The broker of the settings where they name one, else of the Secret. Raises as `region` does."""
        if "bus" in self.settings.model_fields_set:
            return self._endpoint(self.settings.bus)
        if platform is None:
            async with self.region() as opened:
                return await self.endpoint(opened)
        return self._endpoint((await platform.configuration.current()).values.get("bus_url") or self.settings.bus)

    def _endpoint(self, url: str) -> Endpoint:
        if url == IN_PROCESS:
            raise ConfigurationError(
                f"{PREFIX}BUS: in one process there is no archive of messages and nothing outlives it: name a RabbitMQ"
            )
        settings = self.settings
        return Endpoint.parse(
            url, settings.heartbeat, settings.bus_ca, settings.bus_certificate, settings.bus_certificate_key
        )
