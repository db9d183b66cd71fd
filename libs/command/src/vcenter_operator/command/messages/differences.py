"""What one statement says and another about the same vCenter does not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vcenter_operator.applier.core.describe import describe_object
from vcenter_operator.applier.core.plan import describe_unit
from vcenter_operator.common.identity import ObjectId, Unit
from vcenter_operator.common.messages import (
    Cluster,
    DnsChange,
    IndexEntry,
    Inventory,
    ManifestDelta,
    Statement,
    Unknown,
    UnknownCluster,
)

NEW, GONE, OTHER, UNKNOWN = "+", "-", "~", "?"
"""Marks of a line: appeared, is gone, is another, is not known any more."""


@dataclass(frozen=True)
class Indexes:
    """How the index of a ManifestDelta differs from an earlier one."""

    added: tuple[ObjectId, ...]
    changed: tuple[ObjectId, ...]
    left: tuple[ObjectId, ...]
    """Not in the index any more, but unknown: they stay as they are."""
    removed: tuple[ObjectId, ...]

    @classmethod
    def between(cls, before: ManifestDelta, after: ManifestDelta, *, digests: bool = True) -> Indexes:
        """`digests` False: those of one cannot be compared with those of the other."""
        old, new = before.index, after.index
        missing = {
            object_id: any(unknown.covers(entry.template, entry.unit) for unknown in after.unknown)
            for object_id, entry in old.items()
            if object_id not in new
        }
        common = sorted(old.keys() & new.keys())
        return cls(
            added=tuple(sorted(new.keys() - old.keys())),
            changed=tuple(one for one in common if _entry(old[one], digests) != _entry(new[one], digests)),
            left=tuple(sorted(one for one, unknown in missing.items() if unknown)),
            removed=tuple(sorted(one for one, unknown in missing.items() if not unknown)),
        )


def _entry(entry: IndexEntry, digests: bool) -> tuple[str, str, Unit]:
    return entry.digest if digests else "", entry.template, entry.unit


def differences(before: Statement, after: Statement, *, digests: bool = True) -> list[str]:
    """A line for each difference that matters, with its mark; none: they say the same of the vCenter."""
    lines: list[str] = []
    if before.present != after.present:
        lines.append(f"{OTHER} {'in the zone again' if after.present else 'gone from the zone'}")
    match before, after:
        case DnsChange(), DnsChange():
            lines += _zone(before, after)
        case Inventory(), Inventory():
            lines += _clusters(before, after)
        case ManifestDelta(), ManifestDelta():
            lines += _inputs(before, after) if digests else []
            lines += _objects(before, after, digests=digests)
            lines += _unknown(before.unknown, after.unknown)
            lines += _suspended(before.suspended, after.suspended)
    return lines


def _zone(before: DnsChange, after: DnsChange) -> Iterator[str]:
    if before.addresses != after.addresses:
        yield f"{OTHER} addresses {', '.join(before.addresses) or '-'} → {', '.join(after.addresses) or '-'}"
    if before.serial != after.serial:
        yield f"{OTHER} serial {before.serial} → {after.serial}"


def _clusters(before: Inventory, after: Inventory) -> Iterator[str]:
    old, new = _by_unit(before), _by_unit(after)
    for unit in sorted(old.keys() | new.keys()):
        was, now = old.get(unit), new.get(unit)
        if isinstance(now, UnknownCluster):
            if was != now:
                yield f"{UNKNOWN} {describe_unit(unit)}: {now.reason}"
        elif was is None or isinstance(was, UnknownCluster):
            yield f"{NEW} {describe_unit(unit)}{'' if was is None else ': known again'}"
        elif now is None:
            yield f"{GONE} {describe_unit(unit)}"
        elif was != now:
            changed = (name for name in Cluster.model_fields if getattr(was, name) != getattr(now, name))
            said = (f"{name} {getattr(was, name)!s} → {getattr(now, name)!s}" for name in changed)
            yield f"{OTHER} {describe_unit(unit)}: {', '.join(said)}"


def _by_unit(inventory: Inventory) -> dict[Unit, Cluster | UnknownCluster]:
    clusters: tuple[Cluster | UnknownCluster, ...] = (*inventory.clusters, *inventory.unknown)
    return {each.unit: each for each in clusters}


def _inputs(before: ManifestDelta, after: ManifestDelta) -> Iterator[str]:
    yield from _named("template", before.templates, after.templates)
    if before.inputs != after.inputs:
        yield f"{OTHER} the cells or the Secret"


def _named(what: str, before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield f"{NEW} {what} {name}"
        elif name not in after:
            yield f"{GONE} {what} {name}"
        elif before[name] != after[name]:
            yield f"{OTHER} {what} {name}"


def _objects(before: ManifestDelta, after: ManifestDelta, *, digests: bool) -> Iterator[str]:
    found = Indexes.between(before, after, digests=digests)
    for mark, ids, index in (
        (NEW, found.added, after.index),
        (OTHER, found.changed, after.index),
        (GONE, found.removed, before.index),
    ):
        for object_id in ids:
            entry = index[object_id]
            yield f"{mark} {describe_object(object_id)} ({entry.template}, {describe_unit(entry.unit)})"
    for object_id in found.left:
        yield f"{UNKNOWN} {describe_object(object_id)}: left as it is"


def _unknown(before: tuple[Unknown, ...], after: tuple[Unknown, ...]) -> Iterator[str]:
    old, new = ({(each.template, each.unit): each for each in one} for one in (before, after))
    for key, unknown in new.items():
        if key not in old:
            yield f"{UNKNOWN} {describe_unknown(unknown)}"
        elif old[key].reason != unknown.reason:
            yield f"{UNKNOWN} {describe_unknown(unknown)} (before: {old[key].reason})"
    for key, unknown in old.items():
        if key not in new:
            yield f"{NEW} {_of(unknown)}: known again"


def describe_unknown(unknown: Unknown) -> str:
    """What is unknown, and why."""
    return f"{_of(unknown)}: {unknown.reason}"


def _of(unknown: Unknown) -> str:
    template = unknown.template or "every template"
    return template if unknown.unit is None else f"{template} for {describe_unit(unknown.unit)}"


def _suspended(before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{OTHER} template {name} is suspended" for name in sorted(set(after) - set(before)))
    yield from (f"{OTHER} template {name} is suspended no more" for name in sorted(set(before) - set(after)))
