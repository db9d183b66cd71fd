"""Statements about one vCenter, as they follow each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from vcenter_operator.command.messages.model import Entry, without_bodies
from vcenter_operator.common.identity import ObjectId, Revision, Unit
from vcenter_operator.common.messages import (
    Cluster,
    ClusterRole,
    DnsChange,
    IndexEntry,
    Inventory,
    ManifestDelta,
    Provenance,
    Statement,
    Trace,
    Unknown,
    UnknownCluster,
    ZoneSource,
)

HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
BEGAN = datetime(2026, 3, 1, 14, 0, tzinfo=UTC)
TEMPLATE = "monsoon3/nova-compute"


def unit(number: int) -> Unit:
    return Unit("cluster", "qa-de-1a", f"productionbb{number:03}")


def object_of(number: int, kind: str = "ConfigMap") -> ObjectId:
    return ObjectId("", kind, "monsoon3", f"nova-compute-bb{number}")


def zone(sequence: int = 1, **fields: Any) -> DnsChange:
    made = {"host": HOST, "present": True, "revision": Revision(1, sequence), "serial": 100 + sequence}
    return DnsChange(**{**made, "addresses": ("192.0.2.1",), **fields})


def inventory(
    sequence: int = 1, clusters: Sequence[int] = (1, 2), unknown: Sequence[int] = (), zone_at: int = 1, **fields: Any
) -> Inventory:
    made: dict[str, Any] = {
        "host": HOST,
        "present": True,
        "revision": Revision(3, sequence),
        "zone": ZoneSource(revision=Revision(1, zone_at), serial=100 + zone_at),
        "clusters": tuple(
            Cluster(
                moid=f"domain-c{number}",
                role=ClusterRole.PRODUCTION,
                cluster_name=f"productionbb{number:03}",
                name=f"bb{number}",
                availability_zone="qa-de-1a",
                datastore_regex="^eph.*$",
            )
            for number in clusters
        ),
        "unknown": tuple(
            UnknownCluster(
                moid=f"domain-c{number}",
                role=ClusterRole.PRODUCTION,
                cluster_name=f"productionbb{number:03}",
                availability_zone="qa-de-1a",
                reason="NoPermission",
            )
            for number in unknown
        ),
    }
    return Inventory(**{**made, **fields})


def delta(
    digests: Mapping[int, str], *, inventory_at: int = 1, templates: int = 1, unknown: Sequence[int] = (), **fields: Any
) -> ManifestDelta:
    made: dict[str, Any] = {
        "host": HOST,
        "present": True,
        "provenance": Provenance(
            zone=ZoneSource(revision=Revision(1, 1), serial=101),
            inventory=Revision(3, inventory_at),
            templates=templates,
            cells=1,
            config=1,
        ),
        "templates": {TEMPLATE: templates},
        "inputs": "one",
        "index": {
            object_of(number): IndexEntry(digest=digest, template=TEMPLATE, unit=unit(number))
            for number, digest in digests.items()
        },
        "unknown": tuple(Unknown(template=TEMPLATE, unit=unit(each), reason="line 3: no filter") for each in unknown),
    }
    return ManifestDelta(**{**made, **fields})


def because_of(cause: Statement, statement: Statement) -> Statement:
    """With the trace of what the other one caused."""
    return statement.model_copy(update={"trace": cause.trace.caused()})


def traced(statement: Statement, message: str, correlation: str) -> Statement:
    return statement.model_copy(update={"trace": Trace(message_id=message, correlation_id=correlation)})


def said(statement: Statement, after: float = 0.0) -> Entry:
    """As the archive would have it, `after` seconds after the beginning."""
    sent = tuple(sorted(statement.manifests)) if isinstance(statement, ManifestDelta) else ()
    return Entry(
        statement.receiver,
        BEGAN + timedelta(seconds=after),
        statement.host,
        statement.trace.message_id,
        statement.trace.correlation_id,
        without_bodies(statement) if isinstance(statement, ManifestDelta) else statement,
        sent,
    )
