"""All servers of one test run, or of one ``python -m tests.stack up``."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from tests.stack import kubernetes as kubernetes_server
from tests.stack import otelcol as otelcol_server
from tests.stack import progress, zones
from tests.stack import rabbitmq as rabbitmq_server
from tests.stack import vcsim as vcsim_server
from tests.stack.certificates import CertificateAuthority
from tests.stack.errors import ServerUnavailable, StackError
from tests.stack.process import Watchdog

if TYPE_CHECKING:
    from tests.stack import bind as bind_server
    from tests.stack import dns as dns_server
    from tests.stack import helm as helm_program
    from tests.stack import prometheus as prometheus_server

SERVERS = ("rabbitmq", "dns", "bind", "vcsim", "kubernetes", "helm", "otelcol", "prometheus")
REPLACED_BY: dict[str, str | None] = {
    "rabbitmq": "VCO_TEST_AMQP_URL",
    "dns": "VCO_TEST_DNS",
    "bind": "VCO_TEST_DNS",
    "vcsim": "VCO_TEST_VCENTERS",
    "kubernetes": "VCO_TEST_KUBECONFIG",
    "otelcol": None,
    "prometheus": None,
}


def required() -> bool:
    """Whether a server that cannot be had is a failure: ``CI`` or ``VCO_REQUIRE_SERVERS`` is set."""
    return any(os.environ.get(name, "").lower() not in ("", "0", "false") for name in ("CI", "VCO_REQUIRE_SERVERS"))


class Server(Protocol):
    """What every server has in common."""

    version: str
    source: str

    def start(self) -> None:
        """Start it and wait until it serves."""

    def stop(self) -> None:
        """Stop it."""


@dataclass(frozen=True)
class Served:
    """A server that was started: its kind (one of ``SERVERS``), a name, its version, and where it came from."""

    kind: str
    name: str
    version: str
    source: str


_S = TypeVar("_S", bound=Server)
_T = TypeVar("_T")


class Stack:
    """Starts servers at the first use, and stops them all in ``close`` (or when this process dies, however it does).

    The one server of a kind that tests share is ``rabbitmq()``, ``dns()``, ``kubernetes()``; ``start_...`` starts one
    more. Everything may raise ServerUnavailable when a server cannot be had here.
    """

    def __init__(self, say: progress.Say = progress.say_on_stdout) -> None:
        self.say = say
        self.folder = Path(tempfile.mkdtemp(prefix="vco-stack-"))
        Watchdog.instance().tell(f"d {self.folder}")
        self.served: list[Served] = []
        self._numbers = itertools.count(1)
        self._running: list[Server] = []
        self._shared: dict[str, object] = {}

    # -- what is there

    def is_ours(self, kind: str) -> bool:
        """Whether the server of that kind is started here, and so can be killed; else it is given as an endpoint."""
        return not ((name := REPLACED_BY.get(kind)) and os.environ.get(name))

    def prepare(self, kind: str) -> tuple[str, str]:
        """Install or build a server where it is missing, start nothing. Its version and source."""
        if not self.is_ours(kind):
            return "as it runs", str(REPLACED_BY[kind])
        try:
            return self._prepare(kind)
        except ServerUnavailable:
            raise
        except (StackError, OSError) as error:
            raise ServerUnavailable(f"{kind}: {error}") from error

    def _prepare(self, kind: str) -> tuple[str, str]:
        if kind == "rabbitmq":
            return rabbitmq_server.install(self.say).version, "Debian package"
        if kind == "dns":
            from tests.stack import dns as dns_server

            return dns_server.install(self.say).version, "Debian package"
        if kind == "bind":
            from tests.stack import bind as bind_server

            return bind_server.install(self.say).version, "Debian package"
        if kind == "vcsim":
            vcsim_server.install(self.say)
            return vcsim_server.version(), vcsim_server.Vcsim.source
        if kind == "otelcol":
            otelcol_server.install(self.say)
            return otelcol_server.version(), otelcol_server.OtelCollector.source
        if kind == "prometheus":
            from tests.stack import prometheus as prometheus_server

            return prometheus_server.install(self.say).version, "Debian package"
        if kind == "helm":
            from tests.stack import helm as helm_program

            helm_program.install(self.say)
            return helm_program.version(), "built from the Go module"
        binaries = kubernetes_server.install(self.say)
        return f"{binaries.version} (etcd {binaries.etcd_version})", binaries.source

    @property
    def ca(self) -> CertificateAuthority:
        """The authority that signs every certificate of this stack."""
        return self._once("ca", lambda: CertificateAuthority(self.folder / "ca"))

    # -- the shared ones

    def rabbitmq(self) -> rabbitmq_server.RabbitMQ | rabbitmq_server.ExternalRabbitMQ:
        """The broker that tests share."""
        if url := os.environ.get("VCO_TEST_AMQP_URL"):
            ca = os.environ.get("VCO_TEST_AMQP_CA")
            external = rabbitmq_server.ExternalRabbitMQ
            return self._once("rabbitmq", lambda: self._start("rabbitmq", "RabbitMQ", external(url, ca)))
        return self._once("rabbitmq", self.start_rabbitmq)

    def dns(self) -> dns_server.Knot | dns_server.ExternalDns:
        """The DNS server that tests share, with the one zone."""
        from tests.stack import dns as dns_server

        if server := os.environ.get("VCO_TEST_DNS"):
            zone = os.environ.get("VCO_TEST_DNS_ZONE", zones.ZONE)
            external = dns_server.external(server, zone, os.environ.get("VCO_TEST_TSIG_KEY", ""))
            return self._once("dns", lambda: self._start("dns", "DNS", external))
        return self._once("dns", self.start_dns)

    def kubernetes(self) -> kubernetes_server.Kubernetes | kubernetes_server.ExternalKubernetes:
        """The API server that tests share."""
        if kubeconfig := os.environ.get("VCO_TEST_KUBECONFIG"):
            external = kubernetes_server.ExternalKubernetes(Path(kubeconfig))
            return self._once("kubernetes", lambda: self._start("kubernetes", "Kubernetes", external))
        return self._once("kubernetes", self.start_kubernetes)

    # -- one more of a kind

    def start_rabbitmq(self) -> rabbitmq_server.RabbitMQ:
        """A RabbitMQ node of its own."""
        installation = rabbitmq_server.install(self.say)
        return self._start(
            "rabbitmq", "RabbitMQ", rabbitmq_server.RabbitMQ(installation, self._new("rabbitmq"), self.ca)
        )

    def start_dns(
        self,
        *,
        zone: str | None = None,
        address: str = "127.0.0.1",
        port: int | None = None,
        key: zones.Key | None = None,
        notify: tuple[str, int] | None = None,
        serial: int = 1,
    ) -> dns_server.Knot:
        """A Knot with one zone that starts with the serial given, on a free port unless told which."""
        from tests.stack import dns as dns_server

        knot = dns_server.Knot(
            dns_server.install(self.say),
            self._new("knot"),
            zone=zone or zones.ZONE,
            address=address,
            port=port,
            key=key,
            notify=notify,
            serial=serial,
        )
        return self._start("dns", "Knot DNS", knot)

    def start_bind(
        self, *, key: zones.Key | None = None, notify: tuple[str, int] | None = None, serial: int = 1
    ) -> bind_server.Bind:
        """A BIND with one zone that starts with the serial given."""
        from tests.stack import bind as bind_server

        bind = bind_server.Bind(bind_server.install(self.say), self._new("bind"), key=key, notify=notify, serial=serial)
        return self._start("bind", "BIND", bind)

    def start_vcsim(
        self, fqdn: str, *, password: str, username: str | None = None
    ) -> vcsim_server.Vcsim | vcsim_server.ExternalVCenter:
        """A vCenter with that FQDN and account; the caller derives the password.

        Where ``VCO_TEST_VCENTERS`` is set it is the one named there; ServerUnavailable when none is.
        """
        user = username or self.vcenter_username
        if given := os.environ.get("VCO_TEST_VCENTERS"):
            return self._start("vcsim", fqdn, self._external_vcenter(given, fqdn, (user, password)))
        network = self._once("vcsim network", vcsim_server.Network)
        binary = vcsim_server.install(self.say)
        server = vcsim_server.Vcsim(
            binary, self._new("vcsim"), self.ca, network, fqdn=fqdn, username=user, password=password
        )
        return self._start("vcsim", "vcsim", server)

    def start_kubernetes(self) -> kubernetes_server.Kubernetes:
        """An API server on an etcd of its own."""
        binaries = kubernetes_server.install(self.say)
        server = kubernetes_server.Kubernetes(binaries, self._new("kubernetes"), self.ca)
        return self._start("kubernetes", "kube-apiserver", server)

    def start_otelcol(self) -> otelcol_server.OtelCollector:
        """An OpenTelemetry Collector."""
        collector = otelcol_server.OtelCollector(otelcol_server.install(self.say), self._new("otelcol"))
        return self._start("otelcol", "OpenTelemetry Collector", collector)

    def start_prometheus(self, configuration: Path) -> prometheus_server.Prometheus:
        """A Prometheus that does what is in the configuration file."""
        from tests.stack import prometheus as prometheus_server

        installation = prometheus_server.install(self.say)
        server = prometheus_server.Prometheus(installation, self._new("prometheus"), configuration)
        return self._start("prometheus", "Prometheus", server)

    def promtool(self, *arguments: str | Path) -> str:
        """What ``promtool`` prints; a StackError with it when it finds something wrong."""
        from tests.stack import prometheus as prometheus_server

        return prometheus_server.promtool(prometheus_server.install(self.say), *arguments)

    def helm(self) -> helm_program.Helm:
        """Helm, which is no server: nothing is started."""
        from tests.stack import helm as helm_program

        return self._once("helm", lambda: helm_program.Helm(helm_program.install(self.say), self._new("helm")))

    @property
    def vcenter_username(self) -> str:
        """The account of the vCenters, as the operator's Secret should have it."""
        return os.environ.get("VCO_TEST_VCENTER_USER", "vcenter-operator")

    @property
    def vcenter_port(self) -> int:
        """The port that every vCenter of this stack listens on (443 where they are somebody else's on several)."""
        if given := os.environ.get("VCO_TEST_VCENTERS"):
            ports = {port for _, port in vcsim_server.external(given).values()}
            return ports.pop() if len(ports) == 1 else 443
        return self._once("vcsim network", vcsim_server.Network).port

    # -- the end

    def discard(self, server: Server) -> None:
        """Stop one server, for good."""
        if server in self._running:
            self._running.remove(server)
        server.stop()

    def heal(self, kind: str) -> None:
        """Start, or let go on, the shared server of a kind that a test killed or paused and did not bring back."""
        server = self._shared.get(kind)
        if server is None or kind not in REPLACED_BY or not self.is_ours(kind):
            return
        if isinstance(server, kubernetes_server.Kubernetes):
            server.etcd.resume()
            if not server.etcd.running:
                server.kill()
        if getattr(server, "running", True):
            server.resume()  # type: ignore[attr-defined]
        else:
            server.start()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Stop every server and remove every file."""
        errors: list[str] = []
        while self._running:
            try:
                self._running.pop().stop()
            except StackError as error:
                errors.append(str(error))
        self._shared.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if errors:
            raise StackError("; ".join(errors))

    def _start(self, kind: str, name: str, server: _S) -> _S:
        try:
            server.start()
        except BaseException:
            with contextlib.suppress(StackError):
                server.stop()
            raise
        self._running.append(server)
        self.served.append(Served(kind, name, server.version, server.source))
        return server

    def _external_vcenter(self, given: str, fqdn: str, account: tuple[str, str]) -> vcsim_server.ExternalVCenter:
        places = vcsim_server.external(given)
        if fqdn not in places:
            raise ServerUnavailable(f"VCO_TEST_VCENTERS has no {fqdn}")
        ca = Path(os.environ.get("VCO_TEST_VCENTER_CA", "/etc/ssl/certs/ca-certificates.crt"))
        return vcsim_server.ExternalVCenter(fqdn, places[fqdn], account, ca, self._new("vcenter"))

    def _once(self, key: str, make: Callable[[], _T]) -> _T:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]  # type: ignore[return-value]

    def _new(self, name: str) -> Path:
        return self.folder / f"{name}-{next(self._numbers)}"
