"""One manifest in one file: where it is, and what the text looks like. Equal manifests give equal bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml

from vcenter_operator.common.errors import PermanentError
from vcenter_operator.common.identity import ObjectId

CLUSTER_SCOPED = "_cluster"
"""The folder of objects without a namespace: no namespace can be called so."""

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]*")
_FIRST = ("apiVersion", "kind", "metadata")
_Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def is_named(object_id: ObjectId) -> bool:
    """Whether kind, namespace and name could be those of a Kubernetes object, and so are safe in a path."""
    return bool(
        (not object_id.namespace or _NAMESPACE.fullmatch(object_id.namespace))
        and _NAME.fullmatch(object_id.name)
        and _NAME.fullmatch(object_id.kind)
        and (not object_id.group or _NAME.fullmatch(object_id.group))
    )


def manifest_path(object_id: ObjectId) -> PurePath:
    """`<namespace>/<kind>-<name>.yaml`, in lower case but for the name; kinds of custom groups have the group too.

    Raises:
        PermanentError: see `is_named`.
    """
    if not is_named(object_id):
        raise PermanentError(f"{object_id}: is no name of a Kubernetes object")
    kind = object_id.kind.lower()
    if "." in object_id.group and not object_id.group.endswith(".k8s.io"):
        kind = f"{kind}.{object_id.group}"
    return PurePath(object_id.namespace or CLUSTER_SCOPED, f"{kind}-{object_id.name}.yaml")


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """YAML as people write it: apiVersion, kind, metadata, then the rest sorted; long texts as blocks."""
    ordered = {key: manifest[key] for key in (*_FIRST, *sorted(manifest)) if key in manifest}
    ordered = {key: ordered[key] if key in _FIRST[:2] else _sorted(ordered[key]) for key in ordered}
    return yaml.dump(ordered, Dumper=_ReadableDumper, sort_keys=False, allow_unicode=True, width=120)


class _ReadableDumper(_Dumper):  # type: ignore[misc,valid-type]
    def ignore_aliases(self, _: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_ReadableDumper.add_representer(str, _text)


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
