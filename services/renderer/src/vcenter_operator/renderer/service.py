"""The stage: inventories in, manifests out."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable

import structlog

from vcenter_operator.common.bus.port import Bus, Ownership
from vcenter_operator.common.errors import ConfigurationError, OperatorError, OwnershipLost, TransientError
from vcenter_operator.common.messages import Inventory, ManifestDelta, ResyncRequest, Stage, Statement, Trace
from vcenter_operator.common.record.port import Store
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.tracing import Observation
from vcenter_operator.renderer import metrics
from vcenter_operator.renderer.core.delta import Merged
from vcenter_operator.renderer.core.templates import Template
from vcenter_operator.renderer.inputs import WatchedInputs
from vcenter_operator.renderer.reporting import Reporting
from vcenter_operator.renderer.rollingout import RollingOut
from vcenter_operator.renderer.vcenter import Sealed, Setting, VCenter

log = logger(__name__)

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_TRIES_TO_TAKE = 4


class RendererService:
    """Keeps what should exist for each vCenter of the owned partitions, and states it when it changes."""

    def __init__(
        self,
        bus: Bus,
        inputs: WatchedInputs,
        setting: Setting,
        reporting: Reporting,
        rolling_out: RollingOut,
        store: Store,
        *,
        repeat_every: float = 300.0,
    ) -> None:
        self._bus = bus
        self.inputs = inputs
        self._setting = setting
        self._reporting = reporting
        self._rolling_out = rolling_out
        self._store = store
        self._repeat_every = repeat_every
        self._vcenters: dict[str, VCenter] = {}
        self._configuration_problem: str | None = None

    @property
    def vcenters(self) -> dict[str, VCenter]:
        """Those of the partitions that are owned, by FQDN."""
        return dict(self._vcenters)

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            with metrics.shown(self._failing, self._templates, self._hindered):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._bus.serve(Stage.RENDERER, self))
                    group.create_task(self.inputs.follow())
                    group.create_task(self._follow_inputs())
                    group.create_task(self._repeat())
                    group.create_task(self._rolling_out.run())
                    group.create_task(self._reporting.run(lambda: self._vcenters, lambda: self._configuration_problem))
        finally:
            await self._stop(list(self._vcenters.values()))

    async def take(self, ownership: Ownership) -> None:
        """See `Consumer.take`. Nothing is stated that is older than what an earlier owner knew.

        Raises TransientError where templates, cells or Secret cannot be read, or the bus is away.
        """
        delay = _FIRST_DELAY
        for attempt in range(1, _TRIES_TO_TAKE + 1):
            try:
                await self.inputs.look_afresh()
                request = ResyncRequest(stage=Stage.COLLECTOR, partition=ownership.partition)
                await self._bus.request(request)
            except (TransientError, ConfigurationError) as error:
                if attempt == _TRIES_TO_TAKE:
                    raise TransientError(str(error)) from error
                log.warning("partition cannot be taken yet", partition=ownership.partition, error=str(error))
                await asyncio.sleep(delay)
                delay *= 2
            else:
                self._reporting.take(ownership)
                self._rolling_out.take(ownership)
                return

    async def release(self, ownership: Ownership) -> None:
        """See `Consumer.release`."""
        self._reporting.release(ownership)
        self._rolling_out.release(ownership)
        gone = [vcenter for vcenter in self._vcenters.values() if vcenter.ownership is ownership]
        for vcenter in gone:
            del self._vcenters[vcenter.host]
        await self._stop(gone)

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        """See `Consumer.handle`. Returns when what follows is stated, or when it cannot be said yet."""
        assert isinstance(statement, Inventory)
        vcenter = self._vcenters.get(statement.host)
        if vcenter is None or vcenter.ownership is not ownership:
            await self._recall(statement.host)
            vcenter = self._vcenters[statement.host] = VCenter(ownership, statement)
        elif statement.older_than(vcenter.inventory):
            return
        vcenter.inventory = statement
        await self._refresh(vcenter, statement.trace)

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        """See `Consumer.resync`: the index of each vCenter asked for, and the manifests that are asked for by id."""
        for vcenter in list(self._vcenters.values()):
            if vcenter.ownership is ownership and request.host in (None, vcenter.host) and vcenter.stated is not None:
                delta = vcenter.with_manifests(vcenter.stated, request.objects)
                await self._publish(vcenter, delta.model_copy(update={"trace": request.trace.caused()}))

    async def _recall(self, host: str) -> None:
        """What a vCenter was last known to be rendered from is no less to be heard of because this process is new.

        Raises TransientError.
        """
        if self.inputs.recalls:
            record = await self._store.get(host)
            if record is not None and record.applied is not None:
                self.inputs.recall(record.applied.settled_templates or {})

    async def _refresh(self, vcenter: VCenter, cause: Trace | None, since: float | None = None) -> None:
        """States what follows from the newest inventory and inputs, if that is news. No `cause`: the inputs changed

        at `since` (seconds since the epoch).

        Raises TransientError, OwnershipLost.
        """
        async with vcenter.lock:
            while (inputs := self.inputs.current) is not None:
                inventory = vcenter.inventory
                observation, rendered = Observation(Stage.RENDERER, since), vcenter.rendered
                try:
                    outcome = await vcenter.state(inputs, self._setting)
                except ConfigurationError as error:
                    self._report_configuration(error)
                    self._reporting.changed()
                    return
                self._configuration_problem = None
                if outcome is not None:
                    delta, merged = outcome
                    self._report(vcenter, merged)
                    self._reporting.changed()
                    if vcenter.is_news(delta):
                        counts = {
                            "templates": len(delta.templates),
                            "rendered": vcenter.rendered - rendered,
                            "objects": len(delta.index),
                            "unknown": len(delta.unknown),
                        }
                        with observation.stated("render", vcenter.host, cause, **counts) as trace:
                            news = vcenter.with_news(delta).model_copy(update={"trace": trace})
                            await self._publish(vcenter, news)
                        vcenter.was_stated(news)
                if self.inputs.current is inputs and vcenter.inventory is inventory:
                    return

    async def _publish(self, vcenter: VCenter, delta: ManifestDelta) -> None:
        vcenter.ownership.verify()
        await self._bus.publish(delta)
        log.debug("stated", vcenter=vcenter.host, objects=len(delta.index), manifests=len(delta.manifests))

    async def _follow_inputs(self) -> None:
        while True:
            await self.inputs.changed()
            self._reporting.changed()
            for vcenter in list(self._vcenters.values()):
                if self._vcenters.get(vcenter.host) is vcenter:
                    self._schedule(vcenter)
                await asyncio.sleep(0)  # each takes milliseconds before it waits for anything, and there are hundreds

    def _schedule(self, vcenter: VCenter) -> None:
        """Refreshes in the background; a refresh under way looks at the inputs again before it ends."""
        if vcenter.refreshing is None or vcenter.refreshing.done():
            trying = self._keep_trying(vcenter, time.time())
            vcenter.refreshing = asyncio.create_task(trying, name=f"refresh {vcenter.host}")

    async def _keep_trying(self, vcenter: VCenter, since: float) -> None:
        delay = _FIRST_DELAY
        with structlog.contextvars.bound_contextvars(vcenter=vcenter.host):
            while True:
                try:
                    await self._refresh(vcenter, None, since)
                except OwnershipLost:
                    return
                except TransientError as error:
                    log.info("will try again", error=str(error), delay=delay)
                except Exception:
                    log.exception("unexpected error", delay=delay)
                else:
                    return
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                delay = min(delay * 2, _LONGEST_DELAY)

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._repeat_every * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
            self._reporting.changed()
            for vcenter in list(self._vcenters.values()):
                if vcenter.inventory.present:
                    vcenter.recorded = None  # somebody may have deleted the record
                if vcenter.tries_again:
                    vcenter.forget_passing()
                    self._schedule(vcenter)
                if vcenter.stated is None:
                    continue
                try:
                    await self._publish(vcenter, vcenter.stated.repeated())
                except OperatorError as error:
                    log.info("not repeated", vcenter=vcenter.host, error=str(error))

    def _report(self, vcenter: VCenter, merged: Merged[Sealed]) -> None:
        """Logs failures and warnings when they are new, and when all is well again."""
        failures = {f"{each.template} {each.unit}: {each.reason}": each for each in merged.unknown if each.template}
        for text, failure in failures.items():
            if text not in vcenter.told:
                unit = failure.unit._asdict() if failure.unit is not None else {}
                log.error(
                    "template failed", vcenter=vcenter.host, template=failure.template, error=failure.reason, **unit
                )
        warnings = [remark.text for remark in merged.remarks]
        for warning in warnings:
            if warning not in vcenter.told:
                log.warning("template", vcenter=vcenter.host, warning=warning)
        told = frozenset((*failures, *warnings))
        if vcenter.told and not told:
            log.info("all templates render again", vcenter=vcenter.host)
        vcenter.told = told

    def _failing(self) -> dict[str, int]:
        """By vCenter: how many templates and units fail."""
        return {
            vcenter.host: len(vcenter.account.unknown)
            for vcenter in self._vcenters.values()
            if vcenter.inventory.present and vcenter.account is not None
        }

    def _templates(self) -> Iterable[Template]:
        inputs = self.inputs.current
        return inputs.templates.values() if inputs is not None else ()

    def _hindered(self) -> bool:
        return self._configuration_problem is not None or self.inputs.hindrance is not None

    def _report_configuration(self, error: ConfigurationError) -> None:
        if str(error) != self._configuration_problem:
            log.error("nothing is rendered until the Secret is mended", error=str(error))
        self._configuration_problem = str(error)

    async def _stop(self, vcenters: list[VCenter]) -> None:
        tasks = [vcenter.refreshing for vcenter in vcenters if vcenter.refreshing is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
