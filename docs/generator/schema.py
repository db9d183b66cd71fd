"""docs/schema: JSON Schema (2020-12) of every message, from its type."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from vcenter_operator.common import labels
from vcenter_operator.common.messages import SCHEMA, Fact
from vcenter_operator.common.wire import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MANIFEST = "Manifest"


class _OfMessages(GenerateJsonSchema):
    """Bytes as base64, which is how JSON can have them."""

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:  # noqa: ARG002
        """See `GenerateJsonSchema`."""
        return {"type": "string", "contentEncoding": "base64"}


def name_of(kind: str) -> str:
    """The schema's name; what it is called is in decision 27."""
    return f"{kind}.v{SCHEMA}.schema.json"


def schema_of(kind: str, message: type[Fact]) -> dict[str, Any]:
    """Of the whole map that travels: `schema` and `kind` beside the message's own fields."""
    own = message.model_json_schema(mode="serialization", schema_generator=_OfMessages)
    envelope = {
        "schema": {"const": SCHEMA, "description": "The version of the schema."},
        "kind": {"const": kind, "description": "The type of the message."},
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:vcenter-operator:{name_of(kind)}",
        **own,
        "properties": {**envelope, **own["properties"]},
        "required": [*envelope, *own.get("required", [])],
    }


def schema_of_manifest() -> dict[str, Any]:
    """Of what a sealed body holds, once opened."""
    text = {"type": "string", "minLength": 1}
    ours = [labels.VCENTER, labels.TEMPLATE, labels.UNIT]
    return {
        "$schema": DIALECT,
        "$id": f"urn:vcenter-operator:{name_of(MANIFEST)}",
        "title": MANIFEST,
        "description": "A Kubernetes object as the renderer makes it: a member of the vCenter's ApplySet (KEP-3659).",
        "type": "object",
        "properties": {
            "apiVersion": text,
            "kind": text,
            "metadata": {
                "type": "object",
                "properties": {
                    "name": text,
                    "namespace": {**text, "description": "Of its template; not there where the kind has none."},
                    "labels": _texts([labels.PART_OF]),
                    "annotations": _texts(ours),
                },
                "required": ["name", "labels", "annotations"],
            },
        },
        "required": ["apiVersion", "kind", "metadata"],
    }


def pages() -> dict[str, str]:
    """A file for each kind, and one for what is sealed."""
    schemas = {kind: schema_of(kind, message) for kind, message in KINDS.items()} | {MANIFEST: schema_of_manifest()}
    return {f"docs/schema/{name_of(kind)}": json.dumps(schema, indent=2) + "\n" for kind, schema in schemas.items()}


def _texts(required: list[str]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": "string"}, "required": required}
