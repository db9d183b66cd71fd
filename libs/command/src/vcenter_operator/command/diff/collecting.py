"""The pipeline in its own process, dry, until every vCenter is planned, or it is clear that one will not be.

Everything is asked afresh: the zone is transferred, every vCenter is logged on to and read, templates are rendered.
That takes as long as it takes, and is right; what the running operator has in memory cannot be asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vcenter_operator.command import pipeline
from vcenter_operator.command.diff.live import live_of, read_all
from vcenter_operator.command.diff.overheard import OverheardBus
from vcenter_operator.command.diff.planned import Gathered
from vcenter_operator.common import process
from vcenter_operator.common.errors import ConfigurationError, OperatorError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import DnsChange, ManifestDelta, Stage, Statement
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.process import IN_PROCESS
from vcenter_operator.common.settings import Settings
from vcenter_operator.discovery.service import DiscoveryService

_NAMED = 3
_LOOK_EVERY = 0.1
_QUIET = 10.0
"""Seconds without anything new after which a vCenter that is said not to answer is waited for no longer."""
_QUIET_ON_FILES = 1.0


@dataclass(frozen=True)
class Scope:
    """What is asked for: one vCenter (its FQDN, or first label), one template (`namespace/name`, or its name)."""

    vcenter: str | None = None
    template: str | None = None

    def has_vcenter(self, host: str) -> bool:
        """Whether this vCenter is meant."""
        wanted = (self.vcenter or "").lower().rstrip(".")
        return self.vcenter is None or wanted in (host, host.partition(".")[0])

    def has_template(self, template: str | None) -> bool:
        """Whether what comes of this template is meant; None: it is not known of which."""
        return self.template is None or (template or "") == self.template or _name(template) == self.template


@dataclass(frozen=True)
class Collected:
    """What came of it. `live`: what would be changed or deleted, as it is now; None: it is gone by now."""

    gathered: Gathered
    hosts: list[str]
    unplanned: dict[str, str]
    """vCenters without a plan, and why."""
    live: dict[ObjectId, dict[str, Any] | None]


async def collect(
    settings: Settings, files: pipeline.Files | None, scope: Scope, *, within: float, tell: Callable[[str], None]
) -> Collected:
    """Runs the pipeline, for `within` seconds at most. `tell` hears how far it is.

    Raises:
        ConfigurationError: a setting, the Secret, a file; or there is no such vCenter or template.
        TransientError: a server that nothing can be said without did not answer in time.
    """
    gathered = Gathered()

    def passes(statement: Statement) -> bool:
        if isinstance(statement, ManifestDelta):
            gathered.hear(statement)
        return not isinstance(statement, DnsChange) or scope.has_vcenter(statement.host)

    deadline = time.monotonic() + within
    tell("connecting")
    try:
        async with asyncio.timeout(within) as connecting:
            async with pipeline.open_platform(settings, files, dry_run=True) as opened:
                connecting.reschedule(None)
                platform = replace(opened, bus=OverheardBus(opened.bus, passes))
                async with pipeline.services(
                    platform, list(Stage), on_plan=gathered.on_plan, on_answer=gathered.on_answer, bus=IN_PROCESS
                ) as services:
                    return await _beside(
                        process.serve(*services), _Collecting(platform, services, gathered, scope, deadline, tell).run()
                    )
    except TimeoutError:
        raise TransientError(f"the API server was not to be had within {within:g} s") from None


async def _beside(serving: Coroutine[Any, Any, None], work: Coroutine[Any, Any, Collected]) -> Collected:
    """The work's result, while the stages run; their error where they end before."""
    stages, working = asyncio.create_task(serving, name="stages"), asyncio.create_task(work, name="collecting")
    try:
        await asyncio.wait({stages, working}, return_when=asyncio.FIRST_COMPLETED)
        if stages.done():
            stages.result()
        return await working
    finally:
        for task in (stages, working):
            task.cancel()
        await asyncio.wait({stages, working})


class _Collecting:
    """Waiting for the plans."""

    def __init__(
        self,
        platform: Platform,
        services: Sequence[process.Service],
        gathered: Gathered,
        scope: Scope,
        deadline: float,
        tell: Callable[[str], None],
    ) -> None:
        self._platform = platform
        self._discovery = next(service for service in services if isinstance(service, DiscoveryService))
        self._gathered = gathered
        self._scope = scope
        self._deadline = deadline
        self._tell = tell
        self._quiet = _QUIET_ON_FILES if platform.kubernetes is None else _QUIET

    async def run(self) -> Collected:
        """See `collect`."""
        hosts = await self._hosts()
        unplanned = await self._plans(hosts)
        gathered, scope = self._gathered, self._scope
        if hosts and not unplanned and not any(map(scope.has_template, gathered.templates)):
            known = ", ".join(sorted(gathered.templates)) or "none"
            raise ConfigurationError(f"template {scope.template}: there is no such VCenterTemplate; there are: {known}")
        live = await read_all(live_of(self._platform), gathered.changing(scope.has_template))
        return Collected(gathered, hosts, unplanned, live)

    async def _hosts(self) -> list[str]:
        """Every vCenter that is meant, of those that the zone has, and those that it had."""
        self._tell("reading the zone")
        while (stated := self._discovery.vcenters) is None:
            if time.monotonic() >= self._deadline:
                raise TransientError("the DNS zone was not read in time")
            await asyncio.sleep(_LOOK_EVERY)
        hosts = sorted(filter(self._scope.has_vcenter, stated))
        if self._scope.vcenter is not None and not hosts:
            known = ", ".join(sorted(stated)) or "none"
            raise ConfigurationError(f"vCenter {self._scope.vcenter}: the zone has no such vCenter; it has: {known}")
        return hosts

    async def _plans(self, hosts: list[str]) -> dict[str, str]:
        """Waits for all of them. Returns those that there will be no plan for, and why."""
        heard_at, heard = time.monotonic(), -1
        while missing := [host for host in hosts if not self._gathered.settled(host)]:
            now, said = time.monotonic(), self._gathered.heard
            if said != heard:
                heard_at, heard = now, said
            if now - heard_at >= self._quiet or now >= self._deadline:
                reasons = {host: await self._trouble(host) for host in missing}
                if now >= self._deadline:
                    return {host: reason or "not planned in time" for host, reason in reasons.items()}
                if all(reasons.values()):
                    return {host: str(reason) for host, reason in reasons.items()}
                heard_at = now
            done = len(hosts) - len(missing)
            self._tell(f"{done} of {len(hosts)} vCenters are planned; waiting for {', '.join(missing[:_NAMED])}")
            await asyncio.sleep(_LOOK_EVERY)
        return {}

    async def _trouble(self, host: str) -> str | None:
        """Why a vCenter is not collected, as far as its record says so."""
        try:
            record = await self._platform.store.get(host)
        except OperatorError as error:
            return str(error)
        conditions = record.collected.conditions if record is not None and record.collected is not None else ()
        connected = next((one for one in conditions if one.type == "Connected" and one.status != "True"), None)
        return None if connected is None else f"{connected.reason}: {connected.message}"


def _name(template: str | None) -> str:
    return (template or "").rpartition("/")[2]
