"""Who owns which fields of an object, by its `managedFields` (`fieldsV1` of Kubernetes' server-side apply).

A field that we apply no longer is removed only if nobody else owns it. Others come to own it by applying the same
value, as people do with kubectl. So what we drop is taken from them first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vcenter_operator.common.labels import FIELD_MANAGER

Path = tuple[str, ...]
Entry = Mapping[str, Any]


def is_ours(entry: Entry) -> bool:
    """Whether it is what we applied. What we wrote otherwise counts as somebody else's."""
    return (entry.get("manager"), entry.get("operation"), entry.get("subresource")) == (FIELD_MANAGER, "Apply", None)


def shared(entries: Iterable[Entry]) -> bool:
    """Whether others own any of the fields that we applied, too."""
    entries = list(entries)
    ours = [entry.get("fieldsV1") or {} for entry in entries if is_ours(entry)]
    return any(_meet(mine, entry.get("fieldsV1") or {}) for entry in entries if _is_others(entry) for mine in ours)


def last_editor(entries: Iterable[Entry]) -> str:
    """The manager, other than ours, that wrote last to anything but the status; empty: there is none."""
    others = (
        (str(entry.get("time") or ""), str(entry.get("manager") or "")) for entry in entries if _is_foreign(entry)
    )
    return max(others, default=("", ""))[1]


def released(before: Sequence[Entry], after: Sequence[Entry]) -> list[Entry] | None:
    """The entries of `before` without others' ownership of what is ours now, and is not in `after` any more.

    None: there is no such field.
    """
    dropped = _owned(before) - _owned(after)
    kept: list[Entry] = []
    for entry in before:
        paths = _paths(entry.get("fieldsV1") or {})
        left = paths - dropped if _is_others(entry) else paths
        if left == paths:
            kept.append(entry)
        elif left:
            kept.append({**entry, "fieldsV1": _nested(left)})
    return kept if kept != list(before) else None


def _is_foreign(entry: Entry) -> bool:
    return entry.get("manager") != FIELD_MANAGER and entry.get("subresource") != "status"


def _is_others(entry: Entry) -> bool:
    return not is_ours(entry) and not entry.get("subresource")


def _owned(entries: Iterable[Entry]) -> set[Path]:
    return set[Path]().union(*(_paths(entry.get("fieldsV1") or {}) for entry in entries if is_ours(entry)))


def _meet(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if not one and not other:
        return True
    if (not one and "." in other) or (not other and "." in one):
        return True
    return any(_meet(one[name], other[name]) for name in one.keys() & other.keys())


def _paths(fields: Mapping[str, Any], above: Path = ()) -> set[Path]:
    """The fields themselves: those without any below them, and those that are marked as members (`.`)."""
    found: set[Path] = set()
    for name, below in fields.items():
        if name == ".":
            found.add(above)
        elif below:
            found |= _paths(below, (*above, name))
        else:
            found.add((*above, name))
    return found


def _nested(paths: Iterable[Path]) -> dict[str, Any]:
    """The inverse of `_paths`."""
    fields: dict[str, Any] = {}
    for path in sorted(paths):
        at = fields
        for name in path:
            at = at.setdefault(name, {})
    for path in paths:
        at = fields
        for name in path:
            at = at[name]
        if at:
            at["."] = {}
    return fields
