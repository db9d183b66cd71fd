"""In which order objects are written: what others mount comes first, and goes last (contract)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import TypeVar

from vcenter_operator.common.identity import ObjectId

_T = TypeVar("_T")
_FIRST = [("", "Secret"), ("", "ConfigMap"), ("apps", "Deployment")]


def rank(object_id: ObjectId) -> int:
    """The place of an object's kind: Secrets, ConfigMaps, Deployments, the rest."""
    kind = (object_id.group, object_id.kind)
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)


def in_order(items: Iterable[_T], id_of: Callable[[_T], ObjectId], *, reverse: bool = False) -> tuple[_T, ...]:
    """In the order of applying, or `reverse` for deleting; by name within a kind."""
    return tuple(sorted(items, key=lambda item: (-rank(id_of(item)) if reverse else rank(id_of(item)), id_of(item))))


def phases(items: Iterable[_T], id_of: Callable[[_T], ObjectId]) -> list[list[_T]]:
    """Items that are in order, in groups of which each may be worked on at once, one group after the other."""
    return [list(group) for _, group in groupby(items, key=lambda item: rank(id_of(item)))]
