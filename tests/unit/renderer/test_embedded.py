"""The renderer put together on files, as `vcenter-operator run --site` does it, and its settings."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.unit.renderer.conftest import Recorder, becomes
from tests.unit.renderer.region import HOST, inventory
from vcenter_operator.common.bus.inprocess import InProcessBus
from vcenter_operator.common.embedded.platform import open_platform
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import ManifestDelta, Stage
from vcenter_operator.renderer.settings import RendererSettings
from vcenter_operator.renderer.wiring import embedded

EXAMPLES = Path(__file__).parents[3] / "examples" / "site"


async def test_the_example_region_is_rendered_and_a_saved_file_alone_again(tmp_path: Path) -> None:
    site = shutil.copytree(EXAMPLES, tmp_path / "site")
    settings = RendererSettings.load(bus="in-process", partitions=1)
    async with (
        open_platform(settings, site=site / "site.yaml", templates=site / "manifests") as platform,
        embedded(settings, platform) as service,
    ):
        assert isinstance(platform.bus, InProcessBus)
        applier = Recorder(platform.bus)
        tasks = [
            asyncio.create_task(platform.bus.serve(Stage.APPLIER, applier)),
            asyncio.create_task(service.run()),
        ]

        def deltas() -> list[ManifestDelta]:
            return [each for each in applier.statements if isinstance(each, ManifestDelta)]

        try:
            await platform.bus.publish(inventory())
            await becomes(deltas, "stated")
            rendered = service.vcenters[HOST].rendered
            template = site / "manifests" / "cinder-volume.yaml"
            template.write_text(template.read_text().replace("replicas: 1", "replicas: 2"))
            await becomes(lambda: len(deltas()) > 1, "stated again")
            assert service.vcenters[HOST].rendered == rendered + 2
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        first, second = deltas()
    assert first.unknown == second.unknown == ()
    assert first.manifests.keys() == first.index.keys() == second.index.keys()
    assert {(each.kind, each.name) for each in second.manifests} == {
        ("Deployment", "cinder-volume-vmware-qa-de-1a"),
        ("Deployment", "cinder-volume-vmware-qa-de-1b"),
    }


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCENTER_OPERATOR_CLUSTER_SCOPED_KINDS", "Namespace, rbac.authorization.k8s.io/ClusterRole,")
    monkeypatch.setenv("VCENTER_OPERATOR_OWNER_REFERENCES", "true")
    monkeypatch.setenv("VCENTER_OPERATOR_RENDER_SECONDS", "0.5")
    monkeypatch.setenv("VCENTER_OPERATOR_RENDER_MEMORY", "256")
    settings = RendererSettings.load()
    assert settings.policy.cluster_scoped_kinds == {"Namespace", "rbac.authorization.k8s.io/ClusterRole"}
    assert settings.policy.owner_references
    assert (settings.bounds.seconds, settings.bounds.memory) == (0.5, 256 * 1024 * 1024)
    monkeypatch.setenv("VCENTER_OPERATOR_RENDER_SECONDS", "0")
    with pytest.raises(ConfigurationError, match="VCENTER_OPERATOR_RENDER_SECONDS"):
        RendererSettings.load()
