"""A message of each kind that says all that it can, and one that says that a vCenter is gone."""

from __future__ import annotations

from collections.abc import Iterator

from tests.recorded import HOST, NAMESPACE
from vcenter_operator.common.identity import ObjectId, Revision, Unit
from vcenter_operator.common.messages import (
    Cluster,
    ClusterRole,
    DnsChange,
    IndexEntry,
    Inventory,
    ManifestDelta,
    Provenance,
    ResyncRequest,
    Rollout,
    Stage,
    Statement,
    Step,
    Trace,
    Unknown,
    UnknownCluster,
    ZoneSource,
)
from vcenter_operator.common.sealing import Keyring

TRACE = Trace(
    message_id="6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    correlation_id="0e37df36-f698-11e6-8dd4-cb9ced3df976",
    causation_id="7d444840-9dc0-11d1-b245-5ffdce74fad2",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)
REVISION = Revision(7, 42)
ZONE = ZoneSource(revision=Revision(3, 9), serial=2026112801)
MADE_FROM = Provenance(zone=ZONE, inventory=REVISION, templates=311, cells=298, config=305)
UNIT = Unit("cluster", "qa-de-1a", "productionbb010")
SECRET = ObjectId("", "Secret", NAMESPACE, "nova-compute-bb10-credentials")
MANIFEST = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET.name}, "stringData": {"password": "word"}}


def samples(keyring: Keyring) -> Iterator[tuple[str, Statement | ResyncRequest]]:
    """Each with a name."""
    digest, sealed = keyring.sealed(HOST, SECRET, MANIFEST)
    yield (
        "full",
        DnsChange(
            host=HOST, present=True, trace=TRACE, revision=REVISION, serial=ZONE.serial, addresses=("192.0.2.1", "::1")
        ),
    )
    yield "gone", DnsChange(host=HOST, present=False, trace=TRACE, revision=REVISION, serial=ZONE.serial)
    yield (
        "full",
        Inventory(
            host=HOST,
            present=True,
            trace=TRACE,
            revision=REVISION,
            zone=ZONE,
            clusters=(
                Cluster(
                    moid="domain-c10",
                    role=ClusterRole.PRODUCTION,
                    cluster_name="productionbb010",
                    name="bb10",
                    availability_zone="qa-de-1a",
                    datastore_regex="^eph_bb010_.*",
                    datastore_hagroup_regex=".*_hg(?P<hagroup>[ab])$",
                    bridge="br-bb010",
                    physical="bb010",
                ),
            ),
            unknown=(
                UnknownCluster(
                    moid="domain-c11",
                    role=ClusterRole.STORAGE,
                    cluster_name="storage011",
                    availability_zone="qa-de-1a",
                    reason="its name cannot be read",
                ),
            ),
            partial="a cluster cannot be placed",
        ),
    )
    yield "gone", Inventory(host=HOST, present=False, trace=TRACE, revision=REVISION, zone=ZONE)
    yield (
        "full",
        ManifestDelta(
            host=HOST,
            present=True,
            trace=TRACE,
            provenance=MADE_FROM,
            templates={f"{NAMESPACE}/nova-compute": 5},
            inputs="the content of cells and Secret",
            units=(UNIT, Unit("datacenter", "qa-de-1a")),
            partial="a cluster cannot be placed",
            index={SECRET: IndexEntry(digest=digest, template=f"{NAMESPACE}/nova-compute", unit=UNIT)},
            unknown=(
                Unknown(template=None, unit=UNIT, reason="its datastores"),
                Unknown(template="a/b", unit=None, reason=""),
            ),
            suspended=(f"{NAMESPACE}/neutron",),
            rollouts={f"{NAMESPACE}/nova-compute": Rollout(version=8, step=Step.CANARY)},
            manifests={SECRET: sealed},
        ),
    )
    yield "gone", ManifestDelta(host=HOST, present=False, trace=TRACE, provenance=MADE_FROM)
    yield "full", ResyncRequest(stage=Stage.RENDERER, partition=3, host=HOST, objects=(SECRET,), trace=TRACE)
    yield "partition", ResyncRequest(stage=Stage.DISCOVERY, partition=0, trace=TRACE)
