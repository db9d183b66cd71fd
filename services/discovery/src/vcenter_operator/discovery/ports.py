"""The edges of the discovery: the zone, and where its server is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from vcenter_operator.common.errors import TransientError
from vcenter_operator.discovery.core.zone import Version, ZoneCopy


class ZoneUnavailable(TransientError):
    """The zone, or its server, did not answer as it should. What was known of the zone stays.

    `reason` is a CamelCase word for the kind of trouble, the text a sentence that says what to look at.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Zone(Protocol):
    """The zone of the domain. Every method but `changed` ends within the adapter's timeouts."""

    @property
    def may_lag(self) -> bool:
        """Whether several servers may answer, so that an older version than the last does not say that it was set

        back.
        """
        ...

    async def version(self) -> Version:
        """The version that is there now; cheap. Raises ZoneUnavailable."""
        ...

    async def transfer(self, *, afresh: bool = False) -> ZoneCopy:
        """The zone as it is now: complete, or an error. `afresh`: all of it, nothing taken from an earlier copy.

        Raises:
            ZoneUnavailable: it could not be had, was incomplete or made no sense.
        """
        ...

    async def changed(self) -> None:
        """Returns when something says that a look is worthwhile now. May be cancelled at any time."""
        ...


@dataclass(frozen=True)
class Server:
    """A DNS server: IP address and port, for UDP and TCP."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Access:
    """How to get at the zone now."""

    server: Server
    tsig_key: str | None = field(default=None, repr=False)
    """The Secret's `tsig_key` as it stands there (base64); None: unsigned."""


class Finder(Protocol):
    """Knows where the DNS server is, and learns of its moves by itself."""

    @property
    def access(self) -> Access | None:
        """What `find` would return at once; None: nothing is known."""
        ...

    async def find(self) -> Access:
        """Raises ZoneUnavailable while no server is known."""
        ...

    async def changed(self) -> None:
        """Returns when the server or the key is another than at the last call. May be cancelled at any time."""
        ...


class Notifications(Protocol):
    """What says from outside that the zone changed (RFC 1996)."""

    async def heard(self) -> None:
        """Returns when something was heard since the last call. May be cancelled at any time."""
        ...
