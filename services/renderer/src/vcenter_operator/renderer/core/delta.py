"""From what was rendered to what should exist: the index, and what is unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from vcenter_operator.common.identity import ObjectId, Unit
from vcenter_operator.common.messages import Unknown, as_reason
from vcenter_operator.renderer.core.failures import Failure
from vcenter_operator.renderer.core.scopes import Scopes
from vcenter_operator.renderer.core.templates import Template, TemplateSet

Body = TypeVar("Body")

INDEX_BYTES = 6 * 1024 * 1024
"""Of the index of one vCenter, which has to fit into one message with the manifests that go along."""
_ENTRY_BYTES = 120
"""Of an index entry, beside its names."""


@dataclass(frozen=True)
class Yield(Generic[Body]):
    """What one template came to for one unit: objects, or a failure."""

    template: Template
    unit: Unit
    objects: tuple[tuple[ObjectId, Body], ...] = ()
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry(Generic[Body]):
    """One object that should exist."""

    template: Template
    unit: Unit
    body: Body


@dataclass(frozen=True)
class Remark:
    """Something that the authors of templates should know, though these render."""

    text: str
    """Names templates and unit."""
    about: tuple[str, ...]
    """Paths of the templates."""
    unit: Unit | None = None
    """None: it is the same whatever is rendered."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", as_reason(self.text))


@dataclass(frozen=True)
class Merged(Generic[Body]):
    """Everything that should exist for one vCenter."""

    entries: dict[ObjectId, Entry[Body]]
    unknown: tuple[Unknown, ...]
    remarks: tuple[Remark, ...] = ()


def renderings(scopes: Scopes, templates: TemplateSet) -> Iterator[tuple[Template, Unit]]:
    """What is to be rendered, in the order of the contract: clusters, then datacenters, then storage clusters;

    within each, templates by path.
    """
    of_scope = {scope: templates.of_scope(scope) for scope in {unit.scope for unit in scopes.known}}
    for unit in scopes.known:
        for template in of_scope[unit.scope]:
            yield template, unit


def fitting(yields: Sequence[Yield[Body]]) -> Sequence[Yield[Body]]:
    """The yields; where one message could not name all objects, the templates with the most count as failed."""
    sizes: Counter[str] = Counter()
    for each in yields:
        origin = len(each.template.key) + len(str(each.unit)) + _ENTRY_BYTES
        sizes[each.template.path] += sum(origin + len(str(object_id)) for object_id, _ in each.objects)
    failures: dict[str, Failure] = {}
    while sizes.total() > INDEX_BYTES:
        ((path, _),) = sizes.most_common(1)
        del sizes[path]
        failures[path] = Failure("yields more objects for this vCenter than one message can name", path)
    return [
        replace(each, objects=(), failure=failures[each.template.path]) if each.template.path in failures else each
        for each in yields
    ]


def merge(scopes: Scopes, templates: TemplateSet, yields: Iterable[Yield[Body]]) -> Merged[Body]:
    """Of two objects with one id the last wins, with a remark about both templates."""
    entries: dict[ObjectId, Entry[Body]] = {}
    unknown = [*scopes.unknown, *_unusable(templates)]
    remarks = [
        Remark(f"{each.path}: {warning}", (each.path,)) for each in templates.values() for warning in each.warnings
    ]
    for each in yields:
        path, unit = each.template.path, each.unit
        remarks += [Remark(f"{path} for {unit}: {warning}", (path,), unit) for warning in each.warnings]
        if each.failure is not None:
            unknown.append(Unknown(template=each.template.key, unit=each.unit, reason=str(each.failure)))
        for object_id, body in each.objects:
            if (first := entries.pop(object_id, None)) is not None:
                text = f"{object_id} comes from {first.template.path} for {first.unit} and again from {path} for {unit}"
                both = tuple(dict.fromkeys((first.template.path, path)))
                remarks.append(Remark(f"{text}: the last is used", both, unit))
            entries[object_id] = Entry(each.template, each.unit, body)
    return Merged(entries, tuple(unknown), tuple(remarks))


def _unusable(templates: TemplateSet) -> Iterator[Unknown]:
    for template in templates.values():
        if template.problem is not None:
            yield Unknown(template=template.key, unit=None, reason=f"{template.path}: {template.problem}")
