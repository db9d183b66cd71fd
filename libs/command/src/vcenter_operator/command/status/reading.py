"""Resources and counts, made into what is shown. Lenient: somebody else may have written there, or a later version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from vcenter_operator.command.status.model import (
    CONDITIONS,
    Cluster,
    Condition,
    Partition,
    StageView,
    Template,
    VCenter,
)
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.topology import ARROWS, Names
from vcenter_operator.common.identity import NEVER
from vcenter_operator.common.kubernetes.leases import lease_name, transitions
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.record.orders import is_suspended

Counts = Mapping[str, tuple[int, int] | None]
"""Queue to messages and consumers; None: there is no such queue."""


def vcenter_of(resource: Mapping[str, Any], topology: Topology) -> VCenter:
    """What a `VCenter` resource says."""
    metadata, status = _mapping(resource, "metadata"), _mapping(resource, "status")
    name = str(metadata.get("name") or "")
    discovery, collector, applier = (_mapping(status, stage) for stage in ("discovery", "collector", "applier"))
    clusters = tuple(sorted(map(_cluster, _mappings(collector.get("clusters"))), key=_place))
    conditions = tuple(sorted(map(_condition, _mappings(status.get("conditions"))), key=_order))
    return VCenter(
        name=name,
        partition=topology.partition(Stage.COLLECTOR, name),
        present=discovery.get("present"),
        serial=discovery.get("serial"),
        addresses=tuple(discovery.get("addresses") or ()),
        inventory=_minted(collector.get("revision")),
        applied=_mapping(applier, "actedOn").get("inventory"),
        cluster_count=collector.get("clusterCount", len(clusters) if collector else None),
        clusters=clusters,
        objects=applier.get("objects"),
        held=tuple(map(str, applier.get("held") or ())),
        held_plan=applier.get("heldPlan"),
        policy=applier.get("policy"),
        conditions=conditions,
        suspended=applier.get("suspended") is True,
        changed=_time(applier.get("lastChange")),
    )


def template_of(resource: Mapping[str, Any]) -> Template:
    """What the status of a `VCenterTemplate` says."""
    metadata, status = _mapping(resource, "metadata"), _mapping(resource, "status")
    rollout = _mapping(status, "rollout")
    conditions = map(_condition, _mappings(status.get("conditions")))
    return Template(
        name=f"{metadata.get('namespace')}/{metadata.get('name')}",
        suspended=is_suspended(resource),
        rendered=next((one for one in conditions if one.type == "Rendered"), None),
        phase=rollout.get("phase"),
        version=rollout.get("version"),
        canary=rollout.get("canary"),
        why=rollout.get("reason"),
    )


def stages_of(
    counts: Counts | None, leases: Mapping[str, Mapping[str, Any]] | None, names: Names
) -> tuple[StageView, ...]:
    """The stages from the broker's counts and the Leases (by name); None: these could not be asked for."""
    return tuple(_stage(stage, counts, leases, names) for stage in Stage)


def _stage(
    stage: Stage, counts: Counts | None, leases: Mapping[str, Mapping[str, Any]] | None, names: Names
) -> StageView:
    numbers = range(names.topology.partitions_of(stage))
    partitions = tuple(_partition(stage, number, counts, leases, names) for number in numbers)
    if counts is None:
        return StageView(stage, partitions)
    retries = [names.retry(stage, delay) for delay in names.delays] if stage in ARROWS else []
    members = counts.get(names.members(stage))
    return StageView(
        stage,
        partitions,
        replicas=members[1] if members else 0,
        retrying=sum(_messages(counts, queue) for queue in retries),
        parked=_messages(counts, names.parked(stage)),
        declared=members is not None,
    )


def _partition(
    stage: Stage, number: int, counts: Counts | None, leases: Mapping[str, Mapping[str, Any]] | None, names: Names
) -> Partition:
    lease = (leases or {}).get(lease_name(f"{stage}-{number}"), {})
    spec = _mapping(lease, "spec")
    found = counts.get(names.partition(stage, number)) if counts is not None else None
    return Partition(
        number,
        owned=None if counts is None else bool(found and found[1]),
        owner=spec.get("holderIdentity"),
        epoch=transitions(dict(lease)) or None,
        since=_time(spec.get("acquireTime")),
        waiting=None if counts is None else found[0] if found else 0,
    )


def _messages(counts: Counts, queue: str) -> int:
    found = counts.get(queue)
    return found[0] if found else 0


def _condition(condition: Mapping[str, Any]) -> Condition:
    text = {key: str(condition.get(key) or "") for key in ("type", "status", "reason", "message")}
    return Condition(**text, since=_time(condition.get("lastTransitionTime")))


def _cluster(cluster: Mapping[str, Any]) -> Cluster:
    keys = ("clusterName", "role", "availabilityZone", "moid")
    return Cluster(*(str(cluster.get(key) or "") for key in keys))


def _place(cluster: Cluster) -> tuple[str, str]:
    return cluster.availability_zone, cluster.name


def _minted(revision: Any) -> str | None:
    return None if revision in (None, str(NEVER)) else str(revision)


def _order(condition: Condition) -> tuple[int, str]:
    known = condition.type in CONDITIONS
    return (CONDITIONS.index(condition.type) if known else len(CONDITIONS), condition.type)


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def named(vcenters: Iterable[VCenter], name: str) -> VCenter | None:
    """The vCenter of that FQDN or, where there is only one, of that first label."""
    wanted, listed = name.lower().rstrip("."), list(vcenters)
    found = [vcenter for vcenter in listed if vcenter.name == wanted]
    found = found or [vcenter for vcenter in listed if vcenter.name.partition(".")[0] == wanted]
    return found[0] if len(found) == 1 else None
