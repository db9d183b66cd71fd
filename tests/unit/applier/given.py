"""Short words for what the applier's tests are given: objects, units, deltas, manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.common import labels
from vcenter_operator.common.identity import ObjectId, Revision, Unit
from vcenter_operator.common.messages import IndexEntry, ManifestDelta, Provenance, Unknown, ZoneSource
from vcenter_operator.common.sealing import Keyring

HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
OTHER = "vc-b-0.cc.qa-de-1.cloud.sap"
OWN = "monsoon3"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOVA, CINDER, ZONED = "monsoon3/nova-compute", "monsoon3/cinder-volume", "monsoon3/nova-zone"
TEMPLATES = {NOVA: 1, CINDER: 1, ZONED: 1}
KEYRING = Keyring([b"0123456789abcdef0123456789abcdef"])


def cluster(number: int, zone: str = "qa-de-1a") -> Unit:
    """A production cluster."""
    return Unit("cluster", zone, f"productionbb{number:03}")


def zone(name: str = "qa-de-1a") -> Unit:
    """An availability zone."""
    return Unit("datacenter", name)


def deployment(name: str, namespace: str = "monsoon3") -> ObjectId:
    return ObjectId("apps", "Deployment", namespace, name)


def secret(name: str, namespace: str = "monsoon3") -> ObjectId:
    return ObjectId("", "Secret", namespace, name)


def config_map(name: str, namespace: str = "monsoon3") -> ObjectId:
    return ObjectId("", "ConfigMap", namespace, name)


def provenance(inventory: int = 1, *, zone: int = 1, templates: int = 1, cells: int = 1, config: int = 1) -> Provenance:
    return Provenance(
        zone=ZoneSource(revision=Revision(1, zone), serial=zone),
        inventory=Revision(1, inventory),
        templates=templates,
        cells=cells,
        config=config,
    )


def entry(template: str = NOVA, unit: Unit | None = None, digest: str = "d1") -> IndexEntry:
    return IndexEntry(digest=digest, template=template, unit=unit or cluster(1))


def owned(
    object_id: ObjectId,
    template: str | None = NOVA,
    unit: Unit | None = None,
    digest: str = "d1",
    host: str | None = HOST,
    **more: Any,
) -> Observed:
    """An object that exists, of `host` unless told otherwise."""
    if "unit_lost" in more:
        more.pop("unit_lost")
        unit = None
    else:
        unit = unit or cluster(1)
    fields = {"uid": f"uid of {object_id}", "version": "1", **more}
    return Observed(id=object_id, host=host, digest=digest, template=template, unit=unit, **fields)


def existing(*objects: Observed) -> dict[ObjectId, Observed]:
    return {one.id: one for one in objects}


def delta(
    index: Mapping[ObjectId, IndexEntry] | None = None,
    *,
    host: str = HOST,
    present: bool = True,
    units: Iterable[Unit] = (),
    unknown: Iterable[Unknown] = (),
    partial: str | None = None,
    templates: Mapping[str, int] | None = None,
    inputs: str = "i1",
    made_from: Provenance | None = None,
    manifests: bool = True,
) -> ManifestDelta:
    """A delta whose manifests are all there; the units are those of the index and `units`."""
    index = index or {}
    return ManifestDelta(
        host=host,
        present=present,
        provenance=made_from or provenance(),
        templates=dict(TEMPLATES if templates is None else templates),
        inputs=inputs,
        units=tuple(dict.fromkeys([*units, *(one.unit for one in index.values())])),
        partial=partial,
        index=dict(index),
        unknown=tuple(unknown),
        manifests=dict.fromkeys(index, b"sealed") if manifests else {},
    )


def manifest(
    object_id: ObjectId,
    host: str = HOST,
    template: str = NOVA,
    unit: Unit | None = None,
    *,
    own: str = OWN,
    **content: Any,
) -> dict[str, Any]:
    """As the renderer makes it; `own` is the operator's namespace."""
    return {
        "apiVersion": f"{object_id.group}/v1" if object_id.group else "v1",
        "kind": object_id.kind,
        "metadata": {
            "name": object_id.name,
            "namespace": object_id.namespace,
            "labels": {labels.PART_OF: labels.applyset_id(host, own)},
            "annotations": {
                labels.VCENTER: host,
                labels.TEMPLATE: template,
                labels.UNIT: str(unit or cluster(1)),
            },
        },
        **content,
    }


def stated(
    *manifests: Mapping[str, Any],
    host: str = HOST,
    bodies: bool = True,
    **more: Any,
) -> ManifestDelta:
    """A delta of these manifests, sealed as the renderer does it."""
    index: dict[ObjectId, IndexEntry] = {}
    sealed: dict[ObjectId, bytes] = {}
    for one in manifests:
        metadata = one["metadata"]
        object_id = ObjectId(
            one["apiVersion"].rpartition("/")[0], one["kind"], metadata.get("namespace") or "", metadata["name"]
        )
        annotations = metadata["annotations"]
        digest = KEYRING.digest(one)
        index[object_id] = IndexEntry(
            digest=digest, template=annotations[labels.TEMPLATE], unit=Unit.parse(annotations[labels.UNIT])
        )
        sealed[object_id] = KEYRING.seal(host, object_id, digest, one)
    made = delta(index, host=host, manifests=False, **more)
    return made.model_copy(update={"manifests": sealed if bodies else {}})
