"""What a vCenter said, as plain data: nothing here is interpreted yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, Self


@dataclass(frozen=True)
class Unreadable:
    """Something that is there, or may be, and could not be read. Never the same as absent."""

    reason: str


class Absence(Enum):
    """The type of `ABSENT`."""

    ABSENT = "ManagedObjectNotFound"


ABSENT: Final = Absence.ABSENT
"""The vCenter itself said ManagedObjectNotFound: the one proof that an object is gone."""

Answer = str | Unreadable | Literal[Absence.ABSENT]
"""What a managed object that was asked for its name answered."""


@dataclass(frozen=True, order=True)
class Reference:
    """A managed object: its vSphere type and its id, unique and stable within one vCenter."""

    kind: str
    moid: str

    def __str__(self) -> str:
        return f"{self.kind} {self.moid}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str()`."""
        kind, _, moid = text.partition(" ")
        return cls(kind, moid)


def cluster_reference(moid: str) -> Reference:
    """The reference of a cluster."""
    return Reference("ClusterComputeResource", moid)


@dataclass(frozen=True)
class Member:
    """A datastore or a network (port group) that a cluster lists."""

    reference: Reference
    name: str | Unreadable


Members = tuple[Member, ...] | Unreadable
"""What a cluster lists, without those that were deleted meanwhile; Unreadable: the list itself could not be read."""


@dataclass(frozen=True)
class SeenCluster:
    """A cluster, as one reading of the vCenter shows it. Names are as vCenter states them (`%2f` stays `%2f`)."""

    moid: str
    name: str | Unreadable
    datacenter: str | Unreadable
    """Name of the datacenter, whatever folders lie between."""
    datastores: Members = ()
    networks: Members = ()
    """In the order of the cluster's `network` property."""


@dataclass(frozen=True)
class Snapshot:
    """Every cluster that the account saw at one moment. What is missing here is not proven absent."""

    clusters: tuple[SeenCluster, ...] = field(default=())
    instance: str | None = None
    """Which vCenter it is (`about.instanceUuid`): managed object ids mean something within one alone."""
