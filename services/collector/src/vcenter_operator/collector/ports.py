"""The edges of the collector: where sessions with vCenters come from.

```
TransientError
└── VCenterError            the session is of no use any more: close it, log on again
    ├── Unreachable         nothing listens there, or the connection broke
    ├── NotAnswering        it takes connections, or took a call, and did not answer in time
    ├── Malformed           what it answers is no SOAP of a vCenter's
    ├── CertificateRefused  what answers there cannot prove to be the vCenter
    ├── LoginRefused        it knows the account not under this password, or gives it no rights
    └── SessionEnded        the session is over: it was ended, or the vCenter was restarted
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from vcenter_operator.collector.core.model import Answer, Reference, Snapshot
from vcenter_operator.common.errors import TransientError


class VCenterError(TransientError):
    """A vCenter, or the way to it, does not do what it should. Concerns nobody but that vCenter."""

    reason: ClassVar[str] = "Failed"
    """CamelCase, for the condition in the record."""


class Unreachable(VCenterError):
    """Nothing listens at its addresses, its name does not resolve, or the connection broke."""

    reason = "Unreachable"


class NotAnswering(VCenterError):
    """It took a connection or a call and did not answer within the timeout."""

    reason = "NotAnswering"


class Malformed(VCenterError):
    """It answered, and not what a vCenter answers."""

    reason = "Malformed"


class CertificateRefused(VCenterError):
    """Its certificate is not for this FQDN, not signed by a CA that is trusted, or not the one that is pinned.

    Time alone mends this rarely: it is tried again slowly.
    """

    reason = "CertificateRefused"


class LoginRefused(VCenterError):
    """It refuses the account or its password."""

    reason = "LoginRefused"


class SessionEnded(VCenterError):
    """The session is not valid any more."""

    reason = "SessionEnded"


@dataclass(frozen=True)
class Endpoint:
    """Where a vCenter is: its FQDN, and its addresses as the zone states them (none: ask the system's resolver).

    `thumbprints`: SHA-256 (64 lower-case hex digits) of certificates, one of which it shows; none: the CAs decide.
    """

    host: str
    addresses: tuple[str, ...] = ()
    thumbprints: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Credentials:
    """What to log on with."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Access:
    """What the configuration says about one vCenter."""

    credentials: Credentials
    thumbprints: frozenset[str] = frozenset()
    digest: str = ""
    """Tells these credentials from others; see `Configuration.digest_of`."""


class VCenter(Protocol):
    """A session with one vCenter, used by one task at a time. After any VCenterError it is only good for `close`.

    Whatever blocks does so in a thread of the adapter's own, and never longer than its timeouts; cancelling a call
    makes that thread give up its connection: then it is only good for `resume` or `close`.
    """

    async def snapshot(self) -> Snapshot:
        """Everything about its clusters, read now. Raises VCenterError."""
        ...

    async def ask(self, references: Sequence[Reference]) -> dict[Reference, Answer]:
        """What each of these managed objects says its name is. Raises VCenterError."""
        ...

    async def wait_for_change(self, timeout: float) -> bool:
        """Returns when something about clusters, their datastores or networks may have changed since the session

        began or the last call returned; False: nothing was reported for `timeout` seconds. Raises VCenterError.
        """
        ...

    async def watch_anew(self) -> None:
        """Makes anew what reports changes: rights that were widened count from then on. Raises VCenterError."""
        ...

    async def resume(self) -> None:
        """Makes it usable again after a call was cancelled: the vCenter still has the session. Raises VCenterError."""
        ...

    async def close(self) -> None:
        """Logs out where that is possible and ends the session, within a few seconds. Raises nothing."""
        ...


class VCenters(Protocol):
    """Logs on to vCenters."""

    async def log_on(self, endpoint: Endpoint, credentials: Credentials) -> VCenter:
        """A session. Changes are noticed from here on. Raises VCenterError."""
        ...

    async def probe(self, endpoint: Endpoint) -> None:
        """Returns when a vCenter answers there, which is found out soon and without a login. Raises VCenterError."""
        ...
