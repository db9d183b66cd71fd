"""The record: what is remembered of each vCenter, in the cluster itself. No database."""

from vcenter_operator.common.record.port import (
    Applied,
    Collected,
    Condition,
    Discovered,
    OwnedSample,
    Record,
    RecordedCluster,
    RefusedLogins,
    Rendered,
    Section,
    Store,
)

__all__ = [
    "Applied",
    "Collected",
    "Condition",
    "Discovered",
    "OwnedSample",
    "Record",
    "RecordedCluster",
    "RefusedLogins",
    "Rendered",
    "Section",
    "Store",
]
