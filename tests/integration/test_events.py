"""Events at a real API server: told once, counted after that, bounded, and never in the way of the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient
from structlog.testing import capture_logs

from tests.integration.test_kubernetes_common import client, connected, until
from tests.kubectl import kubectl
from tests.records import APPLIED, COLLECTED, HOST
from tests.stack.kubernetes import Kubernetes
from vcenter_operator.common.kubernetes import events as told
from vcenter_operator.common.kubernetes import record as records
from vcenter_operator.common.kubernetes.api import Api
from vcenter_operator.common.kubernetes.crds import VCENTERS
from vcenter_operator.common.kubernetes.events import EVENTS, KubernetesEvents
from vcenter_operator.common.kubernetes.record import KubernetesStore
from vcenter_operator.common.record import Condition

__all__ = ["client", "connected"]
Connect = Callable[[Path], AbstractAsyncContextManager[ApiClient]]


class Place:
    """A namespace with one VCenter, and what was told there."""

    def __init__(self, client: ApiClient, namespace: str, vcenter: dict[str, Any]) -> None:
        self.client, self.namespace, self.vcenter = client, namespace, vcenter

    async def events(self) -> list[dict[str, Any]]:
        listing = await Api(self.client).list(replace(EVENTS, namespace=self.namespace).path())
        return sorted(listing.items, key=lambda each: str(each["eventTime"]))

    async def reasons(self) -> list[str]:
        return [each["reason"] for each in await self.events()]

    async def told(self, count: int) -> list[dict[str, Any]]:
        """Waits for so many."""

        async def there() -> bool:
            return len(await self.events()) >= count

        await until(there)
        return await self.events()


@pytest.fixture
async def place(client: ApiClient, namespace: str) -> Place:
    await KubernetesStore(client, namespace).write(HOST, COLLECTED)
    vcenter = await Api(client).get(replace(VCENTERS, namespace=namespace).path(HOST))
    assert vcenter is not None
    return Place(client, namespace, vcenter)


async def test_the_same_is_told_once_and_counted_across_replicas(
    place: Place, kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with KubernetesEvents(place.client) as one:
        for _ in range(5):
            await one.tell(place.vcenter, "Warning", "LoginRefused", "wrong password")
        (event,) = await place.told(1)
    assert event["regarding"]["uid"] == place.vcenter["metadata"]["uid"]
    assert (event["type"], event["note"], event.get("series")) == ("Warning", "wrong password", None)
    async with KubernetesEvents(place.client) as another:
        await another.tell(place.vcenter, "Warning", "LoginRefused", "wrong password")

        async def counted() -> bool:
            return bool((await place.events())[0].get("series", {}).get("count") == 2)

        await until(counted)
        await another.tell(place.vcenter, "Normal", "LoggedOn", "no longer LoginRefused")
        await place.told(2)
    described = await asyncio.to_thread(kubectl, kubernetes, "describe", "vc", HOST, "-n", place.namespace)
    shown = described[described.index("Events:") :]
    assert "LoginRefused" in shown
    assert "(x2 over" in shown


async def test_a_flood_is_cut_off_and_said_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "_BURST", 5)
    with capture_logs() as logs:
        async with KubernetesEvents(place.client) as events:
            for number in range(20):
                await events.tell(place.vcenter, "Warning", "Refused", f"object {number}")
            await place.told(5)
    assert len(await place.events()) == 5
    assert [each["event"] for each in logs].count(
        "too many events at once: the rest is left out, and is in the conditions"
    ) == 1


async def test_a_server_that_refuses_or_is_away_is_no_trouble_to_the_teller(
    place: Place, kubernetes: Kubernetes, connected: Connect
) -> None:
    nobody = kubernetes.user_kubeconfig("nobody")
    with capture_logs() as logs:
        async with connected(nobody) as powerless, KubernetesEvents(powerless) as events:
            await asyncio.wait_for(events.tell(place.vcenter, "Warning", "Refused", "one"), 1)
            await asyncio.wait_for(events.tell(place.vcenter, "Warning", "Refused", "two"), 1)
            await until(lambda: any("cannot be told" in each["event"] for each in logs))
    assert await place.events() == []


async def test_a_change_of_conditions_is_told_by_whoever_writes_it(place: Place) -> None:
    def connected(status: str, reason: str) -> Any:
        shown = Condition.model_validate({"type": "Connected", "status": status, "reason": reason, "message": "text"})
        return COLLECTED.model_copy(update={"conditions": (shown,)})

    async with KubernetesEvents(place.client) as events:
        store = KubernetesStore(place.client, place.namespace, events=events)
        await store.write(HOST, connected("False", "LoginRefused"))
        await place.told(1)
        await store.write(HOST, connected("True", "LoggedOn"))
        await place.told(2)
        await store.write(HOST, connected("False", "Unreachable"))
        await store.write(HOST, APPLIED)
        await place.told(3)
    assert await place.reasons() == ["LoginRefused", "LoggedOn", "DeletionHeld"]


async def test_what_mends_itself_is_told_of_when_it_lasts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcenter_operator.common.record.notices.LASTING", 2.0)
    monkeypatch.setattr(records, "LASTING", 2.0)
    shown = Condition(type="Connected", status="False", reason="Unreachable", message="connection refused")
    lasting = COLLECTED.model_copy(update={"conditions": (shown,)})
    async with KubernetesEvents(place.client) as events:
        store = KubernetesStore(place.client, place.namespace, events=events)
        await store.write(HOST, lasting)
        reworded = shown.model_copy(update={"message": "no route"})
        await store.write(HOST, lasting.model_copy(update={"conditions": (reworded,)}))
        (event,) = await place.told(1)
    assert event["reason"] == "Unreachable"
    assert event["note"].endswith("no route")
