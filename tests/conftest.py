"""Fixtures that every test may use. The servers behind them are those of ``tests/stack``, started at the first use."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.stack import Stack
    from tests.stack.dns import ExternalDns, Knot
    from tests.stack.helm import Helm
    from tests.stack.kubernetes import ExternalKubernetes, Kubernetes
    from tests.stack.otelcol import OtelCollector
    from tests.stack.rabbitmq import ExternalRabbitMQ, RabbitMQ
    from tests.stack.vcsim import Vcsim

MARKERS = (
    "needs(*servers, control=False): the servers that a test needs, of rabbitmq, dns, bind, vcsim, kubernetes, helm, "
    "otelcol, prometheus; with control, servers of our own that may be killed",
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bring in the stack only where a selected test needs it: unit tests never import it."""
    if all("unit" in item.path.parts for item in items):
        return
    from tests.stack.plugin import Servers, uses_stack

    if uses_stack(items):
        config.pluginmanager.register(Servers(config), "servers")


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Stack:
    """The stack of this run, to start one more server of a kind."""
    plugin: Any = pytestconfig.pluginmanager.get_plugin("servers")
    found: Stack = plugin.stack
    return found


@pytest.fixture(scope="session")
def rabbitmq(stack: Stack) -> RabbitMQ | ExternalRabbitMQ:
    """The broker."""
    return stack.rabbitmq()


@pytest.fixture
def amqp_url(rabbitmq: RabbitMQ | ExternalRabbitMQ) -> Iterator[str]:
    """The URL of a virtual host that is this test's own."""
    name = f"test-{secrets.token_hex(4)}"
    yield rabbitmq.create_vhost(name)
    rabbitmq.delete_vhost(name)


@pytest.fixture(scope="session")
def dns(stack: Stack) -> Knot | ExternalDns:
    """The DNS server, with one zone."""
    return stack.dns()


@pytest.fixture
def zone(dns: Knot | ExternalDns) -> Knot | ExternalDns:
    """The DNS server with an empty zone (the serial goes on)."""
    dns.clear()
    return dns


@pytest.fixture
def vcsim_factory(stack: Stack) -> Iterator[Callable[..., Vcsim]]:
    """``vcsim_factory(fqdn, password=..., username=None)`` starts an empty vCenter; stopped after the test."""
    started: list[Any] = []

    def start(fqdn: str, *, password: str, username: str | None = None) -> Any:
        started.append(stack.start_vcsim(fqdn, password=password, username=username))
        return started[-1]

    yield start
    for server in started:
        stack.discard(server)


@pytest.fixture
def otelcol(stack: Stack) -> Iterator[OtelCollector]:
    """An OpenTelemetry Collector that has received nothing yet."""
    server = stack.start_otelcol()
    yield server
    stack.discard(server)


@pytest.fixture(scope="session")
def kubernetes(stack: Stack) -> Kubernetes | ExternalKubernetes:
    """The API server."""
    return stack.kubernetes()


@pytest.fixture(scope="session")
def helm(stack: Stack) -> Helm:
    """Helm."""
    return stack.helm()


@pytest.fixture
def namespace(kubernetes: Kubernetes | ExternalKubernetes) -> str:
    """A namespace that is this test's own. It is left behind: no controller runs that could empty it."""
    name = f"test-{secrets.token_hex(4)}"
    kubernetes.create_namespace(name)
    return name
