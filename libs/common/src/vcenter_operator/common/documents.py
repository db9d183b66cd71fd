"""Facts as documents that people and scripts read: camelCase, a revision as `epoch.sequence`, times as RFC 3339."""

from __future__ import annotations

import types
from datetime import UTC, datetime
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from vcenter_operator.common.identity import ObjectId, Revision, Unit


def encoded(value: Any) -> Any:
    """Plain values; a field that is None is left out."""
    match value:
        case BaseModel():
            fields = {name: getattr(value, name) for name in type(value).model_fields}
            return {camel(name): encoded(field) for name, field in fields.items() if field is not None}
        case Revision() | ObjectId() | Unit():
            return str(value)
        case datetime():
            return time_text(value)
        case tuple() | list():
            return [encoded(item) for item in value]
        case dict():
            return {str(name): encoded(item) for name, item in value.items()}
        case str():
            return str(value)
    return value


def decoded(kind: Any, data: Any) -> Any:
    """The inverse, as far as the names of fields and revisions go: what a model of that kind validates.

    Raises ValueError, TypeError, AttributeError or KeyError where it is no such document.
    """
    if data is None:
        return None
    if kind is Revision:
        return Revision.parse(data)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        present = {name: decoded(each.annotation, data[camel(name)]) for name, each in fields if camel(name) in data}
        may_be_none = {name for name, each in fields if each.is_required() and type(None) in get_args(each.annotation)}
        return dict.fromkeys(may_be_none) | present
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        return tuple(decoded(arguments[0], item) for item in data)
    if origin in (Union, types.UnionType):
        return decoded(next(argument for argument in arguments if argument is not type(None)), data)
    return data


def camel(name: str) -> str:
    """`held_plan` as `heldPlan`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC. Whole seconds for conditions and samples: as Kubernetes writes its own times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
