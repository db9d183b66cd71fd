"""The environment variables that settings are read from, as people are told of them: in `--help` and in the docs."""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple

from pydantic.fields import FieldInfo

from vcenter_operator.common.settings import Settings

_BOUNDS = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}
_KINDS: dict[type, str] = {bool: "`true`, `false`", Path: "a file", Mapping: "JSON"}
_SHARE_DIGITS = 3


class Variable(NamedTuple):
    """One of them."""

    name: str
    """As it stands in the environment: `VCENTER_OPERATOR_BUS`."""
    default: str
    """`none`: not set."""
    takes: str
    """What may stand in it; empty: any text."""
    says: str
    """What it does, one paragraph."""


def variables(settings: type[Settings], *, without: type[Settings] | None = None) -> Iterator[Variable]:
    """Those of a class of settings, in its order; not those that `without` has as well."""
    left_out: Collection[str] = without.model_fields if without is not None else ()
    for name, field in settings.model_fields.items():
        if name not in left_out:
            yield Variable(
                settings.variable(name), _default(field), _takes(field), " ".join((field.description or "").split())
            )


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or (isinstance(value, Collection) and not value):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{round(value, _SHARE_DIGITS):g}" if value < 1 else f"{value:.15g}"
    return str(value.value if isinstance(value, Enum) else value)


def _takes(field: FieldInfo) -> str:
    limits = {
        name: limit for name in _BOUNDS for each in field.metadata if (limit := getattr(each, name, None)) is not None
    }
    if limits.keys() == {"ge", "le"}:
        return f"{limits['ge']:g} to {limits['le']:g}"
    bounds = ", ".join(_BOUNDS[name].format(f"{limit:g}") for name, limit in limits.items())
    return bounds or _kind(field.annotation)


def _kind(annotation: Any) -> str:
    inner = [each for each in typing.get_args(annotation) if each is not NoneType]
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return "one of " + ", ".join(f"`{each}`" for each in inner)
    if origin is Annotated or NoneType in typing.get_args(annotation):
        return _kind(inner[0])
    kind = origin or annotation
    if issubclass(kind, Enum):
        return "one of " + ", ".join(f"`{each.value}`" for each in kind)
    return next((text for type_, text in _KINDS.items() if issubclass(kind, type_)), "")
