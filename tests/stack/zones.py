"""A zone on a name server, read and changed through the protocol, and what name servers of our own have in common."""

from __future__ import annotations

import base64
import secrets
import socket
import struct
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tests.ports import free_port
from tests.stack import debian
from tests.stack.errors import StackError
from tests.stack.process import ServerProcess

if TYPE_CHECKING:
    import dns.name
    import dns.update

ZONE = "cc.qa-de-1.cloud.sap"
KEY_NAME = "tsig-key"
ALGORITHM = "hmac-sha256"


@dataclass(frozen=True)
class Key:
    """A TSIG key (RFC 8945): ``secret`` is base64."""

    secret: str
    name: str = KEY_NAME
    algorithm: str = ALGORITHM


class ZoneClient:
    """Reads and changes one zone through the protocol: dynamic updates (RFC 2136), queries and transfers, signed.

    Attributes: ``zone`` (no trailing dot), ``address``, ``port``, ``key``.
    """

    def __init__(self, zone: str, address: str, port: int, key: Key) -> None:
        self.zone = zone
        self.address = address
        self.port = port
        self.key = key

    @property
    def tsig_key(self) -> str:
        """The key's secret, base64, as the operator's Secret has it."""
        return self.key.secret

    def add(self, name: str, rtype: str, value: str, ttl: int = 60) -> None:
        """Add one record; *name* is relative to the zone, or absolute with a trailing dot."""
        update = self._update()
        update.add(self._name(name), ttl, rtype, value)
        self._send(update)

    def remove(self, name: str, rtype: str | None = None, value: str | None = None) -> None:
        """Remove a name, one type of it, or one record of it. Nothing happens when it is not there."""
        update = self._update()
        chosen = [part for part in (rtype, value) if part is not None]
        update.delete(self._name(name), *chosen)
        self._send(update)

    def clear(self) -> None:
        """Remove every record but the zone's own SOA and NS and its server's address, in one update (or none)."""
        update = self._update()
        names = {name for name, _, _ in self.records()} - {"@", "ns"}
        for name in sorted(names):
            update.delete(self._name(name))
        if names:
            self._send(update)

    def records(self) -> list[tuple[str, str, str]]:
        """Every record as (relative name, type, value), from a full transfer with the key."""
        import dns.name
        import dns.query
        import dns.rdatatype
        import dns.tsigkeyring
        import dns.xfr
        import dns.zone

        zone = dns.zone.Zone(self._origin)
        keyring = dns.tsigkeyring.from_text({self.key.name: (self.key.algorithm, self.key.secret)})
        query, _ = dns.xfr.make_query(zone, keyring=keyring, keyname=dns.name.from_text(self.key.name))
        dns.query.inbound_xfr(self.address, zone, query, port=self.port, timeout=10, lifetime=20)
        return [
            (str(name), dns.rdatatype.to_text(rdata.rdtype), rdata.to_text())
            for name, _, rdata in zone.iterate_rdatas()
        ]

    def serial(self) -> int:
        """The zone's SOA serial, asked without a signature."""
        import dns.message
        import dns.query
        import dns.rdatatype
        import dns.rdtypes.ANY.SOA

        query = dns.message.make_query(self._origin, dns.rdatatype.SOA)
        answer = dns.query.tcp(query, self.address, timeout=5, port=self.port)
        for rrset in answer.answer:
            for rdata in rrset:
                if isinstance(rdata, dns.rdtypes.ANY.SOA.SOA):
                    return int(rdata.serial)
        raise StackError(f"{self.zone}: no SOA in the answer: {answer.rcode()}")

    @property
    def _origin(self) -> dns.name.Name:
        import dns.name

        return dns.name.from_text(self.zone)

    def _name(self, name: str) -> dns.name.Name:
        import dns.name

        return dns.name.from_text(name, self._origin)

    def _update(self) -> dns.update.UpdateMessage:
        import dns.name
        import dns.tsigkeyring
        import dns.update

        keyring = dns.tsigkeyring.from_text({self.key.name: (self.key.algorithm, self.key.secret)})
        return dns.update.UpdateMessage(self._origin, keyring=keyring, keyname=dns.name.from_text(self.key.name))

    def _send(self, update: dns.update.UpdateMessage) -> None:
        import dns.query
        import dns.rcode

        answer = dns.query.tcp(update, self.address, timeout=10, port=self.port)
        if answer.rcode() != dns.rcode.NOERROR:
            raise StackError(f"{self.zone}: update answered {dns.rcode.to_text(answer.rcode())}")


class NameServer(ZoneClient, ABC):
    """A name server of our own with one zone that starts with its SOA and NS records alone.

    Transfers and updates want the key; queries do not. The zone and its changes survive ``kill`` and ``stop``.
    *notify* is the address and port that it sends NOTIFY to, signed; ``notify_to`` sets it later.
    """

    controllable = True
    name: ClassVar[str]

    def __init__(
        self,
        installation: debian.Installation,
        folder: Path,
        *,
        zone: str = ZONE,
        address: str = "127.0.0.1",
        port: int | None = None,
        key: Key | None = None,
        notify: tuple[str, int] | None = None,
        serial: int = 1,
    ) -> None:
        key = key or Key(base64.b64encode(secrets.token_bytes(32)).decode())
        super().__init__(zone, address, port or free_port(address), key)
        self.version = installation.version
        self.source = "unpacked Debian package" if installation.unpacked else "Debian package"
        self._folder = folder
        self._notify = notify
        (folder / "zones").mkdir(parents=True)
        self._write_zone(serial)
        self._configure()
        log, environment = folder / "log", installation.environment
        self._process = ServerProcess(self.name, self._command(installation), log=log, env=environment)

    @abstractmethod
    def _command(self, installation: debian.Installation) -> list[str | Path]:
        """What starts it in the foreground."""

    @abstractmethod
    def _configure(self) -> None:
        """Writes its configuration."""

    def start(self) -> None:
        """Start it, with the zone as it was, and wait until it answers for the zone."""
        self._process.start(self._answers, timeout=30)

    def stop(self) -> None:
        """Stop it in good order."""
        self._process.stop(timeout=15)

    def kill(self) -> None:
        """SIGKILL it."""
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

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._process.log.read_text(errors="replace")

    def notify_to(self, address: str, port: int) -> None:
        """Send NOTIFY there from now on; the server is restarted for it."""
        self._notify = (address, port)
        self._configure()
        if self.running:
            self.stop()
            self.start()

    def _answers(self) -> bool:
        labels = [label.encode() for label in self.zone.split(".")]
        name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        query = struct.pack("!6H", 1, 0, 1, 0, 0, 0) + name + struct.pack("!2H", 6, 1)  # SOA, IN (RFC 1035)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.settimeout(1)
            connection.connect((self.address, self.port))
            connection.send(query)
            header: tuple[int, ...] = struct.unpack("!6H", connection.recv(512)[:12])
        return header[1] & 0xF == 0 and header[3] > 0  # NOERROR, and an answer

    def _write_zone(self, serial: int) -> None:
        text = (
            f"$ORIGIN {self.zone}.\n$TTL 60\n"
            f"@ SOA ns hostmaster {serial} 3600 600 86400 60\n@ NS ns\nns A {self.address}\n"
        )
        (self._folder / "zones" / f"{self.zone}.zone").write_text(text)
