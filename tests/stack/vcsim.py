"""vCenter simulators of our own on loopback, or the vCenters that ``VCO_TEST_VCENTERS`` names.

All of one stack listen on the same port, each on an address of its own (127.0.0.11 and up), so that a zone that maps
FQDNs to these addresses is all that a client needs to find them.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import secrets
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.stack import golang, progress
from tests.stack.certificates import CertificateAuthority
from tests.stack.errors import NotOurs, StackError
from tests.stack.inventory import Inventory
from tests.stack.process import ServerProcess

MODULE = "github.com/vmware/govmomi"
BUILDER = "inventory-builder"  # the account that go/vcsim lets build


def install(say: progress.Say) -> Path:
    """The vcsim binary, built from ``go/vcsim``."""
    return golang.build("vcsim", "vcsim", ".", version(), say)


def version() -> str:
    """The version of govmomi, whose simulator it is."""
    return golang.required_version("vcsim", MODULE)


class Network:
    """The addresses and the port that the vcsims of one stack have in common."""

    def __init__(self) -> None:
        self.port = free_port("127.0.0.11")
        self._last = itertools.count(11)

    def address(self) -> str:
        """The next address."""
        number = next(self._last)
        return f"127.0.{number // 250}.{number % 250 or 250}"


class Vcsim(Inventory):
    """One vCenter: starts empty, speaks TLS with a certificate for its FQDN alone, lets in one account.

    The inventory is built with the methods of ``Inventory``, by an account of its own that sees everything.
    ``kill`` and ``stop`` lose it (vcsim keeps nothing), ``start`` builds it again with the same managed object ids
    unless told otherwise; sessions are lost, as with a vCenter that restarts. Restrictions are lifted by a restart.

    Attributes: ``fqdn``, ``address``, ``port``, ``username``, ``password``, ``ca``.
    """

    controllable = True
    source = "built from the Go module"

    def __init__(
        self,
        binary: Path,
        folder: Path,
        ca: CertificateAuthority,
        network: Network,
        *,
        fqdn: str,
        username: str,
        password: str,
    ) -> None:
        folder.mkdir(parents=True)
        self.fqdn = fqdn
        self.address = network.address()
        self.port = network.port
        self.username = username
        self.password = password
        self.ca = ca.certificate
        self.version = version()
        self._builder = secrets.token_urlsafe(16)
        super().__init__(self.address, self.port, (BUILDER, self._builder), self.ca, folder / "datastores")
        pair = ca.server(fqdn)
        self._process = ServerProcess(
            f"vcsim {fqdn}",
            [
                binary, "-l", f"{self.address}:{self.port}", "-username", username,
                "-tlscert", pair.certificate, "-tlskey", pair.key,
            ],
            log=folder / "vcsim.log",
            env={"VCSIM_PASSWORD": password, "VCSIM_BUILDER_PASSWORD": self._builder, "TMPDIR": str(folder)},
        )  # fmt: skip

    def start(self, *, rebuild: bool = True) -> None:
        """Start it and, after an earlier start, build the inventory again. It takes calls when this returns."""
        self._process.env["VCSIM_PASSWORD"] = self.password
        self._process.start(lambda: bool(self.control()), timeout=30)
        if rebuild:
            self.rebuild()
        else:
            self._calls.clear()
        self.control(open=True)  # the account's logins waited: nobody sees the inventory half built

    def stop(self) -> None:
        """Stop it in good order."""
        self._disconnect()
        self._process.stop(timeout=10)

    def kill(self) -> None:
        """SIGKILL it."""
        self._disconnect()
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP it: it takes connections and answers nothing."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT it."""
        self._process.resume()

    def paused(self) -> AbstractContextManager[None]:
        """Paused inside the ``with`` block."""
        return self._process.paused()

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process.running

    def set_password(self, password: str) -> None:
        """Change the account's password: other logins are refused from now on (sessions go on)."""
        self.control(password=password)
        self.password = password

    def refuse_logins(self) -> None:
        """Change the account's password to one that nobody knows, until ``set_password`` or a restart."""
        self.control(password=secrets.token_urlsafe(16))

    def expire_sessions(self) -> None:
        """End every session of the account: its next call answers NotAuthenticated."""
        self.control(expire_sessions=True)

    def hide(self, *names: str) -> None:
        """Take from the account the right to see these entities (names or ids; ``"*"``: all), and give back all others.

        As in a vCenter: they are missing from every view and list without a word, and asked for by id each property
        answers NoPermission. ``hide()`` gives everything back.
        """
        self.control(hidden=list(names))

    def make_unreadable(self, entities: Mapping[str, Sequence[str]]) -> None:
        """Entity name to the properties that answer NoPermission from now on; replaces what was set before."""
        self.control(unreadable={name: list(properties) for name, properties in entities.items()})

    def vanish(self, *names: str, reported: bool = False, view: bool = False) -> None:
        """Destroy clusters, datastores, port groups or folders in the middle of the account's next reading of a view.

        The lists that name them were read by then, their own properties not: these are left out of the answer, or,
        *reported*, answer ManagedObjectNotFound. What a folder holds moves up. *view*: the view goes too.
        """
        self.control(vanishing={"names": list(names), "reported": reported, "view": view})

    def delay(self, milliseconds: Mapping[str, int]) -> None:
        """Method (``"*"``: any other) to how much longer each call of the account's takes; replaces what was set."""
        self.control(delay_ms=dict(milliseconds))

    def calls(self) -> dict[str, int]:
        """SOAP calls by method since the start, without the builder's."""
        return {str(name): int(count) for name, count in self.control()["calls"].items()}

    def sessions(self) -> set[str]:
        """Keys of the account's sessions that were not ended by logging out."""
        listed = self._connected().sessionManager.sessionList
        return {str(each.key) for each in listed if each.userName == self.username}

    def control(self, **change: object) -> dict[str, Any]:
        """Send a change to the control endpoint, or none; what it answers."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.check_hostname = False
        connection = http.client.HTTPSConnection(self.address, self.port, timeout=10, context=context)
        token = base64.b64encode(f"builder:{self._builder}".encode()).decode()
        try:
            method = "POST" if change else "GET"
            connection.request(method, "/control", json.dumps(change), {"Authorization": f"Basic {token}"})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise StackError(f"vcsim {self.fqdn}: {response.status}: {body.decode(errors='replace').strip()}")
        answer: dict[str, Any] = json.loads(body)
        return answer


class ExternalVCenter(Inventory):
    """A vCenter of ``VCO_TEST_VCENTERS``: built with the tests' account, and not ours to stop or restrict."""

    controllable = False
    version = "as it runs"
    source = "VCO_TEST_VCENTERS"
    running = True

    def __init__(self, fqdn: str, place: tuple[str, int], account: tuple[str, str], ca: Path, folder: Path) -> None:
        self.address, self.port = place
        super().__init__(self.address, self.port, account, ca, folder)
        self.fqdn = fqdn
        self.username, self.password = account
        self.ca = ca

    def start(self, *, rebuild: bool = True) -> None:
        """Check that it lets the account in."""
        try:
            self.clusters()
        except OSError as error:
            raise StackError(f"VCO_TEST_VCENTERS: {self.fqdn} at {self.address}:{self.port}: {error}") from error

    def stop(self) -> None:
        """Nothing: it goes on."""
        self._disconnect()

    def control(self, **change: object) -> dict[str, Any]:
        """Refused."""
        raise NotOurs(f"{self.fqdn} is not ours to stop, kill, pause or restrict")

    def kill(self) -> None:
        """Refused."""
        self.control()

    def pause(self) -> None:
        """Refused."""
        self.control()

    def resume(self) -> None:
        """Refused."""
        self.control()


def external(text: str) -> dict[str, tuple[str, int]]:
    """FQDN to address and port, from ``fqdn=address:port,...``."""
    found: dict[str, tuple[str, int]] = {}
    for part in text.split(","):
        fqdn, _, place = part.strip().partition("=")
        address, _, port = place.rpartition(":")
        if not fqdn or not address or not port.isdigit():
            raise StackError(f"VCO_TEST_VCENTERS: {part!r} is not FQDN=ADDRESS:PORT")
        found[fqdn] = (address, int(port))
    return found
