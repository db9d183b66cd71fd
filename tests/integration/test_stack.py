"""The test stack itself: each server starts, serves, survives a kill, and the inventory is built as asked."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aio_pika
import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
import dns.zone
import pytest

from tests.stack import Stack, StackError
from tests.stack.dns import Knot
from tests.stack.kubernetes import Kubernetes
from tests.stack.process import members, until
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.vcsim import Vcsim
from tests.stack.zones import Key

ours = pytest.mark.needs(control=True)  # what an endpoint given from outside cannot show
FQDN = "vc-a-0.cc.qa-de-1.cloud.sap"
pyvmomi: Any = importlib.import_module("pyVmomi")
vim, vmodl = pyvmomi.vim, pyvmomi.vmodl


async def test_the_fixtures_serve(amqp_url: str, zone: Knot, kubernetes: Kubernetes, namespace: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        await channel.declare_queue("served", exclusive=True)
    before = zone.serial()
    zone.add("vc-a-0", "A", "127.0.0.11")
    assert zone.serial() == before + 1
    zone.clear()
    assert {name for name, _, _ in zone.records()} <= {"@", "ns"}
    assert kubernetes.request("GET", f"/api/v1/namespaces/{namespace}")["metadata"]["name"] == namespace


@ours
async def test_rabbitmq_keeps_what_it_confirmed_over_a_kill(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"truth"), "kept")
        rabbitmq.kill()
    assert not rabbitmq.running
    rabbitmq.start()
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        queue = await channel.declare_queue("kept", passive=True)
        message = await queue.get(timeout=20)
        assert message.body == b"truth"
        await message.ack()


@ours
async def test_rabbitmq_has_streams_and_tls(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        await channel.declare_queue("archive", durable=True, arguments={"x-queue-type": "stream"})
    trusting = ssl.create_default_context(cafile=str(rabbitmq.ca))
    async with await aio_pika.connect(str(rabbitmq.tls_url), ssl_context=trusting):
        pass
    assert "vcenter-operator" in rabbitmq.rabbitmqctl("list_users")


@ours
def test_two_rabbitmqs_run_side_by_side(stack: Stack, rabbitmq: RabbitMQ) -> None:
    other = stack.start_rabbitmq()
    try:
        assert other.rabbitmqctl("list_vhosts") != ""
        assert other.url != rabbitmq.url
    finally:
        stack.discard(other)


@ours
def test_a_paused_server_takes_connections_and_answers_nothing(zone: Knot) -> None:
    with zone.paused():
        query = dns.message.make_query(zone.zone, "SOA")
        with pytest.raises(dns.exception.Timeout):
            dns.query.tcp(query, zone.address, port=zone.port, timeout=0.3)
    assert zone.serial() > 0


@ours
def test_the_zone_takes_signed_updates_and_keeps_them_over_a_kill(zone: Knot) -> None:
    before = zone.serial()
    zone.add("vc-a-0", "A", "127.0.0.11")
    zone.add("vc-b-0", "CNAME", "vc-a-0")
    zone.remove("vc-b-0")
    assert zone.serial() == before + 3
    zone.kill()
    zone.start()
    assert zone.serial() == before + 3
    assert ("vc-a-0", "A", "127.0.0.11") in zone.records()
    assert not [name for name, _, _ in zone.records() if name == "vc-b-0"]


def test_the_zone_refuses_what_is_not_signed_with_its_key(zone: Knot) -> None:
    update = dns.update.UpdateMessage(zone.zone)
    update.add("evil", 60, "A", "127.0.0.66")
    answer = dns.query.tcp(update, zone.address, port=zone.port, timeout=5)
    assert answer.rcode() in {dns.rcode.REFUSED, dns.rcode.NOTAUTH}
    with pytest.raises(dns.exception.DNSException):
        dns.query.inbound_xfr(zone.address, dns.zone.Zone(zone.zone), port=zone.port, timeout=5)


@ours
def test_the_zone_notifies_over_tcp(stack: Stack) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(20)
        knot = stack.start_dns(notify=listener.getsockname(), serial=41)
        try:
            assert knot.serial() == 41
            connection, _ = listener.accept()
            with connection:
                length = int.from_bytes(connection.recv(2), "big")
                keyring = dns.tsigkeyring.from_text({knot.key.name: knot.key.secret})
                message = dns.message.from_wire(connection.recv(length), keyring=keyring)
            assert message.opcode() == dns.opcode.NOTIFY
            assert message.had_tsig
        finally:
            stack.discard(knot)


@pytest.fixture
def vcsim(vcsim_factory: Callable[..., Vcsim]) -> Vcsim:
    server = vcsim_factory(FQDN, password="secret", username="operator")
    server.add_datacenter("QA-DE-1A", folder="region/site")
    server.add_cluster("QA-DE-1A", "productionbb001", ["eph01_hga", "eph02_hgb", "nfs"], ["br-b", "x", "br-a"], hosts=2)
    server.add_cluster("QA-DE-1A", "storagebb002", ["eph01_hga"], ["br-b"])
    return server


@pytest.fixture
def account(vcsim: Vcsim) -> Iterator[Callable[[], Any]]:
    """Logs in as the operator's account does, with the name in the certificate checked."""
    stubs: list[Any] = []

    def login(password: str | None = None) -> Any:
        stub = pyvmomi.SoapStubAdapter(
            host=vcsim.address, port=vcsim.port, version="vim.version.version9",
            sslContext=ssl._create_unverified_context(),
        )  # fmt: skip
        stubs.append(stub)
        content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        content.sessionManager.Login(userName=vcsim.username, password=password or vcsim.password)
        return content

    yield login
    for stub in stubs:
        stub.DropConnections()


def _clusters(content: Any) -> dict[str, Any]:
    """Id to what one RetrievePropertiesEx tells of each cluster, the way the collector asks."""
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.ClusterComputeResource], True)
    pc = vmodl.query.PropertyCollector
    traversal = pc.TraversalSpec(name="view", path="view", skip=False, type=vim.view.ContainerView)
    spec = pc.FilterSpec(
        objectSet=[pc.ObjectSpec(obj=view, skip=True, selectSet=[traversal])],
        propSet=[pc.PropertySpec(type=vim.ClusterComputeResource, pathSet=["name", "datastore", "network"])],
    )
    found = content.propertyCollector.RetrievePropertiesEx([spec], pc.RetrieveOptions())
    view.Destroy()
    return {each.obj._moId: each for each in (found.objects if found else [])}


@ours
def test_the_inventory_is_built_as_asked(vcsim: Vcsim) -> None:
    assert vcsim.networks("productionbb001")[2:] == ["br-b", "x", "br-a"]
    assert vcsim.datastores("productionbb001") == ["eph01_hga", "eph02_hgb", "nfs"]
    assert vcsim.datastores("storagebb002") == ["eph01_hga"]
    assert sorted(vcsim.clusters().values()) == ["productionbb001", "storagebb002"]


@ours
def test_many_clusters_keep_their_port_groups_apart(vcsim: Vcsim) -> None:
    """The simulator's lists share memory, and what one cluster was given showed in others from the fifth on."""
    blocks = range(11, 23)
    for number in blocks:
        vcsim.add_cluster("QA-DE-1A", f"productionbb0{number}", [f"eph{number}"], [f"br-{number}", f"segment-{number}"])
    for number in blocks:
        assert vcsim.networks(f"productionbb0{number}")[2:] == [f"br-{number}", f"segment-{number}"]
        assert vcsim.datastores(f"productionbb0{number}") == [f"eph{number}"]


@ours
def test_the_inventory_changes_as_asked(vcsim: Vcsim) -> None:
    before = vcsim.clusters()
    vcsim.rename_cluster("storagebb002", "retired")
    vcsim.rename_portgroup("productionbb001", "br-b", "br-c")
    vcsim.add_portgroup("productionbb001", "br-new")
    vcsim.remove_portgroup("productionbb001", "x")
    vcsim.add_datastore("productionbb001", "eph03_hga")
    vcsim.remove_datastore("nfs")
    named = [name for name in vcsim.networks("productionbb001") if "dvs" not in name.lower()]
    assert named == ["VM Network", "br-c", "br-a", "br-new"]
    assert vcsim.datastores("productionbb001") == ["eph01_hga", "eph02_hgb", "eph03_hga"]
    assert before.keys() == vcsim.clusters().keys()
    vcsim.remove_cluster("retired")
    assert list(vcsim.clusters().values()) == ["productionbb001"]


@ours
def test_vcsim_is_built_again_after_a_kill_with_the_same_ids(vcsim: Vcsim) -> None:
    vcsim.rename_cluster("storagebb002", "retired")
    before, networks = vcsim.clusters(), vcsim.networks("productionbb001")
    vcsim.kill()
    vcsim.start()
    assert vcsim.clusters() == before
    assert vcsim.networks("productionbb001") == networks


@ours
def test_vcsim_shows_a_certificate_for_its_fqdn(vcsim: Vcsim) -> None:
    context = ssl.create_default_context(cafile=str(vcsim.ca))
    with (
        socket.create_connection((vcsim.address, vcsim.port), 5) as plain,
        context.wrap_socket(plain, server_hostname=FQDN) as connection,
    ):
        assert connection.getpeercert()
    with (
        socket.create_connection((vcsim.address, vcsim.port), 5) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain, server_hostname=vcsim.address)


@ours
def test_all_vcsims_listen_on_one_port(stack: Stack, vcsim: Vcsim, vcsim_factory: Callable[..., Vcsim]) -> None:
    other = vcsim_factory("vc-b-0.cc.qa-de-1.cloud.sap", password="secret")
    assert other.port == vcsim.port == stack.vcenter_port
    assert other.address != vcsim.address
    assert other.clusters() == {}


@ours
def test_vcsim_refuses_logins(vcsim: Vcsim, account: Callable[..., Any]) -> None:
    with pytest.raises(vim.fault.InvalidLogin):
        account("wrong")
    assert account()
    vcsim.refuse_logins()
    with pytest.raises(vim.fault.InvalidLogin):
        account()
    vcsim.set_password("changed")
    assert account("changed")


@ours
def test_vcsim_ends_sessions(vcsim: Vcsim, account: Callable[..., Any]) -> None:
    content = account()
    assert len(_clusters(content)) == 2
    vcsim.expire_sessions()
    with pytest.raises(vim.fault.NotAuthenticated):
        _clusters(content)
    content.sessionManager.Login(userName=vcsim.username, password=vcsim.password)
    assert len(_clusters(content)) == 2


@ours
def test_vcsim_takes_rights_away(vcsim: Vcsim, account: Callable[..., Any]) -> None:
    content = account()
    all_of_them = _clusters(content)
    storage = next(moid for moid, name in vcsim.clusters().items() if name == "storagebb002")
    vcsim.hide("storagebb002")
    assert _clusters(content).keys() == all_of_them.keys() - {storage}
    pc = vmodl.query.PropertyCollector
    spec = pc.FilterSpec(
        objectSet=[pc.ObjectSpec(obj=vim.ClusterComputeResource(storage, content.rootFolder._stub))],
        propSet=[pc.PropertySpec(type=vim.ClusterComputeResource, pathSet=["name"])],
    )
    answer = content.propertyCollector.RetrievePropertiesEx([spec], pc.RetrieveOptions()).objects[0]
    assert not answer.propSet
    assert isinstance(answer.missingSet[0].fault, vim.fault.NoPermission | vmodl.fault.SecurityError)
    vcsim.hide("*")
    assert _clusters(content) == {}
    assert len(vcsim.clusters()) == 2
    vcsim.hide()
    assert _clusters(content).keys() == all_of_them.keys()


@ours
def test_vcsim_makes_a_property_unreadable(vcsim: Vcsim, account: Callable[..., Any]) -> None:
    content = account()
    vcsim.make_unreadable({"productionbb001": ["datastore"]})
    missing = {each.missingSet[0].path for each in _clusters(content).values() if each.missingSet}
    assert missing == {"datastore"}
    assert vcsim.calls()["RetrievePropertiesEx"] >= 1


@ours
def test_vcsim_pushes_changes_and_serves_others_meanwhile(vcsim: Vcsim, account: Callable[..., Any]) -> None:
    content, other = account(), account()
    pc = vmodl.query.PropertyCollector
    collector = content.propertyCollector.CreatePropertyCollector()
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.ClusterComputeResource], True)
    traversal = pc.TraversalSpec(name="view", path="view", skip=False, type=vim.view.ContainerView)
    spec = pc.FilterSpec(
        objectSet=[pc.ObjectSpec(obj=view, skip=True, selectSet=[traversal])],
        propSet=[pc.PropertySpec(type=vim.ClusterComputeResource, pathSet=["name"])],
    )
    collector.CreateFilter(spec, False)
    first = collector.WaitForUpdatesEx("", pc.WaitOptions(maxWaitSeconds=1))
    assert len(first.filterSet[0].objectSet) == 2
    with ThreadPoolExecutor() as threads:
        poll = threads.submit(collector.WaitForUpdatesEx, first.version, pc.WaitOptions(maxWaitSeconds=20))
        assert len(_clusters(other)) == 2
        assert not poll.done()
        vcsim.rename_cluster("storagebb002", "retired")
        changed = poll.result(timeout=10).filterSet[0].objectSet
    assert "retired" in {change.val for update in changed for change in update.changeSet}


@ours
def test_vcsim_delays_calls(vcsim: Vcsim, account: Callable[..., Any]) -> None:
    content = account()
    vcsim.delay({"RetrievePropertiesEx": 300})
    begin = time.monotonic()
    _clusters(content)
    assert time.monotonic() - begin >= 0.3


@ours
def test_vcsim_leaves_a_dangling_port_group(vcsim: Vcsim, account: Callable[..., Any]) -> None:
    vcsim.remove_portgroup("storagebb002", "br-b", dangling=True)
    networks = next(
        prop.val for each in _clusters(account()).values() for prop in each.propSet
        if prop.name == "network" and "storagebb002" in {p.val for p in each.propSet if p.name == "name"}
    )  # fmt: skip
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = networks[-1].name


@ours
def test_kubernetes_keeps_what_it_took_over_a_kill(kubernetes: Kubernetes, namespace: str) -> None:
    kubernetes.kill()
    kubernetes.etcd.kill()
    kubernetes.start()
    assert kubernetes.request("GET", f"/api/v1/namespaces/{namespace}")["metadata"]["name"] == namespace
    assert tuple(int(part) for part in kubernetes.server_version()[1:].split(".")[:2]) >= (1, 30)


@ours
def test_kubernetes_wants_credentials_and_asks_rbac(kubernetes: Kubernetes, namespace: str) -> None:
    import json
    import urllib.error
    import urllib.request

    trusting = ssl.create_default_context(cafile=str(kubernetes.ca))
    pods = f"{kubernetes.url}/api/v1/namespaces/{namespace}/pods"

    def status(headers: dict[str, str]) -> int:
        request = urllib.request.Request(pods, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10, context=trusting) as response:
                json.load(response)
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    token = {"Authorization": f"Bearer {kubernetes.service_account_token(namespace, 'operator')}"}
    assert status({}) == 401
    assert status(token) == 403
    api = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    kubernetes.request(
        "POST", f"{api}/roles",
        {"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]},
    )  # fmt: skip
    kubernetes.request(
        "POST", f"{api}/rolebindings",
        {
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": namespace}],
        },
    )  # fmt: skip
    until(lambda: status(token) == 200, 10, "the role is in force")


@ours
def test_kubernetes_has_kubectl_and_users(kubernetes: Kubernetes, namespace: str) -> None:
    if kubernetes.kubectl is None:
        pytest.fail("this kube-apiserver came without kubectl")
    joe = kubernetes.user_kubeconfig("joe", "team:a")
    argv = [str(kubernetes.kubectl), "--kubeconfig", str(joe), "--namespace", namespace, "get", "pods"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert 'User "joe" cannot list' in done.stderr


@pytest.mark.needs("dns", control=True)
def test_no_server_outlives_a_stack_that_is_killed(stack: Stack) -> None:
    program = textwrap.dedent("""
        import sys
        from tests.stack import Stack
        stack = Stack(lambda line: None)
        knot = stack.start_dns()
        print(knot._process.pid, stack.folder, flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        group, folder = other.stdout.readline().split()
        assert members(int(group))
        os.kill(other.pid, signal.SIGKILL)
    until(lambda: not members(int(group)), 10, "the death of the server")
    until(lambda: not Path(folder).exists(), 10, "the removal of its files")


@pytest.mark.needs("dns", control=True)
def test_a_server_that_cannot_start_shows_the_end_of_its_log(stack: Stack) -> None:
    with pytest.raises(
        StackError, match=r"ended with status 1 while starting\n(.|\n)*end of its log:(.|\n)*invalid base64"
    ):
        stack.start_dns(key=Key("not base64"))
