"""Settings of the discovery."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, IPvAnyAddress

from vcenter_operator.common.settings import Settings


class DiscoverySettings(Settings):
    """What the discovery needs beyond what every stage does."""

    secret_keys: ClassVar[tuple[str, ...]] = ()
    """It logs on to no vCenter."""

    dns_poll_every: float = Field(default=10.0, gt=0)
    """Seconds between two looks at the zone's SOA serial (jittered by a fifth): the net under NOTIFY."""
    dns_timeout: float = Field(default=5.0, gt=0)
    """Seconds for one question; in a transfer, for the next message."""
    dns_transfer_timeout: float = Field(default=120.0, gt=0)
    """Seconds for a whole zone transfer."""
    dns_transfer_memory: int = Field(default=384, ge=64)
    """MiB that the process which transfers the zone may have: 100,000 names take 130. Keep it below the container's
    limit."""
    dns_retry_longest: float = Field(default=30.0, gt=0)
    """Seconds between two attempts while the zone cannot be read, at most (doubled from 1)."""
    zone_held_share: float = Field(default=0.1, ge=0, le=1)
    """A zone that lost more than this share of its vCenters within an hour is held as unknown until confirmed; the loss
    of one or two is not, that of all always is. 1: only that of all."""
    zone_confirm_after: float = Field(default=60.0, gt=0)
    """Seconds until the second look at a zone that is held."""
    zone_set_back_after: float = Field(default=60.0, ge=0)
    """Seconds for which only older serials have to be seen until the zone counts as set back, and not a server as
    lagging."""
    zone_unreadable_after: float = Field(default=30.0, ge=0)
    """Seconds for which the zone may be unreadable before the vCenters' conditions say so."""
    notify_port: int | None = Field(default=None, ge=1, le=65535)
    """Where NOTIFY (RFC 1996) is listened for, UDP and TCP; none: not at all, and changes are
    seen at the next look."""
    notify_address: IPvAnyAddress | None = None
    """The address to listen on; none: every one of this host's, IPv4 and IPv6."""
