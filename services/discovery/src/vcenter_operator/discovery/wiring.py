"""Puts the discovery together from its adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from vcenter_operator.common.kubernetes.api import Resource
from vcenter_operator.common.kubernetes.watching import Watcher
from vcenter_operator.common.platform import Platform
from vcenter_operator.discovery.adapters.dns import DnsZone
from vcenter_operator.discovery.adapters.embedded import SiteZone
from vcenter_operator.discovery.adapters.kubernetes import SELECTOR, ServiceFinder
from vcenter_operator.discovery.adapters.listening import NotifyListener
from vcenter_operator.discovery.adapters.process import TransferProcess
from vcenter_operator.discovery.ports import Notifications, Zone
from vcenter_operator.discovery.service import DiscoveryService
from vcenter_operator.discovery.settings import DiscoverySettings


@asynccontextmanager
async def on_kubernetes(settings: DiscoverySettings, platform: Platform) -> AsyncIterator[DiscoveryService]:
    """With the DNS server behind the Service, or as the Secret says."""
    client = platform.kubernetes
    assert client is not None
    finder = ServiceFinder(
        platform.configuration,
        lambda namespace: Watcher(client, Resource("", "v1", "services", namespace, SELECTOR)),
        incluster=platform.surroundings.incluster,
    )
    domain = platform.surroundings.domain
    async with TransferProcess(memory=settings.dns_transfer_memory) as transfers, AsyncExitStack() as stack:
        notifications = None
        # A dry run stands beside a real one, often in its pod: the port is that one's.
        if settings.notify_port is not None and not platform.dry_run:
            address = str(settings.notify_address) if settings.notify_address is not None else None
            listener = NotifyListener(domain, finder)
            notifications = await stack.enter_async_context(listener.listening(address, settings.notify_port))
        await stack.enter_async_context(_running(finder))
        zone = DnsZone(
            domain, finder, transfers, timeout=settings.dns_timeout, transfer_timeout=settings.dns_transfer_timeout
        )
        yield _service(settings, platform, zone, notifications)


@asynccontextmanager
async def embedded(settings: DiscoverySettings, platform: Platform) -> AsyncIterator[DiscoveryService]:
    """With the zone of the site file."""
    assert platform.site is not None
    zone = SiteZone(platform.site, platform.surroundings.domain)
    async with _running(zone):
        yield _service(settings, platform, zone)


def _service(
    settings: DiscoverySettings, platform: Platform, zone: Zone, notifications: Notifications | None = None
) -> DiscoveryService:
    return DiscoveryService(
        bus=platform.bus,
        store=platform.store,
        zone=zone,
        domain=platform.surroundings.domain,
        settings=settings,
        notifications=notifications,
    )


@asynccontextmanager
async def _running(adapter: ServiceFinder | SiteZone) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(adapter.run())
        try:
            yield
        finally:
            task.cancel()
