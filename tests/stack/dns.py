"""A Knot DNS server of our own with one zone, or the server that ``VCO_TEST_DNS`` names."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager
from pathlib import Path

from tests.stack import debian, progress
from tests.stack.errors import NotOurs, StackError
from tests.stack.zones import Key, NameServer, ZoneClient

_BIN = "/usr/sbin/knotd"


def install(say: progress.Say) -> debian.Installation:
    """Knot DNS, from its Debian package."""
    return debian.installation("knot", _BIN, say)


class Knot(NameServer):
    """One Knot. It sends NOTIFY over TCP, a second after the change at the earliest."""

    name = "Knot"

    def _command(self, installation: debian.Installation) -> list[str | Path]:
        return [installation.path(_BIN), "--config", self._folder / "knot.conf"]

    def _configure(self) -> None:
        # The zone file stays as first written, and the journal holds all since: a kill loses nothing.
        folder, key = self._folder, self.key
        for part in ("journal", "run"):  # Knot does not make its journal's folder, and then refuses updates
            (folder / part).mkdir(exist_ok=True)
        remote = notify = ""
        if self._notify:
            address, port = self._notify
            remote = f"remote:\n  - id: listener\n    address: {address}@{port}\n    key: {key.name}\n"
            notify = "    notify: listener\n"
        text = (
            f"server:\n  rundir: {folder}/run\n  listen: {self.address}@{self.port}\n"
            "  udp-workers: 1\n  tcp-workers: 2\n  background-workers: 1\n"
            "log:\n  - target: stdout\n    any: info\n"
            f"database:\n  storage: {folder}/journal\n"
            f"key:\n  - id: {key.name}\n    algorithm: {key.algorithm}\n    secret: {key.secret}\n"
            f"{remote}"
            f"acl:\n  - id: with-key\n    key: {key.name}\n    action: [transfer, update]\n"
            f"zone:\n  - domain: {self.zone}\n    storage: {folder}/zones\n    acl: with-key\n"
            "    zonefile-load: whole\n    zonefile-sync: -1\n    journal-content: changes\n"
            "    serial-policy: increment\n"
            f"{notify}"
        )
        (folder / "knot.conf").write_text(text)


class ExternalDns(ZoneClient):
    """The server of ``VCO_TEST_DNS``: it serves and takes updates, but is not ours to stop."""

    controllable = False
    version = "as it runs"
    source = "VCO_TEST_DNS"
    running = True

    def start(self) -> None:
        """Check that it answers for the zone."""
        try:
            self.serial()
        except OSError as error:
            raise StackError(f"VCO_TEST_DNS: {self.address}:{self.port}: {error}") from error

    def stop(self) -> None:
        """Nothing: it goes on."""

    def kill(self) -> None:
        """Refused."""
        raise NotOurs("the server of VCO_TEST_DNS is not ours to stop, kill, pause or change")

    def pause(self) -> None:
        """Refused."""
        self.kill()

    def resume(self) -> None:
        """Refused."""
        self.kill()

    def paused(self) -> AbstractContextManager[None]:
        """Refused."""
        raise NotOurs("the server of VCO_TEST_DNS is not ours to pause")

    def notify_to(self, address: str, port: int) -> None:
        """Refused."""
        self.kill()


def external(server: str, zone: str, secret: str) -> ExternalDns:
    """The server ``host:port`` with a zone and the base64 secret of the key ``tsig-key``."""
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        raise StackError(f"VCO_TEST_DNS: {server!r} is not HOST:PORT")
    return ExternalDns(zone, socket.gethostbyname(host), int(port), Key(secret))
