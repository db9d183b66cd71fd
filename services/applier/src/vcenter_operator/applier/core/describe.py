"""A plan in words, for people: terminals, logs, conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vcenter_operator.applier.core.decisions import Change, Left, Plan, Removal, Taking, Withholding
from vcenter_operator.applier.core.plan import describe_unit
from vcenter_operator.common.identity import ObjectId


def describe_object(object_id: ObjectId) -> str:
    """`Deployment monsoon3/nova-compute-bb1`."""
    return f"{object_id.kind} {object_id.namespace}/{object_id.name}".replace(" /", " ")


def summarize(plan: Plan) -> str:
    """One line: `2 to create, 1 to delete, 4 held, 30 unchanged`."""
    if plan.retaining:
        return f"vCenter gone from DNS, {plan.unchanged} retained"
    counts = [
        (len(plan.creates), "to create"),
        (sum(not change.adopts for change in plan.updates), "to update"),
        (sum(change.adopts for change in plan.updates), "to adopt"),
        (len(plan.deletes), "to delete"),
        (len(plan.handovers), "to hand over"),
        (len(plan.held), "held"),
        (len(plan.withheld), "withheld"),
        (len(plan.deferred), "deferred"),
        (len(plan.conflicts), "in conflict"),
        (len(plan.unknown), "left as they are"),
        (len(plan.lacking), "to ask for"),
        (len(plan.waiting), "being deleted"),
        (len(plan.refused), "refused"),
    ]
    parts = [f"{count} {what}" for count, what in counts if count]
    return ", ".join([*(parts or ["nothing to do"]), f"{plan.unchanged} unchanged"])


def describe(plan: Plan, *, limit: int = 20) -> list[str]:
    """A line for each decision that is not "unchanged", at most `limit` of a sort; left ones by their reason."""
    if plan.retaining:
        gone = [f"  {summarize(plan)}", *_each(">", plan.handovers, limit)]
        return gone + _withheld(plan, limit)
    lines: list[str] = []
    lines += _each("+", plan.creates, limit)
    lines += _each("~", plan.updates, limit)
    lines += _each("-", plan.deletes, limit)
    lines += _each(">", plan.handovers, limit)
    lines += _by_reason("! held:", plan.held, limit)
    lines += _withheld(plan, limit)
    lines += _each("…", plan.deferred, limit)
    for mark, items in (("x", plan.conflicts), ("x", plan.refused), ("?", plan.unknown), ("…", plan.lacking)):
        lines += _by_reason(mark, items, limit)
    return lines + _by_reason("…", plan.waiting, limit)


def _withheld(plan: Plan, limit: int) -> list[str]:
    """By what would be done, and the reason that it is not."""
    lines: list[str] = []
    for action in dict.fromkeys(each.action for each in plan.withheld):
        lines += _by_reason(f"| would {action}:", [each for each in plan.withheld if each.action == action], limit)
    return lines


def _each(mark: str, items: Sequence[Change | Removal | Taking], limit: int) -> list[str]:
    lines = [f"{mark} {describe_object(item.id)}  ({_about(mark, item)})" for item in items[:limit]]
    return [*lines, f"{mark} and {len(items) - limit} more"] if len(items) > limit else lines


def _about(mark: str, item: Change | Removal | Taking) -> str:
    if isinstance(item, Taking):
        return f"claimed from {item.current.host}"
    if isinstance(item, Change):
        adopted = ", adopted from the deployed operator" if item.adopts else ""
        return f"{item.template}, {describe_unit(item.unit)}{adopted}"
    if mark == ">" and item.current.claim is not None:
        return f"claimed by {item.current.claim.host}"
    return f"{item.reason}; waits for what is yielded now" if mark == "…" else item.reason


def _by_reason(mark: str, items: Iterable[Left | Removal | Withholding], limit: int) -> list[str]:
    reasons: dict[str, list[Left | Removal | Withholding]] = {}
    for item in items:
        reasons.setdefault(item.reason, []).append(item)
    lines = []
    for reason, group in reasons.items():
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        lines.append(f"{mark} {describe_object(group[0].id)}{more}: {reason}")
    return [*lines[:limit], f"{mark} and {len(lines) - limit} more"] if len(lines) > limit else lines
