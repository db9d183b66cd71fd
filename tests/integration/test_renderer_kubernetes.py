"""The renderer with templates, cells and Secret of a real API server: edited, broken, deleted, and the server away."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.stack.kubernetes import Kubernetes
from tests.unit.renderer.conftest import Recorder, becomes
from tests.unit.renderer.region import HOST, SECRET, configmap, inventory, resource
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.crds import TEMPLATES
from vcenter_operator.common.kubernetes.platform import open_platform
from vcenter_operator.common.messages import ManifestDelta, Stage
from vcenter_operator.common.platform import Platform
from vcenter_operator.renderer.service import RendererService
from vcenter_operator.renderer.settings import RendererSettings
from vcenter_operator.renderer.wiring import on_kubernetes

ME = "test"
CELLS = {"system": "openstack", "component": "nova", "type": "nova-cell"}


class Region:
    """A namespace with a Secret and cells, a renderer that runs on it, and what it states.

    Templates are watched in all namespaces; those of other tests are left out of what is looked at.
    """

    def __init__(self, platform: Platform, namespace: str) -> None:
        self.platform, self.namespace = platform, namespace
        assert platform.kubernetes is not None
        self.api = Api(platform.kubernetes)
        self.neighbours = platform.bus
        assert isinstance(self.neighbours, InProcessBus)
        self.applier = Recorder(self.neighbours)
        self.service: RendererService | None = None

    async def template(self, name: str, text: str, **options: Any) -> None:
        """Creates or replaces a template of the namespace."""
        body = resource(name, text, namespace=self.namespace, **options)
        body |= {"apiVersion": "vcenter-operator.stable.sap.cc/v1", "kind": "VCenterTemplate"}
        body["metadata"] = {"name": name, "namespace": self.namespace}
        await self.api.apply(TEMPLATES.path(name, namespace=self.namespace), body, field_manager=ME)

    async def core(self, plural: str, kind: str, name: str, **fields: Any) -> None:
        """Creates or replaces a ConfigMap or Secret of the namespace."""
        metadata = {"name": name, "namespace": self.namespace, "labels": fields.pop("labels", {})}
        body = {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}
        await self.api.apply(Resource("", "v1", plural, self.namespace).path(name), body, field_manager=ME)

    @property
    def deltas(self) -> list[ManifestDelta]:
        """What was stated, oldest first."""
        return [each for each in self.applier.statements if isinstance(each, ManifestDelta)]

    def names(self, delta: ManifestDelta) -> set[str]:
        """Of the objects that should exist in the namespace."""
        return {object_id.name for object_id in delta.index if object_id.namespace == self.namespace}

    async def becomes(self, *names: str) -> ManifestDelta:
        """Waits for a delta that says that exactly these objects should exist in the namespace."""
        await becomes(lambda: self.deltas and self.names(self.deltas[-1]) == set(names), f"{names} in the index", 20)
        return self.deltas[-1]

    def unknown(self) -> dict[str | None, str]:
        """Templates of the namespace that are unknown, with the reason."""
        prefix = f"{self.namespace}/"
        return {
            each.template: each.reason for each in self.deltas[-1].unknown if (each.template or "").startswith(prefix)
        }

    async def manifest(self, name: str) -> dict[str, Any]:
        """What was sent last for a ConfigMap."""
        keyring = (await self.platform.configuration.current()).keyring
        object_id = ObjectId("", "ConfigMap", self.namespace, name)
        delta = next(each for each in reversed(self.deltas) if object_id in each.manifests)
        return keyring.open(HOST, object_id, delta.index[object_id].digest, delta.manifests[object_id])


@pytest.fixture
async def region(kubernetes: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Region]:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in SECRET.items()}
    secret = {"metadata": {"name": "vcenter-operator"}, "data": encoded}
    kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)
    cells = {"metadata": {"name": "cells", "labels": CELLS}, "data": {"cells": f"cell-{namespace}"}}
    kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", cells)
    settings = RendererSettings.load(bus="in-process", namespace=namespace)
    bus = InProcessBus(Broker(Topology(partitions=1)), FolderEpochs(None))
    async with open_platform(settings, bus=bus) as platform, on_kubernetes(settings, platform) as service:
        made = Region(platform, namespace)
        made.service = service
        yield made


@asynccontextmanager
async def running(region: Region) -> AsyncIterator[None]:
    assert region.service is not None
    tasks = [
        asyncio.create_task(region.neighbours.serve(Stage.APPLIER, region.applier)),
        asyncio.create_task(region.service.run()),
    ]
    try:
        await region.neighbours.publish(inventory())
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_templates_are_followed_as_they_are_created_edited_broken_and_deleted(region: Region) -> None:
    await region.template("nova", configmap("nova-{{ name }}", value="one"))
    async with running(region):
        first = await region.becomes("nova-bb1", "nova-bb2")
        assert (await region.manifest("nova-bb1"))["data"] == {"value": "one"}
        await region.template("cinder", configmap("cinder-{{ availability_zone }}"), scope="datacenter")
        both = ("nova-bb1", "nova-bb2", "cinder-qa-de-1a", "cinder-qa-de-1b")
        second = await region.becomes(*both)
        assert {object_id.name for object_id in second.manifests} == {"cinder-qa-de-1a", "cinder-qa-de-1b"}
        assert second.provenance.templates > first.provenance.templates

        await region.template("nova", configmap("nova-{{ name }}", value="two"))
        await becomes(lambda: "nova-bb1" in {each.name for each in region.deltas[-1].manifests}, "sent")
        assert (await region.manifest("nova-bb1"))["data"] == {"value": "two"}

        with capture_logs() as logs:
            await region.template("nova", configmap("nova-{{ name }}", value="{{ name.a.b }}"))
            await region.becomes("cinder-qa-de-1a", "cinder-qa-de-1b")
        reason = region.unknown()[f"{region.namespace}/nova"]
        assert f"vcenter_cluster/{region.namespace}/nova.yaml.j2, line 5: UndefinedError" in reason
        assert any(each["event"] == "template failed" and "line 5" in each["error"] for each in logs)

        await region.template("nova", configmap("nova-{{ name }}", value="three"))
        await region.becomes(*both)
        assert region.unknown() == {}
        await region.api.delete(TEMPLATES.path("nova", namespace=region.namespace))
        await becomes(lambda: f"{region.namespace}/nova" not in region.deltas[-1].templates, "it is gone for good", 20)
        assert region.names(region.deltas[-1]) == {"cinder-qa-de-1a", "cinder-qa-de-1b"}
        assert region.unknown() == {}
        positions = [each.provenance.templates for each in region.deltas]
        assert positions == sorted(positions)


async def test_any_resource_the_server_takes_is_lived_with(region: Region) -> None:
    """Schema-valid nonsense makes its template unknown, or a library, and nothing else."""
    await region.template("fine", configmap("fine"))
    await region.template("library", configmap("library"), scope="snippets")
    await region.template("vault", configmap("vault"), **{"uses-service-user": "nova"})
    await region.template("strange", configmap("strange"), variable_start_string=7, anything={"a": [1]})
    async with running(region):
        await region.becomes("fine")
    assert set(region.unknown()) == {f"{region.namespace}/vault", f"{region.namespace}/strange"}


async def test_writing_a_status_renders_nothing(region: Region) -> None:
    await region.template("nova", configmap("nova-{{ name }}"))
    async with running(region):
        first = await region.becomes("nova-bb1", "nova-bb2")
        assert region.service is not None
        rendered = region.service.vcenters[HOST].rendered
        path = TEMPLATES.path("nova", "status", namespace=region.namespace)
        await region.api.merge_patch(path, {"status": {"conditions": []}}, field_manager=ME)
        await region.template("marker", configmap("marker"))
        last = await region.becomes("nova-bb1", "nova-bb2", "marker")
        assert region.service.vcenters[HOST].rendered == rendered + 2
    assert {object_id.name for object_id in last.manifests} == {"marker"}
    assert last.templates[f"{region.namespace}/nova"] == first.templates[f"{region.namespace}/nova"]


async def test_cells_and_secret_are_followed(region: Region) -> None:
    text = configmap("nova-{{ name }}", cells="'{{ cells | join(\" \") }}'", mine="'{{ mine }}'")
    await region.template("nova", text)
    async with running(region):
        await region.becomes("nova-bb1", "nova-bb2")
        cell = f"cell-{region.namespace}"
        assert re.search(rf"\b{cell}\b", (await region.manifest("nova-bb1"))["data"]["cells"])
        await region.core("configmaps", "ConfigMap", "more", labels=CELLS, data={"cells": f"{cell}-more"})
        await becomes(lambda: len(region.deltas) >= 2, "stated", 20)
        assert f"{cell}-more" in (await region.manifest("nova-bb1"))["data"]["cells"]
        await region.core("secrets", "Secret", "vcenter-operator", stringData={**SECRET, "mine": "changed"})
        await becomes(lambda: len(region.deltas) >= 3, "stated", 20)
        assert (await region.manifest("nova-bb1"))["data"]["mine"] == "changed"
        assert len({each.inputs for each in region.deltas}) == 3


@pytest.mark.needs("kubernetes", control=True)
async def test_a_server_that_is_away_leaves_the_last_state_and_is_caught_up_with(
    region: Region, kubernetes: Kubernetes
) -> None:
    await region.template("nova", configmap("nova-{{ name }}"))
    async with running(region):
        await region.becomes("nova-bb1", "nova-bb2")
        await asyncio.to_thread(kubernetes.kill)
        try:
            await region.neighbours.publish(inventory(sequence=2, clusters=inventory().clusters[:1]))
            await region.becomes("nova-bb1")
        finally:
            await asyncio.to_thread(kubernetes.start)
        await region.template("nova", configmap("renamed-{{ name }}"))
        await region.becomes("renamed-bb1")
