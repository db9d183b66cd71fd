"""An object before and after, as a unified diff of what matters in it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from vcenter_operator.applier.adapters.manifestfile import manifest_path, manifest_text
from vcenter_operator.command.diff.masking import masked
from vcenter_operator.common import labels
from vcenter_operator.common.identity import ObjectId

_OF_THE_SERVER = frozenset(
    {"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink", "deletionTimestamp",
     "deletionGracePeriodSeconds"}
)  # fmt: skip
_BOOKKEEPING = frozenset({labels.DIGEST, labels.REVISION, "kubectl.kubernetes.io/last-applied-configuration"})
"""Annotations that change along with the rest, or repeat it."""
_NOWHERE = "/dev/null"


def unified(object_id: ObjectId, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """The lines of a unified diff, masked; none: there is no difference worth the name. None: it does not exist."""
    shown = masked(reduced(before), reduced(after))
    path = manifest_path(object_id)
    old, new = ([] if one is None else manifest_text(one).splitlines() for one in shown)
    return list(
        difflib.unified_diff(
            old,
            new,
            _NOWHERE if before is None else f"live/{path}",
            _NOWHERE if after is None else f"planned/{path}",
            lineterm="",
        )
    )


def reduced(manifest: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Without status, and without what the server and the operator note for themselves."""
    if manifest is None:
        return None
    metadata = {key: value for key, value in manifest.get("metadata", {}).items() if key not in _OF_THE_SERVER}
    annotations = {
        key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key not in _BOOKKEEPING
    }
    if annotations:
        metadata["annotations"] = annotations
    return {**{key: value for key, value in manifest.items() if key != "status"}, "metadata": metadata}
