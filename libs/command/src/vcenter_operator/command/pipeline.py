"""All four stages in one process, or one of them, on Kubernetes or on files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcenter_operator.applier import wiring as applier
from vcenter_operator.applier.ports import OnAnswer, OnPlan
from vcenter_operator.applier.settings import ApplierSettings
from vcenter_operator.collector import wiring as collector
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.common import metrics, process, tracing
from vcenter_operator.common.bus import Bus, Topology
from vcenter_operator.common.embedded import platform as embedded
from vcenter_operator.common.kubernetes import platform as kubernetes
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.serving import served
from vcenter_operator.common.settings import Settings
from vcenter_operator.discovery import wiring as discovery
from vcenter_operator.discovery.settings import DiscoverySettings
from vcenter_operator.renderer import wiring as renderer
from vcenter_operator.renderer.settings import RendererSettings

SETTINGS: dict[Stage, type[Settings]] = {
    Stage.DISCOVERY: DiscoverySettings,
    Stage.COLLECTOR: CollectorSettings,
    Stage.RENDERER: RendererSettings,
    Stage.APPLIER: ApplierSettings,
}
_WIRING: dict[Stage, Any] = {
    Stage.DISCOVERY: discovery,
    Stage.COLLECTOR: collector,
    Stage.RENDERER: renderer,
    Stage.APPLIER: applier,
}


@dataclass(frozen=True)
class Files:
    """The embedded adapters' files, in place of DNS, vCenters and Kubernetes."""

    site: Path
    templates: Path
    output: Path | None = None


def open_platform(
    settings: Settings, files: Files | None, *, dry_run: bool, bus: Bus | None = None
) -> AbstractAsyncContextManager[Platform]:
    """What the stages stand on: files where there are any, Kubernetes otherwise."""
    if files is None:
        return kubernetes.open_platform(settings, dry_run=dry_run, bus=bus)
    return embedded.open_platform(
        settings, site=files.site, templates=files.templates, output=files.output, dry_run=dry_run, bus=bus
    )


@asynccontextmanager
async def services(
    platform: Platform,
    stages: Sequence[Stage],
    *,
    on_plan: OnPlan | None = None,
    on_answer: OnAnswer | None = None,
    **overrides: Any,
) -> AsyncIterator[list[process.Service]]:
    """The services of these stages, with settings of their own.

    `on_plan` sees the applier's plans, `on_answer` what its dry run is answered.
    """
    async with AsyncExitStack() as stack:
        opened = []
        for stage in stages:
            wiring = _WIRING[stage]
            wire = wiring.on_kubernetes if platform.kubernetes is not None else wiring.embedded
            watched = {"on_plan": on_plan, "on_answer": on_answer} if stage is Stage.APPLIER else {}
            service = wire(SETTINGS[stage].load(**overrides), platform, **watched)
            opened.append(await stack.enter_async_context(service))
        yield opened


async def run(files: Files | None, stages: Sequence[Stage], *, dry_run: bool, **overrides: Any) -> None:
    """Runs stages until cancelled.

    Raises:
        ConfigurationError: a setting, the Secret or a file is wrong.
    """
    settings = Settings.load(**overrides)
    name = "vcenter-operator" if len(stages) > 1 else f"vcenter-operator-{stages[0]}"
    for stage in stages:
        metrics.serves(stage, Topology(settings.partitions, settings.generation).partitions_of(stage))
    system = process.IN_PROCESS if settings.bus == process.IN_PROCESS else process.RABBITMQ
    with tracing.exported(name, system, dry_run=dry_run):
        async with (
            served(settings.probe_port, probe_every=settings.probe_every) as health,
            open_platform(settings, files, dry_run=dry_run) as platform,
            services(platform, stages, **overrides) as opened,
        ):
            health.bus = platform.bus
            await process.serve(*opened)
