"""Where the DNS server is: by its Service or as the Secret says, and found again when either changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes.discovery import becomes
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.latest import Latest
from vcenter_operator.common.watching import Snapshot
from vcenter_operator.discovery.adapters.kubernetes import ServiceFinder, server_of
from vcenter_operator.discovery.ports import Access, Server, ZoneUnavailable


def service(name: str = "mdns", **spec: Any) -> dict[str, Any]:
    ports = [{"port": 53, "targetPort": 5354, "protocol": "UDP"}, {"port": 54, "targetPort": 5355}]
    return {
        "metadata": {"name": name, "namespace": "dns"},
        "spec": {"clusterIP": "10.0.0.1", "externalIPs": ["192.0.2.1", "192.0.2.2"], "ports": ports, **spec},
    }


NAMED = [{"port": 53, "targetPort": "dns"}]


@pytest.mark.parametrize(
    ("services", "inside", "outside"),
    [
        ([service()], Server("10.0.0.1", 5354), Server("192.0.2.1", 53)),
        ([service(ports=NAMED)], Server("10.0.0.1", 53), Server("192.0.2.1", 53)),
        ([service(ports=[{"port": 53}])], Server("10.0.0.1", 53), Server("192.0.2.1", 53)),
        ([service(clusterIP="None")], None, Server("192.0.2.1", 53)),
        ([service(externalIPs=None)], Server("10.0.0.1", 5354), None),
        ([service(ports=[])], None, None),
        ([service("b", clusterIP="10.0.0.2"), service("a")], Server("10.0.0.1", 5354), Server("192.0.2.1", 53)),
        ([service("a", clusterIP="", externalIPs=[]), service("b")], Server("10.0.0.1", 5354), Server("192.0.2.1", 53)),
        ([], None, None),
    ],
)
def test_the_server_of_a_service(services: list[Any], inside: Server | None, outside: Server | None) -> None:
    assert server_of(services, incluster=True) == inside
    assert server_of(services, incluster=False) == outside


class Source:
    """The configuration, as a test changes it."""

    def __init__(self) -> None:
        self.latest: Latest[Configuration] = Latest()

    def set(self, **values: str) -> None:
        self.latest.set(Configuration.parse({"username": "u", "password": "p", **values}))

    async def current(self) -> Configuration:
        raise AssertionError("it is followed, not asked")

    fresh = current

    def changes(self) -> AsyncIterator[Configuration]:
        return self.latest.changes()


class Services:
    """The Services of all namespaces, as a test changes them."""

    def __init__(self) -> None:
        self.latest: dict[str, Latest[Snapshot]] = {}
        self.watched: list[str] = []

    def put(self, *services: dict[str, Any], namespace: str = "dns") -> None:
        items = {(namespace, found["metadata"]["name"]): found for found in services}
        self.latest.setdefault(namespace, Latest()).set(Snapshot(items))

    @asynccontextmanager
    async def watch(self, namespace: str) -> AsyncIterator[Any]:
        self.watched.append(namespace)
        try:
            yield self.latest.setdefault(namespace, Latest())
        finally:
            self.watched.remove(namespace)


class Finding:
    def __init__(self) -> None:
        self.source = Source()
        self.services = Services()
        self.finder = ServiceFinder(self.source, self.services.watch, incluster=True, patience=0.2)
        self.moves = 0

    async def follow(self) -> None:
        while True:
            await self.finder.changed()
            self.moves += 1


@pytest.fixture
async def finding() -> AsyncIterator[Finding]:
    made = Finding()
    tasks = [asyncio.create_task(made.finder.run()), asyncio.create_task(made.follow())]
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert made.services.watched == [], "no watch is left"


async def test_found_by_its_service_and_again_when_its_address_changes(finding: Finding) -> None:
    finding.source.set(namespace="dns", tsig_key="a2V5")
    finding.services.put(service())
    assert await finding.finder.find() == Access(Server("10.0.0.1", 5354), "a2V5")
    moves = finding.moves
    finding.services.put(service(clusterIP="10.0.0.7"))
    await becomes(lambda: finding.moves > moves, "the move is told")
    assert await finding.finder.find() == Access(Server("10.0.0.7", 5354), "a2V5")


async def test_what_does_not_move_the_server_is_not_told(finding: Finding) -> None:
    finding.source.set(namespace="dns")
    finding.services.put(service())
    await becomes(lambda: finding.moves == 1, "found")
    finding.services.put(service(sessionAffinity="None"))
    finding.source.set(namespace="dns", some_variable="changed")
    finding.services.put(service(), namespace="elsewhere")
    await asyncio.sleep(0.05)
    assert finding.moves == 1


async def test_the_secret_overrides_address_and_port(finding: Finding) -> None:
    finding.services.put(service())
    finding.source.set(namespace="dns", dns_port="5300")
    assert (await finding.finder.find()).server == Server("10.0.0.1", 5300)
    finding.source.set(namespace="dns", dns_ip="192.0.2.53")
    await becomes(lambda: finding.moves >= 2, "the change is told")
    assert (await finding.finder.find()).server == Server("192.0.2.53", 53)
    assert finding.services.watched == [], "no right on Services is needed then"
    finding.source.set(namespace="dns", dns_ip="192.0.2.53", dns_port="5300")
    await becomes(lambda: finding.moves >= 3, "the change is told")
    assert (await finding.finder.find()).server == Server("192.0.2.53", 5300)
    finding.source.set(namespace="dns")
    await becomes(lambda: finding.moves >= 4, "the change is told")
    assert (await finding.finder.find()).server == Server("10.0.0.1", 5354)


async def test_another_key_or_namespace_is_picked_up(finding: Finding) -> None:
    finding.services.put(service())
    finding.services.put(service(clusterIP="10.0.0.9"), namespace="other")
    finding.source.set(namespace="dns", tsig_key="a2V5")
    await becomes(lambda: finding.moves == 1, "found")
    finding.source.set(namespace="dns", tsig_key="bmV3")
    await becomes(lambda: finding.moves == 2, "the key is told")
    assert (await finding.finder.find()).tsig_key == "bmV3"
    finding.source.set(namespace="other", tsig_key="bmV3")
    await becomes(lambda: finding.moves == 3, "the namespace is told")
    assert (await finding.finder.find()).server == Server("10.0.0.9", 5354)


@pytest.mark.parametrize(
    ("values", "services", "said"),
    [
        ({"namespace": "dns"}, None, "has not told yet"),
        (
            {"namespace": "dns"},
            [],
            "has no Service labelled component=mdns,type=backend with a cluster IP",
        ),
        ({}, [service()], "key 'namespace'"),
    ],
)
async def test_no_server_is_an_error_that_says_what_is_missing(
    finding: Finding, values: dict[str, str], services: list[Any] | None, said: str
) -> None:
    if services is not None:
        finding.services.put(*services)
    finding.source.set(**values)
    with pytest.raises(ZoneUnavailable, match=said) as caught:
        await finding.finder.find()
    assert caught.value.reason == "ServerNotFound"


def test_the_key_is_in_no_repr() -> None:
    assert "a2V5" not in repr(Access(Server("10.0.0.1", 53), "a2V5"))


def test_an_ipv6_server_is_written_with_brackets() -> None:
    assert str(Server("2001:db8::1", 53)) == "[2001:db8::1]:53"
