"""Composes the collector from its adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vcenter_operator.collector.adapters.connection import tls_context
from vcenter_operator.collector.adapters.embedded import SiteVCenters
from vcenter_operator.collector.adapters.vcenter import PyVmomiVCenters, Timeouts
from vcenter_operator.collector.ports import VCenters
from vcenter_operator.collector.service import CollectorService
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.settings import PREFIX
from vcenter_operator.common.telemetry import logger

log = logger(__name__)


@asynccontextmanager
async def on_kubernetes(settings: CollectorSettings, platform: Platform) -> AsyncIterator[CollectorService]:
    """With real vCenters. Raises ConfigurationError."""
    yield _service(settings, platform, real_vcenters(settings))


@asynccontextmanager
async def embedded(settings: CollectorSettings, platform: Platform) -> AsyncIterator[CollectorService]:
    """With the vCenters of the site file."""
    assert platform.site is not None
    yield _service(settings, platform, SiteVCenters(platform.site))


def real_vcenters(settings: CollectorSettings) -> PyVmomiVCenters:
    """Through pyVmomi, by the settings. Raises ConfigurationError where the CA bundle cannot be used."""
    if settings.vcenter_insecure:
        log.warning("CERTIFICATES OF VCENTERS ARE NOT VERIFIED", setting=f"{PREFIX}VCENTER_INSECURE")
    ca = None if settings.vcenter_ca is None else str(settings.vcenter_ca)
    try:
        context = tls_context(ca, verify=not settings.vcenter_insecure)
    except OSError as error:
        raise ConfigurationError(f"{PREFIX}VCENTER_CA: {ca} is no bundle of CA certificates in PEM: {error}") from None
    timeouts = Timeouts(
        connect=settings.vcenter_connect_timeout, read=settings.vcenter_read_timeout, wait=settings.vcenter_wait
    )
    return PyVmomiVCenters(context, port=settings.vcenter_port, timeouts=timeouts)


def _service(settings: CollectorSettings, platform: Platform, vcenters: VCenters) -> CollectorService:
    return CollectorService(
        bus=platform.bus,
        store=platform.store,
        configuration=platform.configuration,
        vcenters=vcenters,
        settings=settings,
    )
