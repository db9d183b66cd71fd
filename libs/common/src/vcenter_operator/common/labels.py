"""Names on the cluster's objects: the API group, labels, annotations, field manager."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

GROUP = "vcenter-operator.stable.sap.cc"
VERSION = "v1"
API_VERSION = f"{GROUP}/{VERSION}"
VCENTER_KIND = "VCenter"
TEMPLATE_KIND = "VCenterTemplate"

FIELD_MANAGER = "vcenter-operator"
"""Of everything that is rendered, and of the CRDs (contract)."""

VCENTER = f"{GROUP}/vcenter"
"""Annotation: FQDN of the vCenter that an object was rendered for."""
TEMPLATE = f"{GROUP}/template"
"""Annotation: `<namespace>/<name>` of the template that an object was rendered from."""
UNIT = f"{GROUP}/unit"
"""Annotation: the `Unit` that an object was rendered for."""
DIGEST = f"{GROUP}/digest"
"""Annotation: keyed digest of the manifest that was applied last."""
REVISION = f"{GROUP}/revision"
"""Annotation: revision of the inventory that changed an object last."""

APPLYSET_DOMAIN = "applyset.kubernetes.io"
PART_OF = f"{APPLYSET_DOMAIN}/part-of"
"""Label of a member: the id of its ApplySet (KEP-3659)."""
APPLYSET_ID = f"{APPLYSET_DOMAIN}/id"
"""Label of the parent (KEP-3659)."""
APPLYSET_TOOLING = f"{APPLYSET_DOMAIN}/tooling"
"""Annotation of the parent: `<tool>/<version>` that owns the set (KEP-3659)."""
CONTAINS_GROUP_KINDS = f"{APPLYSET_DOMAIN}/contains-group-kinds"
"""Annotation of the parent: `Kind.group`, comma-separated, sorted (KEP-3659)."""
ADDITIONAL_NAMESPACES = f"{APPLYSET_DOMAIN}/additional-namespaces"
"""Annotation of the parent: namespaces of members but the parent's own, comma-separated, sorted (KEP-3659)."""
MEMBERS_IN = f"{GROUP}/namespaces"
"""Annotation of the parent: namespaces of members, with its own only if any are there, comma-separated, sorted. The
KEP's leaves that open, and whoever has no right to objects in the parent's namespace cannot look."""
IS_PARENT_TYPE = f"{APPLYSET_DOMAIN}/is-parent-type"
"""Label of the CRD whose resources may be parents (KEP-3659)."""


@lru_cache(4096)
def applyset_id(name: str, namespace: str) -> str:
    """The id of the ApplySet whose parent is the `VCenter` of this name.

    KEP-3659: `applyset-<base64(sha256(<name>.<namespace>.<kind>.<group>))>-v1`, in the URL-safe alphabet of RFC 4648
    without padding.
    """
    identity = f"{name}.{namespace}.{VCENTER_KIND}.{GROUP}"
    digest = hashlib.sha256(identity.encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}-v1"
