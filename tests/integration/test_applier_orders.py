"""What people say on a VCenter of a real API server: with kubectl's verbs, and with `vcenter-operator approve`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient

from tests.integration.applier_cluster import TESTER, Region
from tests.stack.kubernetes import Kubernetes
from tests.unit.applier.given import HOST, cluster, provenance, stated
from vcenter_operator.command.approving import approve_on
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import VCENTERS, ensure_crds
from vcenter_operator.common.kubernetes.errors import Rejected
from vcenter_operator.common.messages import ManifestDelta
from vcenter_operator.common.record.orders import RECONCILE
from vcenter_operator.common.record.port import Applied, Discovered
from vcenter_operator.common.settings import Settings


@pytest.fixture
async def client(kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiClient]:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    async with connect(Settings.load(bus="in-process")) as (made, _):
        await ensure_crds(made)
        yield made


@pytest.fixture
def region(client: ApiClient, namespace: str) -> Region:
    return Region(client, namespace)


async def say(region: Region, **said: Any) -> None:
    """As `kubectl patch vc` and `kubectl annotate vc` would."""
    path = VCENTERS.path(HOST, namespace=region.namespace)
    await region.api.merge_patch(path, said, field_manager=TESTER)


async def becomes(region: Region, condition: Callable[[Applied], object]) -> Applied:
    async with asyncio.timeout(60):
        while True:
            record = await region.store.get(HOST)
            if record is not None and record.applied is not None and condition(record.applied):
                return record.applied
            await asyncio.sleep(0.05)
    raise AssertionError


async def names_become(region: Region, *names: str) -> None:
    async with asyncio.timeout(60):
        while await region.names("ConfigMap") - {"kube-root-ca.crt"} != set(names):
            await asyncio.sleep(0.05)


def of_clusters(region: Region, *numbers: int, inventory: int, value: str = "1", present: bool = True) -> ManifestDelta:
    maps = [region.config_map(f"c{number}", unit=cluster(number), data={"value": value}) for number in numbers]
    return stated(*maps, made_from=provenance(inventory), present=present)


async def test_what_is_held_is_listed_and_goes_with_a_persons_word_on_exactly_that(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    async with region.applier():
        await region.state(of_clusters(region, 1, 2, 3, 4, inventory=1))
        await names_become(region, "c1", "c2", "c3", "c4")
        await region.state(of_clusters(region, 4, inventory=2))
        held = await becomes(region, lambda applied: applied.held_plan)
        assert held.held_plan is not None

        assert await approve_on(region.api, region.namespace, HOST, "0" * 16, lambda _: True) == 1
        await names_become(region, "c1", "c2", "c3", "c4")
        capsys.readouterr()
        assert await approve_on(region.api, region.namespace, "vc-a-0", held.held_plan, lambda _: True) == 0
        shown = capsys.readouterr().out
        await names_become(region, "c4")
        done = await becomes(region, lambda applied: not applied.held)

    assert [line for line in shown.splitlines() if line.startswith("- ")] == [
        f"- ConfigMap {region.namespace}/c{number}" for number in (1, 2, 3)
    ]
    assert (done.held_plan, done.approved) == (None, ())
    assert await approve_on(region.api, region.namespace, HOST, None, lambda _: True) == 1


async def test_suspending_and_observing_stop_every_write_and_are_lifted_at_once(region: Region) -> None:
    async with region.applier():
        await region.state(of_clusters(region, 1, inventory=1))
        await names_become(region, "c1")
        await say(region, spec={"suspend": True})
        await region.state(of_clusters(region, 1, 2, inventory=2, value="2"))
        await region.shows("Suspended")
        await say(region, spec={"suspend": False, "policy": "observe"})
        await region.shows("Observing")
        assert (await region.there("ConfigMap", "c1"))["data"] == {"value": "1"}
        await names_become(region, "c1")
        await say(region, spec={"policy": None})
        await names_become(region, "c1", "c2")
    record = await region.store.get(HOST)
    assert record is not None
    assert record.orders.suspended is False


async def test_a_person_who_asks_is_answered(region: Region) -> None:
    async with region.applier():
        await region.state(of_clusters(region, 1, inventory=1))
        await region.shows("AsStated")
        await say(region, metadata={"annotations": {RECONCILE: "2026-03-01T12:00"}})
        await becomes(region, lambda applied: applied.reconciled == "2026-03-01T12:00")


async def test_a_vcenter_gone_from_dns_goes_after_its_time_and_a_word(region: Region) -> None:
    async with region.applier(gone_after=2.0):
        await region.state(of_clusters(region, 1, 2, inventory=1))
        await names_become(region, "c1", "c2")
        await say(region, spec={"whenGone": "delete"})
        gone = of_clusters(region, inventory=2, present=False)
        zone = gone.provenance.zone
        since = datetime.now(UTC).replace(microsecond=0)
        await region.store.write(
            HOST, Discovered(present=False, serial=zone.serial, revision=zone.revision, gone_since=since)
        )
        await region.state(gone)
        held = await becomes(region, lambda applied: applied.held_plan)
        assert datetime.now(UTC) >= since + timedelta(seconds=2)
        assert await approve_on(region.api, region.namespace, HOST, held.held_plan, lambda _: True) == 0
        await names_become(region)


@pytest.mark.parametrize("spec", [{"policy": "snyc"}, {"whenGone": "now"}, {"suspend": "yes"}, {"adopt": "yes"}])
async def test_the_server_refuses_what_nobody_would_understand(region: Region, spec: dict[str, Any]) -> None:
    async with region.applier():
        await region.state(of_clusters(region, 1, inventory=1))
        await region.shows("AsStated")
        with pytest.raises(Rejected):
            await say(region, spec=spec)
        await say(region, spec={"policy": None, "whenGone": None, "suspend": None})
