"""What every rendered object carries, so that it is known whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcenter_operator.common import labels
from vcenter_operator.common.identity import Unit
from vcenter_operator.renderer.core.templates import Template

_OWN = f"{labels.GROUP}/", f"{labels.APPLYSET_DOMAIN}/"
"""What labels and annotations of the operator's begin with."""


def as_member(
    manifest: Mapping[str, Any],
    *,
    template: Template,
    unit: Unit,
    host: str,
    own_namespace: str,
    owner_references: bool = False,
) -> dict[str, Any]:
    """The manifest with the label of its ApplySet, the one of the vCenter's `VCenter` (KEP-3659), and the annotations

    that say what it was rendered from. With `owner_references` it is owned by its template, as under the deployed
    operator; a cluster-scoped object cannot be. What a template says of owners is left out, as the deployed operator
    overwrites it: the garbage collector would delete past the deletion budget. So are labels and annotations that are
    the operator's own, by which objects are told whose they are, claimed, handed over, and suspended.
    """
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "ownerReferences"}
    metadata["labels"] = {**_others(metadata.get("labels")), labels.PART_OF: labels.applyset_id(host, own_namespace)}
    metadata["annotations"] = {
        **_others(metadata.get("annotations")),
        labels.VCENTER: host,
        labels.TEMPLATE: template.key,
        labels.UNIT: str(unit),
    }
    if owner_references and "namespace" in metadata:
        metadata["ownerReferences"] = [
            {
                "apiVersion": labels.API_VERSION,
                "kind": labels.TEMPLATE_KIND,
                "name": template.name,
                "uid": template.uid,
                "blockOwnerDeletion": False,
            }
        ]
    return {**manifest, "metadata": metadata}


def _others(stated: Mapping[str, Any] | None) -> dict[str, Any]:
    """The labels or annotations that are the template's to set."""
    return {name: value for name, value in (stated or {}).items() if not name.startswith(_OWN)}
