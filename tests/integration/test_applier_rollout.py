"""A rollout on a real API server: what waits is checked there and not written, and Deployments are read as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.applier_cluster import RESOURCES, TESTER, Region
from tests.requests import requests_of
from tests.stack.kubernetes import Kubernetes
from tests.unit.applier.given import HOST, NOVA, provenance, stated
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import ensure_crds
from vcenter_operator.common.messages import ManifestDelta, Rollout, Step
from vcenter_operator.common.record.port import OK, RolledOut
from vcenter_operator.common.settings import Settings

TOO_LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}


@pytest.fixture
async def region(kubernetes: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Region]:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    async with connect(Settings.load(bus="in-process")) as (made, _):
        await ensure_crds(made)
        yield Region(made, namespace)


def goes(step: Step, *manifests: dict[str, Any], version: int) -> ManifestDelta:
    made = stated(*manifests, made_from=provenance(templates=version * 10 + list(Step).index(step)))
    return made.model_copy(update={"rollouts": {NOVA: Rollout(version=version, step=step)}})


async def noting(region: Region, **said: Any) -> RolledOut:
    """Waits until this is in the record."""
    known = None
    async with asyncio.timeout(30):
        while True:
            record = await region.store.get(HOST)
            known = (record.applied.rollouts or {}).get(NOVA) if record and record.applied else None
            if known is not None and known.model_dump().items() >= said.items():
                return known
            await asyncio.sleep(0.05)


async def shown(region: Region, name: str, **status: Any) -> None:
    """As the controller of Deployments would write it, which this API server has not."""
    found = await region.api.get(region.path("Deployment", name))
    assert found is not None
    done = {
        "observedGeneration": found["metadata"]["generation"],
        "replicas": 1,
        "updatedReplicas": 1,
        "readyReplicas": 1,
        **status,
    }
    path = RESOURCES["Deployment"].path(name, "status", namespace=region.namespace)
    await region.api.merge_patch(path, {"status": done}, field_manager=TESTER)


async def test_what_waits_is_checked_and_not_written_and_the_canary_tells_when_it_is_available(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [region.deployment("agent"), region.config_map("gone")]
    after = [region.deployment("agent", image="agent:2"), region.secret("new")]
    async with region.applier(available_for=0.5):
        await region.state(goes(Step.ALL, *before, version=1))
        await noting(region, version=1, applied=OK)
        written = await region.api.get(region.path("Deployment", "agent"))

        seen = requests_of(region.client, monkeypatch)
        await region.state(goes(Step.CHECK, *after, version=2))
        await noting(region, version=2, checked=OK, changes=3, deployments=1, applied=None)
        asked = [path for method, path in seen if method == "PATCH"]
        assert (asked.count("deployments/agent"), asked.count("secrets/new")) == (1, 1), "once is enough"
        for what, name, there in (("Deployment", "agent", written), ("Secret", "new", None)):
            assert await region.api.get(region.path(what, name)) == there, "nothing of it is written"
        assert await region.api.get(region.path("ConfigMap", "gone")) is not None, "nor deleted"

        await region.state(goes(Step.CANARY, *after, version=2))
        async with asyncio.timeout(30):
            while await region.api.get(region.path("ConfigMap", "gone")) is not None:
                await asyncio.sleep(0.05)
        assert (await noting(region, version=2)).applied is None
        await shown(region, "agent", conditions=[TOO_LATE])
        said = await noting(region, applied=f"Deployment {region.namespace}/agent: ProgressDeadlineExceeded: timed out")
        assert said.checked == OK
        await shown(region, "agent", availableReplicas=1, conditions=[])
        await noting(region, applied=OK)


async def test_what_the_server_refuses_is_noted_without_its_values(region: Region) -> None:
    broken = region.deployment("agent")
    broken["spec"]["selector"] = {"matchLabels": {"app": "another"}}
    async with region.applier():
        await region.state(goes(Step.ALL, region.deployment("agent"), version=1))
        await noting(region, version=1, applied=OK)
        written = await region.api.get(region.path("Deployment", "agent"))
        await region.state(goes(Step.CHECK, broken, region.config_map("other"), version=2))
        async with asyncio.timeout(30):
            while (known := await noting(region, version=2)).checked is None:
                await asyncio.sleep(0.05)
    assert known.checked is not None
    assert known.checked.startswith(f"Deployment {region.namespace}/agent: ")
    assert "field is immutable" in known.checked
    assert '"app"' not in known.checked
    assert await region.api.get(region.path("Deployment", "agent")) == written
