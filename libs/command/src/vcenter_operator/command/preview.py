"""`vcenter-operator render`: what templates yield for a site, offline."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Container, Iterator
from pathlib import Path

from vcenter_operator.applier.adapters.manifestfile import manifest_path, manifest_text
from vcenter_operator.collector.adapters.embedded import site_inventory
from vcenter_operator.collector.ports import VCenterError
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.command.pipeline import Files
from vcenter_operator.common import labels
from vcenter_operator.common.embedded import platform as embedded
from vcenter_operator.common.embedded.files import replace_file
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import Inventory
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.settings import Settings
from vcenter_operator.discovery.adapters.embedded import SiteZone
from vcenter_operator.discovery.core.zone import is_vcenter, vcenters
from vcenter_operator.renderer.core.cells import LABELS
from vcenter_operator.renderer.core.offline import Rendering, render_inventory
from vcenter_operator.renderer.settings import RendererSettings

FAILED = 1


def render(site: Path, templates: Path, output: Path | None) -> int:
    """Renders every vCenter of a site file. Returns the exit code: 0, or 1 where anything could not be rendered.

    Raises:
        ConfigurationError: a file, the Secret or a setting is wrong, or the output folder cannot be written.
        PermanentError: there are no cells to render with.
        ZoneUnavailable: the zone file cannot be read.
    """
    renderings, failures = asyncio.run(_renderings(Files(site, templates)))
    yielded: dict[ObjectId, str] = {}
    for number, rendering in enumerate(renderings):
        for object_id in rendering.manifests:
            if (other := yielded.setdefault(object_id, rendering.host)) != rendering.host:
                failures += 1
                _tell(f"{rendering.host}: {object_id}: {other} yields it too: it stays with whoever has it first")
        for warning in rendering.warnings:
            _tell(f"{rendering.host}: warning: {warning}")
        for unknown in rendering.unknown:
            failures += 1
            what = [str(part) for part in (unknown.template, unknown.unit) if part is not None]
            _tell(": ".join([rendering.host, "not rendered", *what, unknown.reason]))
        if output is None:
            sys.stdout.writelines(_documents(rendering, first=number == 0))
        else:
            _write(rendering, output)
            _tell(f"{rendering.host}: {len(rendering.manifests)} manifests in {output}")
    return FAILED if failures else 0


async def _renderings(files: Files) -> tuple[list[Rendering], int]:
    """What is rendered, and how many vCenters are not."""
    settings = Settings.load(bus="in-process")
    async with embedded.open_platform(settings, site=files.site, templates=files.templates) as platform:
        assert platform.site is not None
        domain = platform.surroundings.domain
        zone = vcenters((await SiteZone(platform.site, domain).transfer()).names, domain)
        inventories = [_inventory(platform, host, zone) for host in sorted(platform.site.current.vcenters)]
        renderings = [await _render(platform, inventory) for inventory in inventories if inventory is not None]
        return renderings, len(inventories) - len(renderings)


def _inventory(platform: Platform, host: str, zone: Container[str]) -> Inventory | None:
    """What the collector would state of the vCenter; None where it would not come to that, which is told."""
    assert platform.site is not None
    if host not in zone:
        named = is_vcenter(host, platform.surroundings.domain)
        why = "it is not in the zone" if named else "it is not named as a vCenter is: vc-[a-z]+-[0-9]+"
        _tell(f"{host}: not rendered: {why}")
        return None
    try:
        return site_inventory(platform.site.current, host, CollectorSettings.load().convention)
    except VCenterError as error:
        _tell(f"{host}: not rendered: {error}")
        return None


async def _render(platform: Platform, inventory: Inventory) -> Rendering:
    assert platform.manifests is not None
    templates = await platform.manifests.watched(labels.GROUP, "VCenterTemplate").fresh()
    cells = await platform.manifests.watched("", "ConfigMap", label_selector=LABELS).fresh()
    return await asyncio.to_thread(
        render_inventory,
        inventory,
        templates=templates.items.values(),
        cells=cells.items.values(),
        configuration=await platform.configuration.current(),
        surroundings=platform.surroundings,
        policy=RendererSettings.load().policy,
    )


def _documents(rendering: Rendering, *, first: bool) -> Iterator[str]:
    for manifest in rendering.manifests.values():
        annotations = manifest["metadata"]["annotations"]
        yield "" if first else "---\n"
        yield f"# {rendering.host}: {annotations[labels.TEMPLATE]}, {annotations[labels.UNIT]}\n"
        yield manifest_text(manifest)
        first = False


def _write(rendering: Rendering, output: Path) -> None:
    for object_id, manifest in rendering.manifests.items():
        path = output / manifest_path(object_id)
        mode = 0o600 if object_id.kind == "Secret" else 0o644
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, manifest_text(manifest), mode=mode)
        except OSError as error:
            raise ConfigurationError(f"--output {output}: {error.filename}: {error.strerror}") from None


def _tell(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - for people, beside the manifests on standard output
