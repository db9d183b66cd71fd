"""The discovery: one replica of it owns the zone, watches it, and states each vCenter present or gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from vcenter_operator.common.bus.port import Bus, Ownership
from vcenter_operator.common.errors import PermanentError, TransientError
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement
from vcenter_operator.common.record import Store
from vcenter_operator.common.telemetry import logger
from vcenter_operator.discovery.ports import Notifications, Zone
from vcenter_operator.discovery.settings import DiscoverySettings
from vcenter_operator.discovery.watching import ZoneWatch

log = logger(__name__)

_APART = 0.25
"""Seconds between two looks that are taken for a NOTIFY's sake, however many come."""


class DiscoveryService:
    """A replica of the stage. It asks nobody upstream: the zone is the source."""

    def __init__(
        self,
        *,
        bus: Bus,
        store: Store,
        zone: Zone,
        domain: str,
        settings: DiscoverySettings,
        notifications: Notifications | None = None,
    ) -> None:
        self._bus = bus
        self._store = store
        self._zone = zone
        self._domain = domain
        self._settings = settings
        self._notifications = notifications
        self._ownership: Ownership | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._watch: ZoneWatch | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def vcenters(self) -> dict[str, bool] | None:
        """Every vCenter of which anything is stated, and whether the zone has it; None: no zone was believed yet."""
        return None if self._watch is None else self._watch.vcenters

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            if self._notifications is not None:
                self._tasks.create_task(self._pass_on(self._notifications), name="notifications")
            await self._bus.serve(Stage.DISCOVERY, self)

    async def take(self, ownership: Ownership) -> None:
        """The zone is ours: it is read, and all that is known of its vCenters is stated in the new epoch."""
        assert self._tasks is not None
        await self._stop()
        self._ownership = ownership
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
        """Says again what is known; nothing while no complete zone was seen, since all is stated then anyway.

        A request for the zone itself is a replica's that stands by and heard a NOTIFY: the zone is looked at.
        """
        if self._watch is None:
            return
        if request.host == self._domain:
            self._watch.look()
        else:
            self._watch.say_again(request.host)

    async def _pass_on(self, notifications: Notifications) -> None:
        """A NOTIFY to whoever owns the zone: a Service in front of the replicas hands it to any of them."""
        while True:
            await notifications.heard()
            if self._watch is not None and self._ownership is not None and self._ownership.held:
                self._watch.look()
            else:
                try:
                    await self._bus.request(ResyncRequest(stage=Stage.DISCOVERY, partition=0, host=self._domain))
                except TransientError as error:
                    log.info("a NOTIFY could not be passed on: the next look finds the change", error=str(error))
            await asyncio.sleep(_APART)

    async def _stop(self) -> None:
        task, self._watching, self._watch, self._ownership = self._watching, None, None, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
