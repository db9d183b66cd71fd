"""Puts the service together: on Kubernetes, and embedded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vcenter_operator.common.platform import Platform
from vcenter_operator.common.watching import Watched
from vcenter_operator.renderer.adapters.embedded import templates_and_cells
from vcenter_operator.renderer.adapters.process import ProcessEngine
from vcenter_operator.renderer.inputs import WatchedInputs
from vcenter_operator.renderer.ports import TemplateStatus
from vcenter_operator.renderer.reporting import Reporting
from vcenter_operator.renderer.rollingout import RollingOut
from vcenter_operator.renderer.service import RendererService
from vcenter_operator.renderer.settings import RendererSettings
from vcenter_operator.renderer.vcenter import Setting


@asynccontextmanager
async def on_kubernetes(settings: RendererSettings, platform: Platform) -> AsyncIterator[RendererService]:
    """With the templates, cells and Secret of a cluster."""
    from vcenter_operator.renderer.adapters import kubernetes as cluster  # noqa: PLC0415 - not needed on files

    assert platform.kubernetes is not None
    status = None if platform.dry_run else cluster.StatusSubresource(platform.kubernetes)
    async with (
        cluster.templates_and_cells(platform.kubernetes) as (templates, cells),
        _service(settings, platform, templates, cells, status) as service,
    ):
        yield service


@asynccontextmanager
async def embedded(settings: RendererSettings, platform: Platform) -> AsyncIterator[RendererService]:
    """With those of a folder, in which nothing is written."""
    assert platform.manifests is not None
    templates, cells = templates_and_cells(platform.manifests)
    async with _service(settings, platform, templates, cells, None) as service:
        yield service


@asynccontextmanager
async def _service(
    settings: RendererSettings, platform: Platform, templates: Watched, cells: Watched, status: TemplateStatus | None
) -> AsyncIterator[RendererService]:
    await platform.require_keys()
    inputs = WatchedInputs(
        templates, cells, platform.configuration, grace=settings.template_grace, rolls_out=status is not None
    )
    rolling_out = RollingOut(platform.store, templates, inputs, status, platform.events)
    reporting = Reporting(platform.store, templates, inputs, status, platform.events, partitions=settings.partitions)
    async with ProcessEngine(settings.bounds, settings.policy, processes=settings.render_processes) as engine:
        yield RendererService(
            platform.bus,
            inputs,
            Setting(engine, platform.surroundings, settings.policy, platform.dry_run),
            reporting,
            rolling_out,
            platform.store,
            repeat_every=settings.repeat_every,
        )
