"""Objects that the deployed operator made: known by what it leaves on them, since it labels nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcenter_operator.applier.core.ownedfields import is_ours
from vcenter_operator.common import labels

_OURS = frozenset({labels.VCENTER, labels.TEMPLATE, labels.UNIT, labels.DIGEST, labels.REVISION})


def is_of_deployed_operator(metadata: Mapping[str, Any]) -> bool:
    """Whether an object is as the deployed operator leaves it, by its metadata.

    It applies under our field manager's name, states an owner reference to the VCenterTemplate (contract), and neither
    the label of an ApplySet nor any annotation of ours. So an object of ours that it applies over is as its own again:
    a server-side apply takes away what the same manager applied before.
    """
    if labels.PART_OF in (metadata.get("labels") or {}) or _OURS & (metadata.get("annotations") or {}).keys():
        return False
    return owning_template(metadata) is not None and any(map(is_ours, metadata.get("managedFields") or ()))


def owning_template(metadata: Mapping[str, Any]) -> str | None:
    """The name of the VCenterTemplate that an object names as its owner; None: it names none."""
    owners = (owner for owner in metadata.get("ownerReferences") or () if is_template(owner))
    return next((str(owner.get("name") or "") for owner in owners), None)


def is_template(owner: Mapping[str, Any]) -> bool:
    """Whether an owner reference is to a VCenterTemplate, in whichever version."""
    group = str(owner.get("apiVersion") or "").rpartition("/")[0]
    return (group, owner.get("kind")) == (labels.GROUP, labels.TEMPLATE_KIND)
