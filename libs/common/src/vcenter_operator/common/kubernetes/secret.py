"""Where the Secret with the configuration is; `vcenter_operator.common.secret` makes a source of it."""

from __future__ import annotations

from vcenter_operator.common.kubernetes.api import Resource


def secret_resource(namespace: str, name: str) -> Resource:
    """The one Secret, so that the right to this name alone is enough."""
    return Resource("", "v1", "secrets", namespace=namespace, field_selector=f"metadata.name={name}")
