"""All that this release can say, as far as another one has to know it."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from vcenter_operator.common.wire import KINDS


def vocabulary() -> dict[str, Any]:
    """The fields of all types that are sent, and whether they are required; the words of all enumerations."""
    _, schema = models_json_schema([(kind, "validation") for kind in KINDS.values()])
    return {
        name: definition.get("enum")
        or {field: field in definition.get("required", ()) for field in definition["properties"]}
        for name, definition in sorted(schema["$defs"].items())
        if "enum" in definition or "properties" in definition
    }
