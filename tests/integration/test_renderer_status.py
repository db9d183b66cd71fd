"""What templates are told in their status, with a real API server: never their content, and nothing in a dry run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.test_renderer_kubernetes import Region, region, running
from tests.kubectl import kubectl
from tests.stack.kubernetes import Kubernetes
from tests.unit.renderer.conftest import becomes
from tests.unit.renderer.region import HOST, configmap
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.kubernetes.api import Resource
from vcenter_operator.common.kubernetes.crds import TEMPLATES, VCENTERS
from vcenter_operator.common.kubernetes.platform import open_platform
from vcenter_operator.renderer.adapters.kubernetes import StatusSubresource
from vcenter_operator.renderer.core.templates import parse_template
from vcenter_operator.renderer.settings import RendererSettings
from vcenter_operator.renderer.wiring import on_kubernetes

__all__ = ["region"]
CONTENT = ("options", "template")


async def template(region: Region, name: str) -> dict[str, Any]:
    found = await region.api.get(TEMPLATES.path(name, namespace=region.namespace))
    assert found is not None
    return found


async def shows(region: Region, name: str, status: str, reason: str) -> dict[str, Any]:
    """Waits until the template has this condition Rendered."""
    async with asyncio.timeout(30):
        while True:
            found = await template(region, name)
            for each in found.get("status", {}).get("conditions", ()):
                if (each["type"], each["status"], each["reason"]) == ("Rendered", status, reason):
                    return found
            await asyncio.sleep(0.1)


async def events(region: Region, about: str) -> list[dict[str, Any]]:
    listing = await region.api.list(Resource("events.k8s.io", "v1", "events", region.namespace).path())
    return [each for each in listing.items if each["regarding"]["name"] == about]


async def test_a_template_is_told_what_becomes_of_it_and_is_left_as_it_is(
    region: Region, kubernetes: Kubernetes
) -> None:
    await region.template("nova", configmap("nova-{{ name }}"), variable_start_string="{{")
    await region.template("library", "{% macro m() %}{% endmacro %}", scope="snippets")
    before = await template(region, "nova")
    async with running(region):
        found = await shows(region, "nova", "True", "Rendered")
        assert found["metadata"]["generation"] == before["metadata"]["generation"]
        assert [found[field] for field in CONTENT] == [before[field] for field in CONTENT]
        assert found["status"].items() >= {"objects": 2, "renderings": 2, "failed": 0, "observedGeneration": 1}.items()
        assert [each["partition"] for each in found["status"]["partitions"]] == [0]
        managers = {each["manager"]: each for each in found["metadata"]["managedFields"]}
        for manager in ("vcenter-operator-renderer", "vcenter-operator-renderer-0"):
            assert set(managers[manager]["fieldsV1"]) == {"f:status"}
        await shows(region, "library", "True", "Library")

        await region.template("nova", configmap("nova-{{ name }}", value="{{ name.a.b }}"))
        failing = await shows(region, "nova", "False", "Fails")
        where = f"cluster qa-de-1a productionbb001 of {HOST}: vcenter_cluster/{region.namespace}/nova.yaml.j2, line 5"
        assert failing["status"]["problem"].startswith(f"2 of 2 fail: {where}: UndefinedError")
        shown = await asyncio.to_thread(kubectl, kubernetes, "get", "vct", "nova", "-n", region.namespace)
        assert shown.splitlines()[1].split()[:4] == ["nova", "cluster", "False", "Fails"]
        assert "nova.yaml.j2, line 5" in shown

        await region.template("nova", configmap("nova-{{ name }}", value="mended"))
        mended = await shows(region, "nova", "True", "Rendered")
        assert "problem" not in mended["status"]
        async with asyncio.timeout(20):
            while len(told := await events(region, "nova")) < 2:
                await asyncio.sleep(0.1)
    assert {each["reason"]: each["type"] for each in told} == {"TemplateFails": "Warning", "TemplateRenders": "Normal"}
    described = await asyncio.to_thread(kubectl, kubernetes, "describe", "vct", "nova", "-n", region.namespace)
    assert "TemplateFails" in described[described.index("Events:") :]


async def test_a_status_feeds_nothing_back_and_ends_in_silence(region: Region) -> None:
    await region.template("nova", configmap("nova-{{ name }}"))
    async with running(region):
        await shows(region, "nova", "True", "Rendered")
        assert region.service is not None
        rendered, deltas = region.service.vcenters[HOST].rendered, len(region.deltas)
        version = (await template(region, "nova"))["metadata"]["resourceVersion"]
        # Another template, told of in the next round, shows that the last round's writes are over.
        await region.template("marker", configmap("marker-{{ availability_zone }}"), scope="datacenter")
        await shows(region, "marker", "True", "Rendered")
        assert (await template(region, "nova"))["metadata"]["resourceVersion"] == version
        assert region.service.vcenters[HOST].rendered == rendered + 2
        assert len(region.deltas) == deltas + 1
        vcenter = await region.api.get(Resource(**{**vars(VCENTERS), "namespace": region.namespace}).path(HOST))
    assert vcenter is not None
    # Whether it is True depends on the templates of other tests, too.
    assert "Rendered" in {each["type"] for each in vcenter["status"]["conditions"]}
    assert vcenter["status"]["renderer"]["objects"] >= 4


async def test_partitions_and_others_share_the_status_without_touching_each_other(region: Region) -> None:
    await region.template("nova", configmap("nova"))
    path = TEMPLATES.path("nova", "status", namespace=region.namespace)
    await region.api.merge_patch(path, {"status": {"review": {"open": True}}}, field_manager="other")
    status = StatusSubresource(region.platform.kubernetes)  # type: ignore[arg-type]
    nova = parse_template(await template(region, "nova"))
    await status.state_partition(nova, 1, {"partition": 1, "objects": 1, "failures": [{"line": 7}]})
    await status.state_partition(nova, 2, {"partition": 2, "objects": 2})
    await status.state_summary(nova, {"objects": 3, "problem": "one"})
    await status.state_partition(nova, 1, {"partition": 1, "objects": 5})
    await status.state_summary(nova, {"objects": 7})
    found = (await template(region, "nova"))["status"]
    assert found == {
        "objects": 7,
        "review": {"open": True},
        "partitions": [{"partition": 1, "objects": 5}, {"partition": 2, "objects": 2}],
    }
    await status.state_partition(nova, 2, None)
    assert (await template(region, "nova"))["status"]["partitions"] == [{"partition": 1, "objects": 5}]


async def test_one_that_is_gone_is_not_made_again(region: Region) -> None:
    await region.template("nova", configmap("nova"))
    nova = parse_template(await template(region, "nova"))
    await region.api.delete(TEMPLATES.path("nova", namespace=region.namespace))
    status = StatusSubresource(region.platform.kubernetes)  # type: ignore[arg-type]
    await status.state_summary(nova, {"objects": 1})
    assert await region.api.get(TEMPLATES.path("nova", namespace=region.namespace)) is None


async def test_a_dry_run_tells_nothing(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    await region.template("nova", configmap("nova-{{ name }}", value="{{ name.a.b }}"))
    settings = RendererSettings.load(bus="in-process", namespace=region.namespace)
    bus = InProcessBus(Broker(Topology(partitions=1)), FolderEpochs(None))
    async with open_platform(settings, dry_run=True, bus=bus) as platform, on_kubernetes(settings, platform) as service:
        dry = Region(platform, region.namespace)
        dry.service = service
        async with running(dry):
            await becomes(lambda: f"{region.namespace}/nova" in (dry.deltas and dry.unknown()), "it fails", 20)

            async def recorded() -> bool:
                record = await platform.store.get(HOST)
                return record is not None and record.rendered is not None

            async with asyncio.timeout(20):
                while not await recorded():
                    await asyncio.sleep(0.1)
    assert "status" not in await template(region, "nova")
    assert await events(region, "nova") == []
    vcenters = Resource(**{**vars(VCENTERS), "namespace": region.namespace})
    assert (await region.api.list(vcenters.path())).items == []


async def test_a_rollout_is_decided_by_the_template_as_it_is_or_not_at_all(region: Region) -> None:
    await region.template("nova", configmap("nova"))
    status = StatusSubresource(region.platform.kubernetes)  # type: ignore[arg-type]
    before = await template(region, "nova")
    parsed, version = parse_template(before), before["metadata"]["resourceVersion"]
    await status.state_summary(parsed, {"objects": 3})
    decided = {"version": 2**47, "phase": "Canary", "canary": HOST, "reason": "waits"}
    assert not await status.state_rollout(parsed, decided, version=version)
    known = await template(region, "nova")
    assert known["status"] == {"objects": 3}, "it was decided by a template that has changed since"
    assert await status.state_rollout(parsed, decided, version=known["metadata"]["resourceVersion"])
    await status.state_summary(parsed, {"objects": 4})
    known = await template(region, "nova")
    assert known["status"] == {"objects": 4, "rollout": decided}
    await status.state_rollout(parsed, None, version=known["metadata"]["resourceVersion"])
    assert (await template(region, "nova"))["status"] == {"objects": 4}
