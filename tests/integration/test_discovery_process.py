"""The discovery as processes over RabbitMQ: killed in the middle, taken over by the next, stopped while DNS hangs;

and told by NOTIFY, whichever replica that reaches.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.query
import dns.rcode
import dns.tsig
import pytest

from tests.e2e.processes import Service
from tests.fakes.dns import OTHER_KEY, notify
from tests.ports import free_port
from tests.stack.errors import StackError
from tests.waiting import eventually
from vcenter_operator.discovery.adapters.soa import signing_key

if TYPE_CHECKING:
    from tests.stack import Stack
    from tests.stack.dns import Knot
    from tests.stack.kubernetes import Kubernetes
    from tests.stack.zones import NameServer

pytestmark = pytest.mark.needs("rabbitmq", "dns", "kubernetes", control=True)


QUICK = {
    "VCENTER_OPERATOR_HEARTBEAT": "2",
    "VCENTER_OPERATOR_DNS_POLL_EVERY": "0.2",
    "VCENTER_OPERATOR_DNS_TIMEOUT": "1",
    "VCENTER_OPERATOR_ZONE_CONFIRM_AFTER": "0.5",
}
"""What tests need not wait for."""


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
            "VCENTER_OPERATOR_LOG_FORMAT": "json",
            **QUICK,
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

    def start(self, *arguments: str, **settings: str) -> Service:
        environment = self.environment | {f"VCENTER_OPERATOR_{name}": value for name, value in settings.items()}
        replica = Service("discovery", len(self.replicas), environment, self._folder, arguments)
        self.replicas.append(replica)
        replica.start()
        return replica

    def present(self) -> dict[str, bool]:
        """First label to present, by the record."""
        return {label: section["present"] for label, section in self._sections().items()}

    def epoch(self, label: str) -> int:
        return int(self._sections()[label]["revision"].split(".")[0])

    def point_to(self, server: NameServer) -> None:
        """Another DNS server in the Secret."""
        self._patch({"dns_ip": server.address, "dns_port": str(server.port), "tsig_key": server.tsig_key})

    def rotate(self, tsig_key: str) -> None:
        """Another key in the Secret."""
        self._patch({"tsig_key": tsig_key})

    def _patch(self, values: dict[str, str]) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        path = f"/api/v1/namespaces/{self.namespace}/secrets/vcenter-operator"
        self.kubernetes.request("PATCH", path, {"data": data}, content_type="application/merge-patch+json")

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


def test_an_owner_that_is_killed_is_replaced_within_seconds_by_default(installation: Installation) -> None:
    """By the broker, which sees the connection end: no heartbeat has to fail, nothing is polled."""
    for name in QUICK:
        del installation.environment[name]
    installation.zone.add("vc-a-0", "A", "10.0.0.1")
    owner = installation.start()
    installation.becomes({"vc-a-0": True})
    standby = installation.start()
    eventually(lambda: '"started"' in standby.log.read_text(), "the second replica stands by")
    owner.kill()
    eventually(lambda: installation.epoch("vc-a-0") == 2, "taken over", within=5, otherwise=installation._logs)


def test_it_stops_when_told_although_the_server_hangs(installation: Installation) -> None:
    installation.zone.add("vc-a-0", "A", "10.0.0.1")
    replica = installation.start()
    installation.becomes({"vc-a-0": True})
    with installation.zone.paused():
        eventually(lambda: "cannot be read" in replica.log.read_text(), "the hang noticed")
        assert replica.stop(within=5) == 0


def send_notify(zone: Knot, port: int, secret: str, transport: str = "udp") -> str:
    """The rcode that a NOTIFY signed with the key is answered with."""
    ask = dns.query.udp if transport == "udp" else dns.query.tcp
    request = notify(zone.zone, signing_key(secret))
    try:
        response = ask(request, "127.0.0.1", timeout=10, port=port)
    except dns.tsig.PeerError as error:
        return type(error).__name__
    return dns.rcode.to_text(response.rcode())


def test_a_notify_to_either_replica_reaches_the_owner_and_the_next_one(installation: Installation) -> None:
    """As from a Service that hands each NOTIFY to any of them; nothing is polled meanwhile."""
    zone = installation.zone
    zone.add("vc-a-0", "A", "10.0.0.1")
    ports = [free_port("127.0.0.1") for _ in range(2)]
    replicas = []
    for port in ports:
        replicas.append(installation.start(DNS_POLL_EVERY="3600", NOTIFY_PORT=str(port), NOTIFY_ADDRESS="127.0.0.1"))
        eventually(lambda: '"started"' in replicas[-1].log.read_text(), "started")
        installation.becomes({"vc-a-0": True})
    listed = {"vc-a-0": True}
    for number, (port, transport) in enumerate(itertools.product(ports, ("udp", "tcp"))):
        zone.add(f"vc-b-{number}", "A", "10.0.0.2")
        listed[f"vc-b-{number}"] = True
        assert send_notify(zone, port, zone.tsig_key, transport) == "NOERROR"
        installation.becomes(listed)
    assert {installation.epoch(label) for label in listed} == {1}

    owner, standby = replicas
    owner.kill()
    eventually(lambda: installation.epoch("vc-a-0") == 2, "taken over", within=20, otherwise=installation._logs)
    zone.add("vc-c-0", "A", "10.0.0.3")
    assert send_notify(zone, ports[1], zone.tsig_key) == "NOERROR"
    installation.becomes(listed | {"vc-c-0": True})
    assert standby.running


@pytest.mark.needs("bind")
@pytest.mark.parametrize("start", ["start_dns", "start_bind"])
def test_the_server_itself_notifies_a_replica(installation: Installation, stack: Stack, start: str) -> None:
    """Signed with the key: Knot over TCP, BIND over UDP."""
    port = free_port("127.0.0.1")
    server: NameServer = getattr(stack, start)(key=installation.zone.key, notify=("127.0.0.1", port))
    installation.point_to(server)
    server.add("vc-a-0", "A", "10.0.0.1")
    replica = installation.start(DNS_POLL_EVERY="3600", NOTIFY_PORT=str(port))
    installation.becomes({"vc-a-0": True})
    server.add("vc-b-0", "A", "10.0.0.2")
    installation.becomes({"vc-a-0": True, "vc-b-0": True})
    server.remove("vc-a-0")
    installation.becomes({"vc-a-0": False, "vc-b-0": True})
    assert "does not count" not in replica.log.read_text()
    stack.discard(server)


def test_the_key_for_notify_follows_the_secret_and_an_unsigned_one_is_refused(installation: Installation) -> None:
    zone = installation.zone
    zone.add("vc-a-0", "A", "10.0.0.1")
    port = free_port("127.0.0.1")
    replica = installation.start(NOTIFY_PORT=str(port))
    installation.becomes({"vc-a-0": True})
    unsigned = dns.query.udp(notify(zone.zone, None), "127.0.0.1", timeout=10, port=port)
    assert unsigned.rcode() == dns.rcode.REFUSED
    assert send_notify(zone, port, OTHER_KEY) == "PeerBadSignature"
    installation.rotate(OTHER_KEY)
    eventually(lambda: send_notify(zone, port, OTHER_KEY) == "NOERROR", "the new key counts", within=30)
    assert send_notify(zone, port, zone.tsig_key) == "PeerBadSignature"
    log = replica.log.read_text()
    assert "not signed, although a key is set" in log
    assert zone.tsig_key not in log
    assert OTHER_KEY not in log


def test_a_port_that_is_taken_ends_it_with_one_line_and_a_dry_run_needs_none(installation: Installation) -> None:
    installation.zone.add("vc-a-0", "A", "10.0.0.1")
    port = free_port("127.0.0.1")
    first = installation.start(NOTIFY_PORT=str(port))
    installation.becomes({"vc-a-0": True})
    second = installation.start(NOTIFY_PORT=str(port))
    assert second.process.wait(60) == 2
    last = second.log.read_text().strip().splitlines()[-1]
    assert last.startswith("vcenter-operator: VCENTER_OPERATOR_NOTIFY_PORT: cannot listen on every address")
    assert f"port {port}" in last
    dry = installation.start("--dry-run", NOTIFY_PORT=str(port))
    eventually(lambda: '"started"' in dry.log.read_text(), "a dry run beside it")
    assert first.running
    assert dry.running
