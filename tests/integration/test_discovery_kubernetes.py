"""The discovery on a real API server and a real DNS server: the Service and the Secret followed, the record kept."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from tests.fakes.discovery import Scene, TransferThread, becomes
from tests.records import COLLECTED
from tests.requests import requests_of
from tests.stack.errors import StackError
from vcenter_operator.common.kubernetes.api import Resource
from vcenter_operator.common.kubernetes.platform import open_platform
from vcenter_operator.common.kubernetes.record import KubernetesStore
from vcenter_operator.common.kubernetes.watching import Watcher
from vcenter_operator.common.labels import GROUP
from vcenter_operator.common.platform import Platform
from vcenter_operator.discovery.adapters.dns import DnsZone
from vcenter_operator.discovery.adapters.kubernetes import SELECTOR, ServiceFinder
from vcenter_operator.discovery.ports import Access, Finder, Server
from vcenter_operator.discovery.service import DiscoveryService
from vcenter_operator.discovery.settings import DiscoverySettings
from vcenter_operator.discovery.wiring import on_kubernetes

if TYPE_CHECKING:
    from tests.stack import Stack
    from tests.stack.dns import Knot
    from tests.stack.kubernetes import Kubernetes

pytestmark = pytest.mark.needs("dns", "kubernetes", control=True)

_VCENTERS = "/apis/vcenter-operator.stable.sap.cc/v1/namespaces/{}/vcenters/{}"
_MERGE = "application/merge-patch+json"


class Cluster:
    """The namespace of one test."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, zone: Knot) -> None:
        self.kubernetes = kubernetes
        self.namespace = namespace
        self.zone = zone

    def settings(self, **changes: float) -> DiscoverySettings:
        quick = {"dns_poll_every": 0.2, "dns_timeout": 1.0, "dns_retry_longest": 0.5, "zone_confirm_after": 0.5}
        quick |= {"zone_set_back_after": 0.5, **changes}
        return DiscoverySettings.load(namespace=self.namespace, service_domain=self.zone.zone, **quick)

    def secret(self, **changes: str | None) -> None:
        """The Secret; None takes a key out."""
        values: dict[str, str | None] = {
            "namespace": self.namespace,
            "username": "vcenter-operator",
            "password": "a seed",
            "tsig_key": self.zone.tsig_key,
            **changes,
        }
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items() if value is not None}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vcenter-operator"}, "data": data}
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        try:
            self.kubernetes.request("PUT", f"{path}/vcenter-operator", body)
        except StackError:
            self.kubernetes.request("POST", path, body)

    def service(self, address: str, port: int) -> None:
        """The DNS server's Service, at this external IP and port."""
        path = f"/api/v1/namespaces/{self.namespace}/services"
        ports = [{"name": "dns", "port": port, "protocol": "UDP"}, {"name": "dns-tcp", "port": port, "protocol": "TCP"}]
        labels = {"component": "mdns", "type": "backend"}
        spec = {"externalIPs": [address], "ports": ports}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mdns", "labels": labels}, "spec": spec}
        try:
            self.kubernetes.request("POST", path, body)
        except StackError:
            self.kubernetes.request("PATCH", f"{path}/mdns", {"spec": spec}, content_type=_MERGE)

    def remove_service(self) -> None:
        self.kubernetes.request("DELETE", f"/api/v1/namespaces/{self.namespace}/services/mdns")

    def status(self, label: str) -> dict[str, Any]:
        """The status of a VCenter; empty: there is none."""
        try:
            found = self.kubernetes.request("GET", _VCENTERS.format(self.namespace, f"{label}.{self.zone.zone}"))
        except StackError as error:
            if "404" not in str(error):
                raise
            return {}
        return dict(found.get("status") or {})

    def condition(self, label: str) -> tuple[str, str]:
        """Status and reason of the condition Discovered."""
        found = self._discovered(label)
        return found["status"], found["reason"]

    def message(self, label: str) -> str:
        """The message of the condition Discovered."""
        return self._discovered(label)["message"]

    def annotate(self, label: str, **annotations: str) -> None:
        """What a person says on a VCenter."""
        metadata = {"annotations": {f"{GROUP}/{name}": value for name, value in annotations.items()}}
        path = _VCENTERS.format(self.namespace, f"{label}.{self.zone.zone}")
        self.kubernetes.request("PATCH", path, {"metadata": metadata}, content_type=_MERGE)

    def _discovered(self, label: str) -> dict[str, str]:
        for condition in self.status(label).get("conditions", ()):
            if condition["type"] == "Discovered":
                return dict(condition)
        return {"status": "", "reason": "", "message": ""}


@pytest.fixture
def cluster(kubernetes: Kubernetes, namespace: str, zone: Knot, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    return Cluster(kubernetes, namespace, zone)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    async with made.listening():
        yield made


class Routed:
    """Stands for the network: Services cannot have loopback addresses, the servers of the tests have no others."""

    def __init__(self, finder: Finder, routes: dict[str, Server]) -> None:
        self._finder = finder
        self._routes = routes

    @property
    def access(self) -> Access | None:
        return self._finder.access

    async def find(self) -> Access:
        access = await self._finder.find()
        return Access(self._routes[access.server.address], access.tsig_key)

    async def changed(self) -> None:
        await self._finder.changed()


@asynccontextmanager
async def running(service: DiscoveryService) -> AsyncIterator[None]:
    task = asyncio.create_task(service.run())
    try:
        yield
        assert not task.done(), "the discovery ended by itself"
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def by_service(platform: Platform, settings: DiscoverySettings, routes: dict[str, Server]) -> AsyncIterator[None]:
    """The discovery as it is wired for Kubernetes, but for the network in between."""
    client = platform.kubernetes
    assert client is not None
    finder = ServiceFinder(
        platform.configuration,
        lambda namespace: Watcher(client, Resource("", "v1", "services", namespace, SELECTOR)),
        incluster=False,
    )
    domain = platform.surroundings.domain
    zone = DnsZone(domain, Routed(finder, routes), TransferThread(), timeout=1.0, transfer_timeout=5.0)
    service = DiscoveryService(bus=platform.bus, store=platform.store, zone=zone, domain=domain, settings=settings)
    following = asyncio.create_task(finder.run())
    try:
        async with running(service):
            yield
    finally:
        following.cancel()
        await asyncio.wait([following])


async def test_the_server_is_found_again_when_its_service_moves(cluster: Cluster, scene: Scene, stack: Stack) -> None:
    zone = cluster.zone
    zone.add("vc-a-0", "A", "10.0.0.1")
    other = stack.start_dns(address="127.0.0.2", key=zone.key, serial=1)
    other.add("vc-a-0", "A", "10.0.0.1")
    other.add("vc-b-0", "A", "10.0.0.2")
    routes = {"192.0.2.1": Server(zone.address, zone.port), "192.0.2.2": Server(other.address, other.port)}
    settings = cluster.settings()
    cluster.secret()
    cluster.service("192.0.2.1", 53)
    async with AsyncExitStack() as exit_stack:
        platform = await exit_stack.enter_async_context(open_platform(settings, bus=scene.bus()))
        await exit_stack.enter_async_context(by_service(platform, settings, routes))
        await becomes(lambda: scene.told() == {"vc-a-0": True}, "stated", within=20)

        zone.kill()
        cluster.service("192.0.2.2", 53)
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": True}, "found at its new address", within=20)
        assert len(scene.of("vc-a-0")) == 1

        with capture_logs() as logs:

            def lost() -> list[Any]:
                return [entry for entry in logs if entry.get("reason") == "ServerNotFound"]

            cluster.remove_service()
            await becomes(lambda: bool(lost()), "the loss noticed", within=20)
            other.add("vc-c-0", "A", "10.0.0.3")
            await becomes(lambda: len(lost()) >= 3, "looked for again, twice", within=20)
        assert scene.told() == {"vc-a-0": True, "vc-b-0": True}, "without a Service what was known stays"
        cluster.service("192.0.2.2", 53)
        await becomes(lambda: "vc-c-0" in scene.told(), "found again", within=20)
    stack.discard(other)


async def test_the_record_is_in_the_cluster_and_outlives_the_discovery(cluster: Cluster, scene: Scene) -> None:
    zone = cluster.zone
    settings = cluster.settings()
    cluster.secret(dns_ip=zone.address, dns_port=str(zone.port))
    zone.add("vc-a-0", "A", "10.0.0.1")
    zone.add("vc-b-0", "A", "10.0.0.2")
    async with (
        open_platform(settings, bus=scene.bus()) as platform,
        on_kubernetes(settings, platform) as service,
        running(service),
    ):
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": True}, "both stated", within=20)
        status = cluster.status("vc-a-0")
        assert status["discovery"]["present"] is True
        assert status["discovery"]["addresses"] == ["10.0.0.1"]
        assert cluster.condition("vc-a-0") == ("True", "InZone")
    zone.remove("vc-b-0")
    async with (
        open_platform(settings, bus=scene.bus()) as platform,
        on_kubernetes(settings, platform) as service,
        running(service),
    ):
        await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": False}, "gone meanwhile", within=20)
        assert cluster.status("vc-b-0")["discovery"]["present"] is False
        assert cluster.condition("vc-b-0") == ("False", "NotInZone")


async def test_the_secret_is_followed(cluster: Cluster, scene: Scene, stack: Stack) -> None:
    zone = cluster.zone
    zone.add("vc-a-0", "A", "10.0.0.1")
    other = stack.start_dns(key=zone.key)
    other.add("vc-a-0", "A", "10.0.0.1")
    other.add("vc-b-0", "A", "10.0.0.2")
    wrong = base64.b64encode(b"not the server's key").decode()
    cluster.secret(dns_ip=zone.address, dns_port=str(zone.port), tsig_key=wrong)
    settings = cluster.settings(dns_retry_longest=3600.0, dns_poll_every=3600.0)
    with capture_logs() as logs:
        async with (
            open_platform(settings, bus=scene.bus()) as platform,
            on_kubernetes(settings, platform) as service,
            running(service),
        ):
            await becomes(lambda: any(e.get("reason") == "SignatureRejected" for e in logs), "refused", within=20)
            assert scene.heard == []
            cluster.secret(dns_ip=zone.address, dns_port=str(zone.port))
            await becomes(lambda: scene.told() == {"vc-a-0": True}, "the mended key", within=20)
            cluster.secret(dns_ip=other.address, dns_port=str(other.port))
            await becomes(lambda: scene.told() == {"vc-a-0": True, "vc-b-0": True}, "the other server", within=20)
    stack.discard(other)


async def test_one_write_to_the_record_precedes_each_statement_and_idling_asks_nothing(
    cluster: Cluster, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the other stages write to the same resource all the time."""
    zone = cluster.zone
    settings = cluster.settings(repeat_every=0.2)
    cluster.secret(dns_ip=zone.address, dns_port=str(zone.port))
    zone.add("vc-a-0", "A", "10.0.0.1")
    async with (
        open_platform(settings, bus=scene.bus()) as platform,
        on_kubernetes(settings, platform) as service,
        running(service),
    ):
        assert platform.kubernetes is not None
        await becomes(lambda: scene.told() == {"vc-a-0": True}, "stated", within=20)
        host = scene.heard[0].host
        written = await KubernetesStore(platform.kubernetes, cluster.namespace).write(host, COLLECTED)
        async with asyncio.timeout(20):
            while await platform.store.get(host, fresh=False) != written:
                await asyncio.sleep(0.01)
        seen = requests_of(platform.kubernetes, monkeypatch)
        zone.add("vc-a-0", "A", "10.0.0.9")
        both = ("10.0.0.1", "10.0.0.9")
        await becomes(lambda: scene.of("vc-a-0")[-1].addresses == both, "the change stated", within=20)
        assert set(seen) == {("PATCH", f"{host}/status")}
        seen.clear()
        said = len(scene.heard)
        await becomes(lambda: len(scene.heard) > said + 3, "said again, three times", within=20)
        assert seen == []


async def test_a_person_has_a_held_zone_believed(cluster: Cluster, scene: Scene) -> None:
    """As the condition says how."""
    zone = cluster.zone
    settings = cluster.settings(zone_confirm_after=3600.0)
    cluster.secret(dns_ip=zone.address, dns_port=str(zone.port))
    for number in range(3):
        zone.add(f"vc-a-{number}", "A", "10.0.0.1")
    async with (
        open_platform(settings, bus=scene.bus()) as platform,
        on_kubernetes(settings, platform) as service,
        running(service),
    ):
        await becomes(lambda: len(scene.told()) == 3, "three stated", within=20)
        zone.clear()
        await becomes(lambda: cluster.condition("vc-a-0") == ("Unknown", "ZoneHeld"), "held", within=20)
        (annotation,) = re.findall(r"annotation (\S+) ", cluster.message("vc-a-0"))
        name, _, word = annotation.removeprefix(f"{GROUP}/").partition("=")
        cluster.annotate("vc-a-1", **{name: word})
        await becomes(lambda: set(scene.told().values()) == {False}, "believed", within=20)
        await becomes(lambda: cluster.condition("vc-a-0") == ("False", "NotInZone"), "as one can see", within=20)
