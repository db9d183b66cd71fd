"""Objects as they stand in the cluster, and what their metadata says about whose they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from vcenter_operator.applier.core.adoption import is_of_deployed_operator
from vcenter_operator.common import labels
from vcenter_operator.common.identity import ObjectId, Unit

CLAIMED_BY = f"{labels.GROUP}/claimed-by"
"""Annotation on an object of one vCenter: another one renders it too, and takes it over when it would be deleted."""


class GroupKind(NamedTuple):
    """A kind without its version, in the form of KEP-3659: `Deployment.apps`, `Secret`."""

    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str()`."""
        kind, _, group = text.strip().partition(".")
        return cls(group, kind)

    @classmethod
    def of(cls, object_id: ObjectId) -> Self:
        """The kind of an object."""
        return cls(object_id.group, object_id.kind)


@dataclass(frozen=True)
class Claim:
    """Who wants to take an object over, and what it is to them: so that it is known as theirs from the first moment."""

    host: str
    template: str
    unit: Unit

    def __str__(self) -> str:
        return json.dumps({"vcenter": self.host, "template": self.template, "unit": str(self.unit)}, sort_keys=True)

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """The inverse of `str()`; None where it is no claim."""
        try:
            fields = json.loads(text or "")
            return cls(str(fields["vcenter"]), str(fields["template"]), Unit.parse(fields["unit"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Observed:
    """One object that exists."""

    id: ObjectId
    uid: str
    version: str
    """Its resourceVersion."""
    host: str | None
    """The vCenter whose ApplySet it is in; None: it is not ours."""
    digest: str | None = None
    template: str | None = None
    unit: Unit | None = None
    terminating: bool = False
    """Deleted, and not gone yet."""
    lingers: bool = False
    """It has finalizers: deleting it does not end it at once."""
    claim: Claim | None = None
    adoptable: bool = False
    """The deployed operator made it, and it is in no ApplySet."""
    fields: str = field(default="", compare=False)
    """Names the fields of it that are ours; it is no other object where only that differs."""
    shared: bool = field(default=False, compare=False)
    """Others own some of these fields too."""
    editor: str = field(default="", compare=False)
    """The field manager, other than ours, that wrote to it last."""

    @property
    def kind(self) -> GroupKind:
        """Its kind."""
        return GroupKind.of(self.id)


def observe(
    object_id: ObjectId,
    metadata: Mapping[str, Any],
    *,
    namespace: str,
    hosts: Iterable[str],
    ours: bool,
    fields: str = "",
    shared: bool = False,
    editor: str = "",
) -> Observed:
    """What an object's metadata says.

    It belongs to a vCenter when its ApplySet label is the id made from that vCenter's name and our own namespace: the
    label alone decides (KEP-3659), and cannot be borrowed. `hosts` are tried beside the one that its annotation names.

    `ours` is whether we ever wrote it. The label alone may have been copied, by a person or by a controller: the
    endpoints controllers hand a Service's labels on.
    """
    annotations = metadata.get("annotations") or {}
    part_of = (metadata.get("labels") or {}).get(labels.PART_OF)
    candidates = [host for host in (annotations.get(labels.VCENTER), *hosts) if host]
    belongs = (host for host in candidates if part_of == labels.applyset_id(host, namespace))
    return Observed(
        id=object_id,
        uid=str(metadata.get("uid") or ""),
        version=str(metadata.get("resourceVersion") or ""),
        host=next(belongs, None) if part_of and ours else None,
        digest=annotations.get(labels.DIGEST),
        template=annotations.get(labels.TEMPLATE),
        unit=_unit(annotations.get(labels.UNIT)),
        terminating=metadata.get("deletionTimestamp") is not None,
        lingers=bool(metadata.get("finalizers")),
        claim=Claim.parse(annotations.get(CLAIMED_BY)),
        adoptable=is_of_deployed_operator(metadata),
        fields=fields,
        shared=shared,
        editor=editor,
    )


def _unit(text: str | None) -> Unit | None:
    try:
        return Unit.parse(text or "")
    except ValueError:
        return None
