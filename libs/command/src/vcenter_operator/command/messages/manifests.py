"""Sealed manifests, opened for a person: with the keys of the Secret, and masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcenter_operator.command.diff.masking import masked
from vcenter_operator.common.errors import OperatorError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta
from vcenter_operator.common.sealing import Keyring

Opened = Mapping[ObjectId, Mapping[str, Any] | str]
"""Each manifest, or why it cannot be opened. Not masked yet."""


def opened(keyring: Keyring, delta: ManifestDelta) -> Opened:
    """Those that a delta brought."""
    found: dict[ObjectId, Mapping[str, Any] | str] = {}
    for object_id, sealed in sorted(delta.manifests.items()):
        try:
            found[object_id] = keyring.open(delta.host, object_id, delta.index[object_id].digest, sealed)
        except OperatorError as error:
            found[object_id] = str(error)
    return found


def documents(one: Opened, other: Opened) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides without secrets; that one differs is still seen."""
    left: dict[str, Any] = {}
    right: dict[str, Any] = {}
    for object_id in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(object_id), other.get(object_id)
        shown = masked(*(each if isinstance(each, Mapping) else None for each in (mine, theirs)))
        for side, raw, shown_as in ((left, mine, shown[0]), (right, theirs, shown[1])):
            if raw is not None:
                side[str(object_id)] = raw if isinstance(raw, str) else shown_as
    return left, right
