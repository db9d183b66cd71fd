"""What people say on a `VCenter`: its `spec`, and annotations for what is said once.

In doubt the safer reading counts, since no server checks a folder's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from vcenter_operator.common.labels import GROUP
from vcenter_operator.common.messages import Fact

APPROVE = f"{GROUP}/approve"
"""Annotation: the digest of the held plan that is released."""
RECONCILE = f"{GROUP}/reconcile"
"""Annotation: any text. When it changes, everything is looked at and planned afresh; the status answers the text."""
SUSPEND = f"{GROUP}/suspend"
"""Annotation on a VCenterTemplate: its objects are left as they are, unless it says `false`.

Metadata, so that it is no edit: a new generation would make deletions look asked for (see `watching.version_of`).
"""
ROLLOUT = f"{GROUP}/rollout"
"""Annotation on a VCenterTemplate: the version of a rollout that goes everywhere on a person's word."""


class PolicyName(StrEnum):
    """What of a plan is carried out, from the loosest to the strictest."""

    SYNC = "sync"
    """All of it."""
    UPSERT_ONLY = "upsert-only"
    """All but deletes."""
    OBSERVE = "observe"
    """Nothing: it is shown."""

    @property
    def strictness(self) -> int:
        """The higher of two counts."""
        return list(PolicyName).index(self)


class WhenGone(StrEnum):
    """What becomes of the objects of a vCenter that is gone from DNS."""

    RETAIN = "retain"
    DELETE = "delete"
    """After a time of grace, through the deletion budget."""


class Orders(Fact):
    """What people said, once read."""

    policy: PolicyName | None = None
    when_gone: WhenGone | None = None
    suspended: bool = False
    adopt: bool | None = None
    """Whether objects of the deployed operator may be taken over; None: as the region's setting says."""
    approve: str | None = None
    reconcile: str | None = None


def orders_of(resource: Mapping[str, Any]) -> Orders:
    """The orders on a `VCenter` resource. Never raises: what cannot be read is taken in the safer sense."""
    spec, annotations = resource.get("spec"), resource["metadata"].get("annotations")
    stated = spec if isinstance(spec, Mapping) else {}
    said = annotations if isinstance(annotations, Mapping) else {}
    return Orders(
        policy=_named(PolicyName, stated.get("policy"), PolicyName.OBSERVE),
        when_gone=_named(WhenGone, stated.get("whenGone"), WhenGone.RETAIN),
        suspended=stated.get("suspend") not in (None, False),
        adopt=None if stated.get("adopt") is None else stated["adopt"] is True,
        approve=_text(said.get(APPROVE)),
        reconcile=_text(said.get(RECONCILE)),
    )


def _named(kind: Any, value: Any, otherwise: Any) -> Any:
    if value is None:
        return None
    return kind(value) if value in list(kind) else otherwise


def _text(value: Any) -> str | None:
    return (str(value).strip() or None) if value is not None else None


def released_rollout(template: Mapping[str, Any]) -> str | None:
    """The version of a rollout that a person released on a VCenterTemplate resource."""
    annotations = template["metadata"].get("annotations")
    return _text(annotations.get(ROLLOUT)) if isinstance(annotations, Mapping) else None


def is_suspended(template: Mapping[str, Any]) -> bool:
    """Whether a VCenterTemplate resource is suspended."""
    annotations = template["metadata"].get("annotations")
    said = annotations.get(SUSPEND) if isinstance(annotations, Mapping) else None
    return said is not None and str(said).strip().lower() != "false"
