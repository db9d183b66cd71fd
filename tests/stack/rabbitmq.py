"""A RabbitMQ node of our own on loopback, or the broker that ``VCO_TEST_AMQP_URL`` names."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from tests.ports import free_port
from tests.stack import debian, progress
from tests.stack.certificates import CertificateAuthority
from tests.stack.errors import NotOurs, StackError
from tests.stack.process import ServerProcess, until

USER = "vcenter-operator"
_CALL_ELECTIONS = (
    "length([ra:trigger_election({element(1, T), node()}) || T <- ets:tab2list(ra_state), element(2, T) =/= leader])."
)
_FORGET_CONSUMERS = (
    "{ok, Q} = rabbit_amqqueue:lookup(QUEUE), "
    "[{ok, _, _} = ra:process_command(amqqueue:get_pid(Q), "
    "rabbit_fifo:make_checkout({element(2, C), element(1, C)}, cancel, #{})) || C <- rabbit_amqqueue:consumers(Q)]."
)
_BIN = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def install(say: progress.Say) -> debian.Installation:
    """RabbitMQ, from its Debian package."""
    return debian.installation("rabbitmq-server", _BIN, say)


@dataclass(frozen=True)
class _Ports:
    amqp: int
    amqps: int
    epmd: int
    distribution: int


class RabbitMQ:
    """One node with its own data, ports, name and user; several can run side by side.

    Its one plugin lets users log in with client certificates of ``ca``, by common name. ``kill`` is a SIGKILL to the
    whole node: what it had confirmed is there again after ``start``. The node trusts nobody else but ``USER``, with a
    random password.

    Attributes: ``folder`` (its data and logs), ``url`` (amqp, vhost ``/``), ``tls_url`` (amqps, certificate for
    ``localhost``), ``ca`` (its authority).
    """

    def __init__(self, installation: debian.Installation, folder: Path, ca: CertificateAuthority) -> None:
        self._installation = installation
        self.folder = folder
        self._ports = _Ports(*(free_port() for _ in range(4)))
        self._node = f"vco-{secrets.token_hex(4)}@localhost"
        self.password = secrets.token_urlsafe(16)
        self.ca: Path | None = ca.certificate
        self.version = installation.version
        self.source = "unpacked Debian package" if installation.unpacked else "Debian package"
        self._killed = self._paused = False
        folder.mkdir(parents=True)
        self._configure(ca)
        script = 'epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" & exec "$0"'
        self._process = ServerProcess(
            "RabbitMQ",
            ["/bin/sh", "-c", script, installation.path(_BIN)],
            log=folder / "rabbitmq.log",
            env=self._environment,
        )

    controllable = True

    @property
    def url(self) -> str:
        """``amqp://`` with user and password."""
        return self.vhost_url("/")

    @property
    def tls_url(self) -> str | None:
        """``amqps://`` with user and password; trust ``ca``."""
        return f"amqps://{USER}:{quote(self.password)}@localhost:{self._ports.amqps}/"

    def vhost_url(self, vhost: str) -> str:
        """The ``amqp://`` URL of a virtual host that exists."""
        path = "" if vhost == "/" else quote(vhost, safe="")
        return f"amqp://{USER}:{quote(self.password)}@127.0.0.1:{self._ports.amqp}/{path}"

    def certificate_url(self, vhost: str) -> str:
        """The ``amqps://`` URL of a virtual host, for whoever logs in with a client certificate."""
        return f"amqps://localhost:{self._ports.amqps}/{quote(vhost, safe='')}"

    def create_vhost(self, name: str) -> str:
        """Add a virtual host for which the user has every right, and return its URL."""
        self.rabbitmqctl("add_vhost", name)
        self.rabbitmqctl("set_permissions", "--vhost", name, USER, ".*", ".*", ".*")
        return self.vhost_url(name)

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host with all that is in it."""
        self.rabbitmqctl("delete_vhost", name)

    def silence(self, vhost: str, queue: str) -> None:
        """Take away every consumer of a quorum queue without telling it, as a node that moves may do."""
        name = f'{{resource, <<"{vhost}">>, queue, <<"{queue}">>}}'
        self.rabbitmqctl("eval", _FORGET_CONSUMERS.replace("QUEUE", name))

    def start(self) -> None:
        """Start the node with the data that it has, and wait until it serves and every quorum queue has a leader."""
        self._process.start(self._speaks_amqp, timeout=120)
        if self._killed:
            until(self._all_lead, 60, "a leader for every quorum queue", every=0.2)
            self._killed = False

    def _all_lead(self) -> bool:
        """Whether every quorum queue has a leader; calls an election where one has none.

        A node that was killed within seconds of a queue's declaration waits for its leader for ever, where it is the
        only node (a known defect). An administrator would call an election by hand.
        """
        return self.rabbitmqctl("eval", _CALL_ELECTIONS).strip() == "0"

    def stop(self) -> None:
        """Stop the node in good order."""
        self._process.stop(timeout=60)

    def kill(self) -> None:
        """SIGKILL the node.

        RabbitMQ 3 keeps the names of queues declared in the last half second in memory alone, and loses such a
        queue's confirmed messages with them. These names are written down first: no test is about that defect.
        """
        if self.running and not self._paused:
            with contextlib.suppress(StackError, subprocess.TimeoutExpired):
                self.rabbitmqctl("eval", "[dets:sync(T) || T <- dets:all()].", timeout=10)
        self._killed = self._killed or self.running
        self._paused = False
        self._process.kill()

    def lose_everything(self) -> None:
        """SIGKILL the node; its next start begins with nothing but the vhost ``/``. What it stored is put aside."""
        self._process.kill()
        (self.folder / "data").rename(self.folder / f"lost-{secrets.token_hex(4)}")
        self._killed = self._paused = False

    def pause(self) -> None:
        """SIGSTOP the node: it holds its connections and answers nothing."""
        self._paused = True
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT a paused node."""
        self._process.resume()
        self._paused = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Paused inside the ``with`` block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    @property
    def running(self) -> bool:
        """Whether the node's process is there."""
        return self._process.running

    def rabbitmqctl(self, *arguments: str, timeout: float = 60) -> str:
        """What ``rabbitmqctl`` prints (without headers); a StackError when it fails. Takes about half a second."""
        done = subprocess.run(
            [self._installation.path("/usr/lib/rabbitmq/bin/rabbitmqctl"), "--quiet", *arguments],
            env={**os.environ, **self._environment},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise StackError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _speaks_amqp(self) -> bool:
        with socket.create_connection(("127.0.0.1", self._ports.amqp), 2) as connection:
            connection.settimeout(2)
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"  # a method frame: connection.start

    @property
    def _environment(self) -> dict[str, str]:
        folder = self.folder
        erlang = "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
        return {
            **self._installation.environment,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._ports.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._ports.distribution),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
        }

    def _configure(self, ca: CertificateAuthority) -> None:
        pair = ca.server("localhost", "127.0.0.1")
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self._ports.amqp}",
            "listeners.ssl.1": f"127.0.0.1:{self._ports.amqps}",
            "ssl_options.cacertfile": ca.certificate,
            "ssl_options.certfile": pair.certificate,
            "ssl_options.keyfile": pair.key,
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
            "auth_mechanisms.1": "PLAIN",
            "auth_mechanisms.2": "AMQPLAIN",
            "auth_mechanisms.3": "EXTERNAL",
            "ssl_cert_login_from": "common_name",
            "default_user": USER,
            "default_pass": self.password,
            "disk_free_limit.absolute": "50MB",
            "log.console": "true",
            "log.console.level": "info",
        }
        lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (self.folder / "rabbitmq.conf").write_text(lines)
        (self.folder / "rabbitmq-env.conf").touch()
        (self.folder / "enabled_plugins").write_text("[rabbitmq_auth_mechanism_ssl].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)


class ExternalRabbitMQ:
    """The broker of ``VCO_TEST_AMQP_URL``: it serves, but is not ours to stop."""

    controllable = False
    version = "as it runs"
    source = "VCO_TEST_AMQP_URL"
    tls_url: str | None = None
    running = True

    def __init__(self, url: str, ca: str | None = None) -> None:
        self.url = url
        self.ca = Path(ca) if ca else None
        self.password = urlsplit(url).password or ""

    def create_vhost(self, name: str) -> str:
        """The URL as it is: another's virtual hosts are not ours to make."""
        return self.url

    def delete_vhost(self, name: str) -> None:
        """Nothing, see ``create_vhost``."""

    def vhost_url(self, vhost: str) -> str:
        """The URL as it is."""
        return self.url

    def start(self) -> None:
        """Check that somebody answers there."""
        parts = urlsplit(self.url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 5672), 5).close()
        except OSError as error:
            raise StackError(f"VCO_TEST_AMQP_URL: {parts.hostname}:{parts.port or 5672}: {error}") from error

    def stop(self) -> None:
        """Nothing: it goes on."""

    def kill(self) -> None:
        """Refused."""
        raise NotOurs("the broker of VCO_TEST_AMQP_URL is not ours to stop, kill or pause")

    def pause(self) -> None:
        """Refused."""
        self.kill()

    def resume(self) -> None:
        """Refused."""
        self.kill()

    def paused(self) -> AbstractContextManager[None]:
        """Refused."""
        raise NotOurs("the broker of VCO_TEST_AMQP_URL is not ours to pause")

    def rabbitmqctl(self, *arguments: str, timeout: float = 60) -> str:
        """Refused."""
        raise NotOurs("the broker of VCO_TEST_AMQP_URL is not ours to command")


__all__ = ["USER", "ExternalRabbitMQ", "RabbitMQ", "install"]
