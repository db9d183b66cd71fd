"""The file that statements are exported to: JSON, for a person to look through before it leaves the region."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vcenter_operator.applier.adapters.manifestfile import is_named, manifest_path, manifest_text
from vcenter_operator.command.messages.document import entry_document, moment_text
from vcenter_operator.command.messages.model import Entry
from vcenter_operator.command.messages.redaction import MASKED, Resource
from vcenter_operator.common import labels
from vcenter_operator.common.configuration import SECRET_NAME
from vcenter_operator.common.documents import decoded
from vcenter_operator.common.embedded.files import replace_file
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import DnsChange, Inventory, ManifestDelta, Stage
from vcenter_operator.common.surroundings import Surroundings

SCHEMA = 1
_KINDS: dict[str, type[DnsChange | Inventory | ManifestDelta]] = {
    kind.__name__: kind for kind in (DnsChange, Inventory, ManifestDelta)
}
_BUS_KEY = "YSBrZXkgdGhhdCBpcyBub2JvZHkncw=="
"""Base64 of "a key that is nobody's": what is rendered offline is sealed with it, and thrown away."""


@dataclass(frozen=True)
class Recording:
    """Statements of a region, and what is needed to render them again."""

    exported_at: datetime
    surroundings: Surroundings
    entries: tuple[Entry, ...]
    templates: tuple[Resource, ...] = ()
    """VCenterTemplates as they were at the export; none: they were not asked for."""
    cells: tuple[Resource, ...] = ()
    secret: Mapping[str, str] = field(default_factory=dict)
    """Values of the Secret, masked."""

    def text(self) -> str:
        """The file."""
        document = {
            "vcenterOperatorMessages": SCHEMA,
            "exportedAt": moment_text(self.exported_at),
            "surroundings": asdict(self.surroundings),
            "statements": [entry_document(entry) for entry in self.entries],
            "templates": list(self.templates),
            "cells": list(self.cells),
            "secret": dict(self.secret),
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read_recording(path: Path) -> Recording:
    """The file that `Recording.text` made. Raises ConfigurationError: it names the file, and what is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is no JSON: {error}") from None
    schema = document.get("vcenterOperatorMessages") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ConfigurationError(f"{path}: is no export of this version (vcenterOperatorMessages: {SCHEMA})")
    entries = []
    try:
        for number, item in enumerate(document["statements"], 1):
            try:
                entries.append(_entry(item))
            except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
                what = error.errors(include_input=False)[0]["loc"] if isinstance(error, ValidationError) else error
                raise ConfigurationError(f"{path}: statement {number}: {what}") from None
        return Recording(
            datetime.fromisoformat(document["exportedAt"]),
            Surroundings(**document["surroundings"]),
            tuple(entries),
            templates=tuple(map(_resource, document["templates"])),
            cells=tuple(map(_resource, document["cells"])),
            secret={str(key): str(value) for key, value in document["secret"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path}: is damaged: {error!r}") from None


def unpack(recording: Recording, folder: Path, *, templates: bool = True) -> None:
    """Writes what stands for the region to a new folder: `site.yaml`, and in `manifests/` what is rendered from.

    That is templates, cells and the masked Secret; without `templates` there is none of it.
    Raises ConfigurationError: the export has no templates, or something is there already.
    """
    if templates and not recording.templates:
        raise ConfigurationError("the export has no templates: export it --with-templates, or name a folder of them")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder}: is not empty; name a new folder, nothing in it would be replaced")
    where = recording.surroundings
    site = {"region": where.region, "domain": where.domain, "namespace": where.own_namespace, "vcenters": {}}
    replace_file(folder / "site.yaml", yaml.safe_dump(site, sort_keys=False))
    values = {"username": MASKED, "password": MASKED, **recording.secret, "bus_key": _BUS_KEY}
    metadata = {"name": SECRET_NAME, "namespace": where.own_namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}
    for resource in (*recording.templates, *recording.cells, secret) if templates else ():
        named = {key: value for key, value in resource["metadata"].items() if key in ("name", "namespace", "labels")}
        path = folder / "manifests" / manifest_path(_id_of(resource))
        replace_file(path, manifest_text({**resource, "metadata": named}))


def _entry(item: Mapping[str, Any]) -> Entry:
    statement = None
    if "statement" in item:
        kind = _KINDS[item["kind"]]
        statement = kind.model_validate(decoded(kind, item["statement"]))
    return Entry(
        Stage(item["for"]),
        datetime.fromisoformat(item["at"]),
        str(item["host"]),
        str(item["messageId"]),
        str(item["correlationId"]),
        statement,
        tuple(ObjectId.parse(one) for one in item.get("sent") or ()),
        item.get("problem"),
    )


def _resource(item: Mapping[str, Any]) -> Resource:
    """Raises ValueError: it is neither a template nor a ConfigMap, or has no name that could be one."""
    if item["kind"] not in (labels.TEMPLATE_KIND, "ConfigMap") or not is_named(_id_of(item)):
        raise ValueError(f"{_id_of(item)} is nothing to render from")
    return item


def _id_of(resource: Resource) -> ObjectId:
    metadata = resource["metadata"]
    group = resource["apiVersion"].rpartition("/")[0]
    return ObjectId(group, resource["kind"], metadata["namespace"], metadata["name"])
