"""What became of rendering, in people's words: for a template partition by partition and all in all, for a vCenter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vcenter_operator.common.events import EventType
from vcenter_operator.common.identity import Unit
from vcenter_operator.common.messages import Unknown, as_reason
from vcenter_operator.common.record.port import Condition, Rendered
from vcenter_operator.renderer.core.delta import Merged, Yield
from vcenter_operator.renderer.core.failures import Failure
from vcenter_operator.renderer.core.templates import SCOPES, Template, TemplateSet

RENDERED = "Rendered"
"""The type of the condition, of templates and vCenters."""

_WITH_WARNINGS = "WithWarnings"
"""What the reason of the condition ends with where all is rendered, and not as its author may think."""
_SUMMARY_FIELDS = ("observedGeneration", "renderings", "failed", "warnings", "objects", "problem")
_NAMED = 3
"""How many failures or warnings are told of."""
_COLUMN = 200
"""Characters of a problem, which is a column of `kubectl get vct`; the condition says all of it."""


@dataclass(frozen=True)
class Outcome:
    """What came of one template for one vCenter."""

    generation: int
    """`metadata.generation` of the template that was rendered."""
    renderings: int = 0
    objects: int = 0
    failures: tuple[tuple[Unit, Failure], ...] = ()
    warnings: tuple[str, ...] = ()
    """But for those of the template's options, which are the same everywhere."""


@dataclass(frozen=True)
class Account:
    """What came of everything for one vCenter."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    """By the template's path; those that are not rendered for it are left out."""
    objects: int = 0
    unknown: tuple[Unknown, ...] = ()
    """What a template is the reason of."""


def account_of(merged: Merged[Any], yields: Iterable[Yield[Any]], templates: TemplateSet) -> Account:
    """The account of what was rendered."""
    renderings: Counter[str] = Counter()
    failures: dict[str, list[tuple[Unit, Failure]]] = {}
    for each in yields:
        renderings[each.template.path] += 1
        if each.failure is not None:
            failures.setdefault(each.template.path, []).append((each.unit, each.failure))
    objects = Counter(entry.template.path for entry in merged.entries.values())
    warnings: dict[str, list[str]] = {}
    for remark in merged.remarks:
        for path in remark.about if remark.unit is not None else ():
            warnings.setdefault(path, []).append(remark.text)
    outcomes = {
        path: Outcome(
            templates[path].generation,
            count,
            objects[path],
            tuple(failures.get(path, ())),
            tuple(warnings.get(path, ())),
        )
        for path, count in renderings.items()
    }
    return Account(outcomes, len(merged.entries), tuple(each for each in merged.unknown if each.template is not None))


def vcenter_section(account: Account, *, present: bool, hindrance: Condition | None) -> Rendered:
    """The renderer's section of a vCenter's record."""
    return Rendered(
        objects=account.objects,
        failing=len(account.unknown),
        conditions=(_of_vcenter(account, present=present, hindrance=hindrance),),
    )


def _of_vcenter(account: Account, *, present: bool, hindrance: Condition | None) -> Condition:
    if not present:
        return _condition(
            "Unknown",
            "NotInZone",
            "gone from DNS: nothing is rendered for it",
        )
    if hindrance is not None:
        return hindrance
    if account.unknown:
        told = [f"{each.unit}: {each.reason}" if each.unit else each.reason for each in account.unknown[:_NAMED]]
        return _condition("False", "TemplateFails", "; ".join(told) + _more(len(account.unknown) - len(told)))
    templates = len(account.outcomes)
    return _condition("True", "Rendered", f"{account.objects} objects of {templates} templates")


def partition_entry(partition: int, outcomes: Mapping[str, Outcome]) -> dict[str, Any] | None:
    """The entry of `status.partitions`, from the outcomes by vCenter; None: it is rendered for none of them."""
    rendered = {host: outcome for host, outcome in sorted(outcomes.items()) if outcome.renderings}
    if not rendered:
        return None
    failures = [
        _failure(host, unit, failure)
        for host, outcome in rendered.items()
        for unit, failure in sorted(outcome.failures)
    ]
    warned = [as_reason(f"{host}: {text}") for host, outcome in rendered.items() for text in outcome.warnings]
    entry: dict[str, Any] = {
        "partition": partition,
        "observedGeneration": min(outcome.generation for outcome in rendered.values()),
        "vCenters": len(rendered),
        "renderings": sum(outcome.renderings for outcome in rendered.values()),
        "failed": len(failures),
        "warnings": len(warned),
        "objects": sum(outcome.objects for outcome in rendered.values()),
    }
    told = {"failures": failures[:_NAMED], "warned": warned[:_NAMED]}
    return entry | {name: texts for name, texts in told.items() if texts}


def summary(
    template: Template,
    entries: Iterable[Mapping[str, Any]],
    hindrance: Condition | None,
    *,
    known: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """The rest of the status, from the entries of all partitions; equal to what is `known` where nothing changed.

    `hindrance`: why nothing can be rendered at all at present. `lastTransitionTime` is kept while the status is.
    """
    entries = sorted(entries, key=lambda entry: int(entry["partition"]))
    generations = [entry.get("observedGeneration", template.generation) for entry in entries]
    observed = min([*generations, template.generation])
    warnings = len(template.warnings) + _sum(entries, "warnings")
    told = _of_template(template, entries, hindrance)
    if told.status == "True" and warnings:
        told = _warning(told, template, entries, warnings)
    same = [each for each in known.get("conditions") or () if (each["type"], each["status"]) == (RENDERED, told.status)]
    since = same[0]["lastTransitionTime"] if same else now.strftime("%Y-%m-%dT%H:%M:%SZ")
    status: dict[str, Any] = {
        "observedGeneration": observed,
        "renderings": _sum(entries, "renderings"),
        "failed": _sum(entries, "failed"),
        "warnings": warnings,
        "objects": _sum(entries, "objects"),
        "conditions": [{**told.model_dump(), "observedGeneration": observed, "lastTransitionTime": since}],
    }
    problem = told.message if len(told.message) <= _COLUMN else f"{told.message[: _COLUMN - 1]}…"
    return status | ({"problem": problem} if told.status != "True" or warnings else {})


def summarized(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a status says what a summary does, whatever else it says."""
    fields = all(known.get(field) == wanted.get(field) for field in _SUMMARY_FIELDS)
    return fields and all(condition in (known.get("conditions") or ()) for condition in wanted["conditions"])


def notice(known: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[EventType, str, str] | None:
    """What people have to be told of a summary that takes the place of the known one: type, reason and note."""
    before = next((each for each in known.get("conditions") or () if each["type"] == RENDERED), None)
    (now,) = status["conditions"]
    if now["status"] == "False" or now["reason"].endswith(_WITH_WARNINGS):
        new = before is None or any(
            before.get(name) != now[name] for name in ("status", "reason", "observedGeneration")
        )
        return ("Warning", f"Template{now['reason']}", now["message"]) if new else None
    if now["status"] == "True" and before is not None and before["status"] == "False":
        return "Normal", "TemplateRenders", now["message"]
    return None


def _of_template(template: Template, entries: list[Mapping[str, Any]], hindrance: Condition | None) -> Condition:
    """Its message names the scope, the vCenter and cluster, and the template line."""
    renderings, failed = _sum(entries, "renderings"), _sum(entries, "failed")
    if template.problem is not None:
        return _condition("False", "Unusable", template.problem)
    if template.scope not in SCOPES:
        return _condition(
            "True", "Library", f"not rendered by itself: {template.scope!r} is none of {', '.join(SCOPES)}"
        )
    if hindrance is not None:
        return hindrance
    if failed:
        told = [failure for entry in entries for failure in entry.get("failures") or ()][:_NAMED]
        text = "; ".join(map(_describe, told)) + _more(failed - len(told))
        return _condition("False", "Fails", f"{failed} of {renderings} fail: {text}")
    if not renderings:
        return _condition("Unknown", "NothingToRenderFor", f"no vCenter has anything of the scope {template.scope}")
    return _condition("True", "Rendered", f"rendered {renderings} times, {_sum(entries, 'objects')} objects")


def _warning(told: Condition, template: Template, entries: list[Mapping[str, Any]], count: int) -> Condition:
    """The condition of a template that renders, with what its author should know."""
    texts = [*template.warnings, *(text for entry in entries for text in entry.get("warned") or ())][:_NAMED]
    message = f"warnings ({count}): {'; '.join(texts)}{_more(count - len(texts))}; {told.message}"
    return _condition("True", f"{told.reason}{_WITH_WARNINGS}", message)


def _describe(failure: Mapping[str, Any]) -> str:
    unit = " ".join(str(failure[part]) for part in ("scope", "availabilityZone", "cluster") if failure.get(part))
    line = f", line {failure['line']}" if failure.get("line") is not None else ""
    where = f"{failure['template']}{line}: " if failure.get("template") else ""
    return f"{unit} of {failure.get('vCenter')}: {where}{failure.get('reason')}"


def _failure(host: str, unit: Unit, failure: Failure) -> dict[str, Any]:
    fields = {
        "vCenter": host,
        "scope": unit.scope,
        "availabilityZone": unit.availability_zone,
        "cluster": unit.cluster or None,
        "template": failure.path,
        "line": failure.line,
        "reason": failure.reason,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _condition(status: str, reason: str, message: str) -> Condition:
    return Condition.model_validate({"type": RENDERED, "status": status, "reason": reason, "message": message})


def hindered(reason: str, message: str) -> Condition:
    """The condition while nothing can be rendered at all, for whatever template and vCenter."""
    return _condition("Unknown", reason, message)


def _more(count: int) -> str:
    return f"; and {count} more" if count > 0 else ""


def _sum(entries: Iterable[Mapping[str, Any]], field: str) -> int:
    return sum(int(entry.get(field) or 0) for entry in entries)
