"""The platform on files: a site file, a folder of manifests, and a folder for what comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from vcenter_operator.common.bus.port import Bus
from vcenter_operator.common.embedded.configuration import configuration_of
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.embedded.manifests import Manifests
from vcenter_operator.common.embedded.record import FolderStore
from vcenter_operator.common.embedded.site import Site
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.process import open_bus, patiently
from vcenter_operator.common.record.overlay import Overlay
from vcenter_operator.common.record.port import Store
from vcenter_operator.common.settings import Settings
from vcenter_operator.common.surroundings import Surroundings

STATE = ".state"
"""Folder in the output: epochs, records, positions."""


@asynccontextmanager
async def open_platform(
    settings: Settings,
    *,
    site: Path,
    templates: Path,
    output: Path | None = None,
    dry_run: bool = False,
    bus: Bus | None = None,
) -> AsyncIterator[Platform]:
    """Opens what the stages stand on. State is kept in `output/.state/`; without `output` in memory.

    The bus is `bus`, or else the one that the settings name. A dry run writes nothing.

    Raises:
        ConfigurationError: a file is missing or wrong, with its name and line.
    """
    _refuse_nesting(templates, output)
    state = None if output is None else output / STATE
    if state is not None and not dry_run:
        _prepare(state)
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(Site(site))
        own = settings.namespace or opened.current.namespace
        manifests = await stack.enter_async_context(
            Manifests(templates, namespace=own, state=state and state / "positions.json", dry_run=dry_run)
        )
        configuration = configuration_of(manifests, own, settings)
        await configuration.current()
        if bus is None:
            epochs = FolderEpochs(state and state / "epochs", dry_run=dry_run)
            bus = await patiently("bus", lambda: open_bus(settings, epochs, dry_run=dry_run))
            stack.push_async_callback(bus.close)
        domain = settings.service_domain or opened.current.domain
        yield Platform(
            bus=bus,
            store=_store(state, own, dry_run),
            configuration=configuration,
            surroundings=Surroundings(own, opened.current.region, domain.rstrip(".").lower(), incluster=False),
            dry_run=dry_run,
            site=opened,
            manifests=manifests,
            templates=templates,
            output=output,
        )


def _store(state: Path | None, namespace: str, dry_run: bool) -> Store:
    if state is None:
        return Overlay()
    store = FolderStore(state / "records", namespace=namespace)
    return Overlay(store) if dry_run else store


def _prepare(state: Path) -> None:
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"output {state.parent}: {error.strerror}") from None


def _refuse_nesting(templates: Path, output: Path | None) -> None:
    if output is None:
        return
    inner, outer = templates.resolve(), output.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ConfigurationError(f"output {output} and templates {templates}: neither may lie within the other")
