"""The applier stage against a real API server, each test in a namespace and with an operator's record of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from kubernetes_asyncio.client import ApiClient

from tests.unit.applier import given
from tests.unit.applier.given import HOST
from tests.unit.applier.stage import Listening, Secrets
from vcenter_operator.applier.core.decisions import Plan
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.service import ApplierService
from vcenter_operator.applier.settings import ApplierSettings
from vcenter_operator.applier.wiring import on_kubernetes
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.crds import VCENTERS
from vcenter_operator.common.kubernetes.record import KubernetesStore
from vcenter_operator.common.messages import ManifestDelta, Stage
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.record.overlay import Overlay
from vcenter_operator.common.record.port import Condition
from vcenter_operator.common.surroundings import Surroundings

TESTER = "somebody-else"
RESOURCES = {
    "Secret": Resource("", "v1", "secrets"),
    "ConfigMap": Resource("", "v1", "configmaps"),
    "Service": Resource("", "v1", "services"),
    "Deployment": Resource("apps", "v1", "deployments"),
}


class Region:
    """A namespace of the cluster, which is the operator's own, and a bus; stages come and go on it."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.client = client
        self.api = Api(client)
        self.namespace = namespace
        self.store = KubernetesStore(client, namespace)
        self.broker = Broker(Topology(partitions=1))
        self.epochs = FolderEpochs(None)
        self.renderer = Listening()
        self.plans: list[tuple[str, Plan, Outcome]] = []

    # -- what is stated

    def id(self, kind: str, name: str, namespace: str | None = None) -> ObjectId:
        return ObjectId("apps" if kind == "Deployment" else "", kind, namespace or self.namespace, name)

    def config_map(self, name: str, host: str = HOST, **more: Any) -> dict[str, Any]:
        data = more.pop("data", {"key": "value"})
        object_id = self.id("ConfigMap", name, more.pop("namespace", None))
        return given.manifest(object_id, host, own=self.namespace, data=data, **more)

    def secret(self, name: str, host: str = HOST, **more: Any) -> dict[str, Any]:
        return given.manifest(self.id("Secret", name), host, own=self.namespace, data={"key": "dg=="}, **more)

    def deployment(self, name: str, host: str = HOST, **more: Any) -> dict[str, Any]:
        container = {"name": "agent", "image": more.pop("image", "agent:1"), "env": more.pop("env", [])}
        labels = {"app": more.pop("app", name)}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        return given.manifest(self.id("Deployment", name), host, own=self.namespace, spec=spec, **more)

    async def state(self, *deltas: ManifestDelta) -> None:
        for one in deltas:
            await self._bus().publish(one)

    # -- the stage

    def _bus(self) -> InProcessBus:
        return InProcessBus(self.broker, self.epochs, delays=RetryDelays(first=0.05, longest=0.3), stop_within=2.0)

    @asynccontextmanager
    async def applier(
        self, *, dry_run: bool = False, spy: Callable[[ApplierService], None] = lambda _: None, **settings: Any
    ) -> AsyncIterator[ApplierService]:
        bus = self._bus()
        self.renderer.bus = bus
        platform = Platform(
            bus=bus,
            store=Overlay(self.store) if dry_run else self.store,
            configuration=Secrets(),
            surroundings=Surroundings(self.namespace, "qa-de-1", "cc.qa-de-1.cloud.sap", incluster=False),
            dry_run=dry_run,
            kubernetes=self.client,
        )
        loaded = ApplierSettings.load(**settings)
        async with on_kubernetes(loaded, platform, on_plan=lambda *made: self.plans.append(made)) as service:
            spy(service)
            tasks = [
                asyncio.create_task(service.run()),
                asyncio.create_task(bus.serve(Stage.RENDERER, self.renderer)),
            ]
            try:
                yield service
                for task in tasks:
                    assert not task.done(), task
            finally:
                await bus.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    # -- what is there

    def path(self, kind: str, name: str, namespace: str | None = None) -> str:
        return RESOURCES[kind].path(name, namespace=namespace or self.namespace)

    async def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        return await self.api.get(self.path(kind, name, namespace))

    async def there(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        found = await self.get(kind, name, namespace)
        assert found is not None, f"{kind} {name} is not there"
        return found

    async def names(self, kind: str) -> set[str]:
        listing = await self.api.list(RESOURCES[kind].path(namespace=self.namespace))
        return {item["metadata"]["name"] for item in listing.items}

    async def versions(self) -> dict[str, str]:
        """The resourceVersion of everything in the namespace that the applier might write."""
        found: dict[str, str] = {}
        for kind, resource in {**RESOURCES, "VCenter": VCENTERS}.items():
            for item in (await self.api.list(resource.path(namespace=self.namespace))).items:
                found[f"{kind} {item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
        return found

    async def parent(self, host: str = HOST) -> dict[str, Any]:
        found = await self.api.get(VCENTERS.path(host, namespace=self.namespace))
        assert found is not None
        metadata: dict[str, Any] = found["metadata"]
        return metadata

    async def condition(self, host: str = HOST, kind: str = "Applied") -> Condition | None:
        record = await self.store.get(host)
        found = record.applied.conditions if record and record.applied else ()
        return next((one for one in found if one.type == kind), None)

    async def shows(self, reason: str, host: str = HOST, kind: str = "Applied", within: float = 20.0) -> Condition:
        """Waits until the record shows a condition with this reason."""
        deadline = time.monotonic() + within
        while True:
            condition = await self.condition(host, kind)
            if condition is not None and condition.reason == reason:
                return condition
            assert time.monotonic() < deadline, f"{kind} is {condition}, not {reason}"
            await asyncio.sleep(0.02)

    async def planned(self, count: int) -> tuple[str, Plan, Outcome]:
        """Waits until so many plans were told; the last of them."""
        deadline = time.monotonic() + 20
        while len(self.plans) < count:
            assert time.monotonic() < deadline, f"{len(self.plans)} plans, not {count}"
            await asyncio.sleep(0.02)
        return self.plans[count - 1]

    async def told(self, host: str) -> Outcome:
        """Waits until a plan for this vCenter was told; what came of it."""
        deadline = time.monotonic() + 20
        while not (found := [outcome for seen, _, outcome in self.plans if seen == host]):
            assert time.monotonic() < deadline, f"no plan for {host}"
            await asyncio.sleep(0.02)
        return found[0]
