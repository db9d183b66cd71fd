"""The discovery: one replica of it owns the zone, watches it, and states each vCenter present or gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from vcenter_operator.common.bus.port import Bus, Ownership
from vcenter_operator.common.errors import PermanentError
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement
from vcenter_operator.common.record import Store
from vcenter_operator.discovery.ports import Zone
from vcenter_operator.discovery.settings import DiscoverySettings
from vcenter_operator.discovery.watching import ZoneWatch


class DiscoveryService:
    """A replica of the stage. It asks nobody upstream: the zone is the source."""

    def __init__(self, *, bus: Bus, store: Store, zone: Zone, domain: str, settings: DiscoverySettings) -> None:
        self._bus = bus
        self._store = store
        self._zone = zone
        self._domain = domain
        self._settings = settings
        self._tasks: asyncio.TaskGroup | None = None
        self._watch: ZoneWatch | None = None
        self._watching: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            await self._bus.serve(Stage.DISCOVERY, self)

    async def take(self, ownership: Ownership) -> None:
        """The zone is ours: it is read, and all that is known of its vCenters is stated in the new epoch."""
        assert self._tasks is not None
        await self._stop()
        self._watch = ZoneWatch(
            zone=self._zone,
            domain=self._domain,
            bus=self._bus,
            store=self._store,
            ownership=ownership,
            settings=self._settings,
        )
        self._watching = self._tasks.create_task(self._watch.run(), name="zone")

    async def release(self, ownership: Ownership) -> None:  # noqa: ARG002 - there is one partition
        """The zone is another's: whoever takes it states all anew."""
        await self._stop()

    async def handle(self, statement: Statement, ownership: Ownership) -> None:  # noqa: ARG002
        """Nobody states anything to the discovery."""
        raise PermanentError(f"a {type(statement).__name__} is nothing for the discovery")

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:  # noqa: ARG002
        """Says again what is known; nothing while no complete zone was seen, since all is stated then anyway."""
        if self._watch is not None:
            self._watch.say_again(request.host)

    async def _stop(self) -> None:
        task, self._watching, self._watch = self._watching, None, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
