"""The discovery as processes over RabbitMQ: killed in the middle, taken over by the next, stopped while DNS hangs."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.processes import Service
from tests.stack.errors import StackError
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.stack.dns import Knot
    from tests.stack.kubernetes import Kubernetes

pytestmark = pytest.mark.needs("rabbitmq", "dns", "kubernetes", control=True)


class Installation:
    """A namespace with the Secret, and replicas of the discovery."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, zone: Knot, amqp_url: str, folder: Path) -> None:
        self.kubernetes = kubernetes
        self.namespace = namespace
        self.zone = zone
        self.environment = {
            "KUBECONFIG": str(kubernetes.kubeconfig),
            "SERVICE_DOMAIN": zone.zone,
            "VCENTER_OPERATOR_BUS": amqp_url,
            "VCENTER_OPERATOR_NAMESPACE": namespace,
            "VCENTER_OPERATOR_HEARTBEAT": "2",
            "VCENTER_OPERATOR_DNS_POLL_EVERY": "0.2",
            "VCENTER_OPERATOR_DNS_TIMEOUT": "1",
            "VCENTER_OPERATOR_ZONE_CONFIRM_AFTER": "0.5",
            "VCENTER_OPERATOR_LOG_FORMAT": "json",
        }
        self._folder = folder
        self.replicas: list[Service] = []
        values = {
            "namespace": namespace,
            "username": "vcenter-operator",
            "password": "a seed",
            "tsig_key": zone.tsig_key,
            "dns_ip": zone.address,
            "dns_port": str(zone.port),
        }
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vcenter-operator"}, "data": data}
        kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/secrets", body)

    def start(self) -> Service:
        replica = Service("discovery", len(self.replicas), self.environment, self._folder)
        self.replicas.append(replica)
        replica.start()
        return replica

    def present(self) -> dict[str, bool]:
        """First label to present, by the record."""
        return {label: section["present"] for label, section in self._sections().items()}

    def epoch(self, label: str) -> int:
        return int(self._sections()[label]["revision"].split(".")[0])

    def becomes(self, present: dict[str, bool]) -> None:
        eventually(lambda: self.present() == present, str(present), within=30, otherwise=self._logs)

    def _sections(self) -> dict[str, dict[str, Any]]:
        try:
            path = f"/apis/vcenter-operator.stable.sap.cc/v1/namespaces/{self.namespace}/vcenters"
            items = self.kubernetes.request("GET", path)["items"]
        except StackError:
            return {}  # the kind is not there yet
        return {
            item["metadata"]["name"].split(".")[0]: item["status"]["discovery"]
            for item in items
            if "discovery" in item.get("status", {})
        }

    def _logs(self) -> str:
        return "\n".join(replica.log.read_text()[-3000:] for replica in self.replicas)


@pytest.fixture
def installation(
    kubernetes: Kubernetes, namespace: str, zone: Knot, amqp_url: str, tmp_path: Path
) -> Iterator[Installation]:
    made = Installation(kubernetes, namespace, zone, amqp_url, tmp_path)
    yield made
    for replica in made.replicas:
        if replica.running:
            replica.resume()
            replica.kill()


def test_killed_and_started_again_it_deals_with_what_went_meanwhile(installation: Installation) -> None:
    zone = installation.zone
    zone.add("vc-a-0", "A", "10.0.0.1")
    zone.add("vc-b-0", "A", "10.0.0.2")
    first = installation.start()
    installation.becomes({"vc-a-0": True, "vc-b-0": True})
    first.kill()
    zone.remove("vc-b-0")
    zone.add("vc-c-0", "A", "10.0.0.3")
    installation.start()
    installation.becomes({"vc-a-0": True, "vc-b-0": False, "vc-c-0": True})
    assert installation.epoch("vc-a-0") == 2


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_second_replica_takes_over_and_one_that_wakes_up_changes_nothing(
    installation: Installation, fault: str
) -> None:
    zone = installation.zone
    zone.add("vc-a-0", "A", "10.0.0.1")
    owner = installation.start()
    installation.becomes({"vc-a-0": True})
    standby = installation.start()
    eventually(lambda: '"started"' in standby.log.read_text(), "the second replica stands by")
    assert installation.epoch("vc-a-0") == 1
    getattr(owner, fault)()
    zone.add("vc-b-0", "A", "10.0.0.2")
    installation.becomes({"vc-a-0": True, "vc-b-0": True})
    assert installation.epoch("vc-b-0") == installation.epoch("vc-a-0") == 2
    if fault == "pause":
        owner.resume()
        zone.add("vc-c-0", "A", "10.0.0.3")
        installation.becomes({"vc-a-0": True, "vc-b-0": True, "vc-c-0": True})
        assert installation.epoch("vc-c-0") == installation.epoch("vc-a-0") >= 2
        assert owner.running


def test_it_stops_when_told_although_the_server_hangs(installation: Installation) -> None:
    installation.zone.add("vc-a-0", "A", "10.0.0.1")
    replica = installation.start()
    installation.becomes({"vc-a-0": True})
    with installation.zone.paused():
        eventually(lambda: "cannot be read" in replica.log.read_text(), "the hang noticed")
        assert replica.stop(within=5) == 0
