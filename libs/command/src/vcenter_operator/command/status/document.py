"""The state as a document, for scripts: `-o json`, `-o yaml`. Fields are added over time, none changes its meaning."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from vcenter_operator.command.status.model import Pipeline, StageView, Template, VCenter


def document_of(pipeline: Pipeline) -> dict[str, Any]:
    """Plain values: what could not be asked is null, times are RFC 3339 in UTC."""
    return {
        "at": _plain(pipeline.at),
        "troubles": pipeline.troubles,
        "notAsked": dict(pipeline.not_asked),
        "stages": [_stage(view) for view in pipeline.stages],
        "vcenters": None if pipeline.vcenters is None else [vcenter_document(one) for one in pipeline.vcenters],
        "templates": None if pipeline.templates is None else [_template(one) for one in pipeline.templates],
    }


def vcenter_document(vcenter: VCenter) -> dict[str, Any]:
    """One vCenter in full."""
    trouble = None if vcenter.trouble is None else str(vcenter.trouble)
    conditions = [{**_plain(condition), "wrong": condition.wrong} for condition in vcenter.conditions]
    return {"state": vcenter.state, "trouble": trouble, **_plain(vcenter), "conditions": conditions}


def _stage(view: StageView) -> dict[str, Any]:
    return {**_plain(view), "waiting": view.waiting, "unowned": view.unowned}


def _template(template: Template) -> dict[str, Any]:
    return {"troubles": template.troubles, **_plain(template)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {_camel(each.name): _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
