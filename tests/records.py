"""A section of each stage with every field set: what a record may hold at most."""

from datetime import UTC, datetime

from vcenter_operator.common.identity import ObjectId, Revision
from vcenter_operator.common.messages import ClusterRole, Provenance, ZoneSource
from vcenter_operator.common.record.orders import PolicyName
from vcenter_operator.common.record.port import (
    Applied,
    ApprovedRemoval,
    Collected,
    Condition,
    Discovered,
    OwnedSample,
    RecordedCluster,
    RefusedLogins,
    Rendered,
    RolledOut,
    Section,
)

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2030, 1, 2, 4, 0, 0, tzinfo=UTC)
HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
ZONE = ZoneSource(revision=Revision(3, 4), serial=2**32 - 1)
DISCOVERED = Discovered(
    present=True,
    serial=2030010203,
    revision=Revision(3, 4),
    addresses=("10.0.0.1", "fd00::1"),
    gone_since=NOW,
    conditions=(Condition(type="Present", status="True", reason="InZone", message="serial 2030010203"),),
)
COLLECTED = Collected(
    revision=Revision(12, 1),
    refused=RefusedLogins(times=3, last=NOW, credentials="0f4b"),
    clusters=(
        RecordedCluster(
            moid="domain-c7",
            role=ClusterRole.PRODUCTION,
            cluster_name="productionbb001",
            availability_zone="qa-de-1a",
            instance="0f4b",
            members=("Datastore datastore-12", "DistributedVirtualPortgroup dvportgroup-7"),
        ),
    ),
)
APPLIED = Applied(
    acted_on=Provenance(zone=ZONE, inventory=Revision(12, 1), templates=2**40, cells=7, config=8),
    settled_templates={"monsoon3/some_template.with-dots": 2**47},
    settled_inputs="a text",
    declared=(ObjectId("", "ConfigMap", "monsoon3", "nova-compute-bb001"),),
    held=(ObjectId("apps", "Deployment", "monsoon3", "nova-compute-bb001"),),
    hold=3,
    held_plan="fedcba9876543210",
    approved=(ApprovedRemoval(id=ObjectId("", "Secret", "monsoon3", "nova-compute-bb001"), uid="a uid"),),
    policy=PolicyName.UPSERT_ONLY,
    suspended=True,
    reconciled="now",
    samples=(OwnedSample(at=NOW, owned=17),),
    objects=17,
    fields="0123456789abcdef",
    last_change=NOW,
    rollouts={"monsoon3/nova": RolledOut(version=2**47, checked="ok", changes=3, deployments=1, applied="ok")},
    conditions=(
        Condition(type="Applied", status="True", reason="AsStated"),
        Condition(type="DeletionHeld", status="True", reason="BeyondBudget", message="1 deletion is held"),
    ),
)
RENDERED = Rendered(
    objects=18,
    failing=1,
    conditions=(Condition(type="Rendered", status="False", reason="TemplateFails", message="nova, line 5: TypeError"),),
)
SECTIONS: list[Section] = [DISCOVERED, COLLECTED, RENDERED, APPLIED]
