"""The platform on Kubernetes: connected, with its CRDs, its Secret checked and its bus open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from vcenter_operator.common.bus.port import Bus, Epochs
from vcenter_operator.common.events import Events, Silence
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import ensure_crds
from vcenter_operator.common.kubernetes.events import KubernetesEvents
from vcenter_operator.common.kubernetes.leases import DryRunLeaseEpochs, LeaseEpochs
from vcenter_operator.common.kubernetes.record import KubernetesStore
from vcenter_operator.common.kubernetes.secret import secret_resource
from vcenter_operator.common.kubernetes.watching import Watcher
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.process import open_bus, patiently
from vcenter_operator.common.record.overlay import Overlay
from vcenter_operator.common.secret import SecretConfiguration
from vcenter_operator.common.settings import Settings


@asynccontextmanager
async def open_platform(
    settings: Settings, *, dry_run: bool = False, bus: Bus | None = None
) -> AsyncIterator[Platform]:
    """Opens what the stages of this process stand on. Servers that are away are waited for, in the log.

    The bus is `bus`, or else the one at the Secret's `bus_url` where the settings name none, or the settings'.
    A dry run writes nothing to the cluster: records and epochs go on from there in memory.

    Raises:
        ConfigurationError: a setting, the Secret, a right that is needed.
    """
    async with AsyncExitStack() as stack:
        client, surroundings = await stack.enter_async_context(connect(settings))
        own = surroundings.own_namespace
        await patiently("CRDs", lambda: ensure_crds(client, dry_run=dry_run))
        secret = await stack.enter_async_context(Watcher(client, secret_resource(own, settings.secret)))
        configuration = SecretConfiguration(secret, own, settings.secret, required=settings.secret_keys)
        current = await patiently("Secret", configuration.current)
        epochs: Epochs = DryRunLeaseEpochs(client, own) if dry_run else LeaseEpochs(client, own)
        events: Events = Silence() if dry_run else await stack.enter_async_context(KubernetesEvents(client))
        store = KubernetesStore(client, own, missing_is_empty=dry_run, events=events)
        if not dry_run:  # which does not see to it that there is anything to watch
            await stack.enter_async_context(store.following())
        if bus is None:
            url = None if "bus" in settings.model_fields_set else current.bus_url
            bus = await patiently("bus", lambda: open_bus(settings, epochs, url=url, dry_run=dry_run))
            stack.push_async_callback(bus.close)
        yield Platform(
            bus=bus,
            store=Overlay(store) if dry_run else store,
            configuration=configuration,
            surroundings=surroundings,
            dry_run=dry_run,
            events=events,
            kubernetes=client,
        )
