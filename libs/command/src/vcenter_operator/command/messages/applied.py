"""What became of a ManifestDelta: by the record, and by what stands on the objects themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from vcenter_operator.command.diff.live import live_of, read_all
from vcenter_operator.command.messages.differences import Indexes
from vcenter_operator.common import labels
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta, Provenance
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.record.port import Record


class Acted(StrEnum):
    """How far the applier is, by what its record says it acted on."""

    ON_THIS = "acted on"
    ON_NEWER = "something newer was acted on since"
    NOT_YET = "not acted on yet"


class Became(StrEnum):
    """What a delta means for an object."""

    CREATED = "created"
    CHANGED = "changed"
    GONE = "to be deleted"
    LEFT = "left as it is"


@dataclass(frozen=True)
class Standing:
    """An object that a delta is about, as it stands now."""

    id: ObjectId
    became: Became
    exists: bool
    revision: str | None
    """The inventory that changed it last."""
    at: datetime | None
    """When the operator wrote it last, where the server notes that."""
    as_stated: bool | None
    """Whether it is what the delta states; None: the delta does not say."""


@dataclass(frozen=True)
class Applied:
    """What became of it."""

    acted: Acted
    acted_on: Provenance | None
    changed: datetime | None
    """When an object of the vCenter was last created, updated or deleted."""
    objects: tuple[Standing, ...]


async def applied(platform: Platform, delta: ManifestDelta, before: ManifestDelta | None) -> Applied:
    """What became of what a delta changed; of all that it states where it is not known what was stated before it.

    Raises TransientError, PermanentError.
    """
    record = await platform.store.get(delta.host)
    became = concerned(delta, before)
    live = await read_all(live_of(platform), became) if can_be_read(platform) else {}
    section = record.applied if record is not None else None
    return Applied(
        acted_by(record, delta),
        section.acted_on if section is not None else None,
        section.last_change if section is not None else None,
        tuple(standing(one, became[one], live[one], delta) for one in sorted(live)),
    )


def can_be_read(platform: Platform) -> bool:
    """Whether there is a place where objects stand."""
    return platform.kubernetes is not None or platform.output is not None


def acted_by(record: Record | None, delta: ManifestDelta) -> Acted:
    """By the record."""
    acted_on = record.applied.acted_on if record is not None and record.applied is not None else None
    if acted_on is None or acted_on.older_than(delta.provenance):
        return Acted.NOT_YET
    return Acted.ON_THIS if acted_on == delta.provenance else Acted.ON_NEWER


def concerned(delta: ManifestDelta, before: ManifestDelta | None) -> dict[ObjectId, Became]:
    """The objects that something follows for, and what."""
    if before is None:
        return dict.fromkeys(delta.index, Became.CREATED)
    found = Indexes.between(before, delta)
    return {
        **dict.fromkeys(found.added, Became.CREATED),
        **dict.fromkeys(found.changed, Became.CHANGED),
        **dict.fromkeys(found.removed, Became.GONE),
        **dict.fromkeys(found.left, Became.LEFT),
    }


def standing(object_id: ObjectId, became: Became, manifest: Mapping[str, Any] | None, delta: ManifestDelta) -> Standing:
    """From the object; None: there is none."""
    if manifest is None:
        return Standing(object_id, became, False, None, None, became is Became.GONE or None)
    metadata = manifest.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    entry = delta.index.get(object_id)
    as_stated = annotations.get(labels.DIGEST) == entry.digest if entry is not None else None
    return Standing(
        object_id,
        became,
        True,
        annotations.get(labels.REVISION),
        _written_at(metadata),
        False if became is Became.GONE else as_stated,
    )


def _written_at(metadata: Mapping[str, Any]) -> datetime | None:
    for entry in metadata.get("managedFields") or ():
        if entry.get("manager") == labels.FIELD_MANAGER and entry.get("operation") == "Apply" and entry.get("time"):
            return datetime.fromisoformat(entry["time"])
    return None
