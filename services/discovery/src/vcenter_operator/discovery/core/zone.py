"""A complete zone, and the vCenters in it.

Names are FQDNs in lower case without the trailing dot; the domain is the zone's origin, written the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

_LABEL = re.compile(r"vc-[a-z]+-\d+", re.ASCII)


class Version(NamedTuple):
    """A version of the zone (RFC 1995): its SOA serial, and who said so (a server's address and port, or a file)."""

    source: str
    serial: int


class Entry(NamedTuple):
    """What a name has of the records that make a vCenter."""

    addresses: tuple[str, ...] = ()
    """Values of its A and AAAA records."""
    alias: str | None = None
    """Target of its CNAME."""


@dataclass(frozen=True)
class ZoneCopy:
    """What one complete version of the zone has that counts: its vCenters, and what their aliases lead to."""

    version: Version
    names: Mapping[str, Entry]


def vcenters(names: Mapping[str, Entry], domain: str) -> dict[str, tuple[str, ...]]:
    """The vCenters of a zone: FQDN to its sorted addresses, none where an alias leads out of the zone or nowhere."""
    return {name: _addresses(names, name) for name in sorted(names) if is_vcenter(name, domain)}


def is_vcenter(name: str, domain: str) -> bool:
    r"""Whether a name is a vCenter's by the contract: `^vc-[a-z]+-\d+$`, directly under the domain."""
    suffix = f".{domain}"
    return name.endswith(suffix) and _LABEL.fullmatch(name.removesuffix(suffix)) is not None


def _addresses(names: Mapping[str, Entry], name: str) -> tuple[str, ...]:
    followed: set[str] = set()
    entry = names.get(name)
    while entry is not None and entry.alias is not None and name not in followed:
        followed.add(name)
        name = entry.alias
        entry = names.get(name)
    return tuple(sorted(entry.addresses)) if entry is not None else ()
