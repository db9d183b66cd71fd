"""How things are named: revisions, objects, units and partitions."""

from __future__ import annotations

import zlib
from functools import lru_cache
from sys import intern
from typing import NamedTuple, Self
from urllib.parse import quote, unquote

DNS_NAME = r"[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*"
"""A vCenter's FQDN, as a regular expression (RFC 1123, and the underscores that DNS allows); 253 characters at most."""


class Revision(NamedTuple):
    """When a fact was observed: the owner's epoch, then its running number. Never a clock.

    Minted once, where the fact was observed, and carried on unchanged. Tuple order is age.
    """

    epoch: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str()`. Raises ValueError."""
        epoch, sequence = text.split(".")
        return cls(int(epoch), int(sequence))


NEVER = Revision(0, 0)


class ObjectId(NamedTuple):
    """A Kubernetes object, without the API version: versions come and go, the object stays.

    `namespace` is empty for a cluster-scoped object, `group` for the core group.
    """

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str()`; tens of thousands share the texts of a few kinds. Raises ValueError."""
        group, kind, namespace, name = text.split("/")
        return cls(intern(group), intern(kind), intern(namespace), name)


class Unit(NamedTuple):
    """What a template is rendered once for: a production cluster, an availability zone or a storage cluster.

    `cluster` is the cluster's name as in vCenter, empty for the scope `datacenter`.
    """

    scope: str
    availability_zone: str
    cluster: str = ""

    def __str__(self) -> str:
        parts = (self.scope, self.availability_zone, self.cluster) if self.cluster else self[:2]
        return "/".join(quote(part, safe=" ") for part in parts)

    @staticmethod
    def parse(text: str) -> Unit:
        """The inverse of `str()`; all objects of a unit share one. Raises ValueError."""
        return _unit(text)


@lru_cache(maxsize=1024)
def _unit(text: str) -> Unit:
    parts = [unquote(part) for part in text.split("/")]
    if len(parts) not in (2, 3):
        raise ValueError(f"not a unit: {text!r}")
    return Unit(*parts)


def partition_of(host: str, partitions: int) -> int:
    """The partition of a vCenter: `crc32(FQDN) % P`, the same in every stage."""
    return zlib.crc32(host.encode()) % partitions
