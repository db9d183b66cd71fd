"""What the record of a vCenter shows: the conditions that are the applier's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vcenter_operator.applier.core.decisions import Left, Plan, Withheld
from vcenter_operator.applier.core.describe import describe_object
from vcenter_operator.applier.core.outcome import Failure, Outcome
from vcenter_operator.common.record.orders import PolicyName
from vcenter_operator.common.record.port import Condition

_SHOWN = 3
_LONGEST = 800


def conditions(plan: Plan, outcome: Outcome) -> tuple[Condition, ...]:
    """Applied and DeletionHeld. The texts stay the same while the state does, and have no secrets."""
    return _applied(plan, outcome), _held(plan)


def unplanned(outcome: Outcome) -> Condition:
    """Applied, where nothing could be planned."""
    return _applied(Plan(host=""), outcome)


def _applied(plan: Plan, outcome: Outcome) -> Condition:
    if plan.retaining:
        return _condition("Applied", "Unknown", "Retained", _retained(plan))
    if outcome.frozen is not None:
        return _condition("Applied", "False", "Frozen", f"nothing is written: {outcome.frozen}")
    if (failure := _failed(plan, outcome)) is not None:
        return failure
    if plan.withheld:
        return _condition("Applied", "False", plan.withheld[-1].by.value, _withheld(plan))
    if plan.conflicts:
        return _condition("Applied", "False", "Conflict", _left(plan.conflicts))
    if outcome.fights:
        return _condition("Applied", "False", "EditedByOthers", _fought_over(outcome))
    if waiting := plan.waiting or plan.lacking or plan.refused:
        return _condition("Applied", "False", "Waiting", _left(waiting))
    if not plan.present:
        return _condition("Applied", "Unknown", "Gone", "gone from DNS, and its time of grace is over")
    left = [_left(plan.unknown)] if plan.unknown else []
    reason = "PartlyUnknown" if left else _restricted(plan) or "AsStated"
    return _condition("Applied", "True", reason, "; ".join([*_restrictions(plan), *left]))


def _failed(plan: Plan, outcome: Outcome) -> Condition | None:
    if refused := [failure for failure in outcome.failed if failure.permanent]:
        return _condition("Applied", "False", "Refused", _failures(refused))
    if refused_before := [left for left in plan.refused if left.id not in outcome.paused]:
        return _condition("Applied", "False", "Refused", _left(refused_before))
    if outcome.failed:
        return _condition("Applied", "False", "Retrying", _failures(outcome.failed))
    if outcome.interrupted is not None:
        return _condition("Applied", "False", "Retrying", outcome.interrupted)
    return None


def _retained(plan: Plan) -> str:
    until = f" until {plan.retained_until:%Y-%m-%d %H:%M} UTC" if plan.retained_until is not None else ""
    return f"gone from DNS; {plan.unchanged} objects are retained{until}"


def _restricted(plan: Plan) -> str | None:
    """The reason that says at a glance that not everything would be done."""
    if plan.suspended:
        return Withheld.SUSPENDED.value
    policies = {PolicyName.OBSERVE: Withheld.OBSERVING, PolicyName.UPSERT_ONLY: Withheld.UPSERT_ONLY}
    return policies[plan.policy].value if plan.policy in policies else None


def _restrictions(plan: Plan) -> list[str]:
    """What is said about carrying plans out, also where there is nothing to do."""
    said = ["the vCenter is suspended"] if plan.suspended else []
    if plan.policy is not PolicyName.SYNC:
        said.append(f"policy {plan.policy.value}")
    if plan.suspended_templates:
        said.append(f"suspended templates: {', '.join(plan.suspended_templates)}")
    return said


def _withheld(plan: Plan) -> str:
    """How many of each, then some of them by their reasons."""
    counts = Counter(each.action for each in plan.withheld)
    would = ", ".join(f"{count} to {action}" for action, count in counts.items())
    reasons = dict.fromkeys(each.reason for each in plan.withheld)
    names = ", ".join(f"{each.action} {describe_object(each.id)}" for each in plan.withheld[:_SHOWN])
    return f"{'; '.join(list(reasons)[:_SHOWN])}: {would} ({names}{_more(plan.withheld)})"


def _held(plan: Plan) -> Condition:
    if not plan.held:
        return _condition("DeletionHeld", "False", "WithinBudget", "")
    names = ", ".join(describe_object(removal.id) for removal in plan.held[:_SHOWN])
    other = f"; the approval of {plan.other_word[:64]} is for another plan" if plan.other_word else ""
    release = f"release exactly these with `vcenter-operator approve {plan.host} --plan {plan.held_plan}`"
    # Names may be long: what a person has to do stands before them.
    message = f"{plan.held[0].reason}; {release}{other}: {names}{_more(plan.held)}"
    return _condition("DeletionHeld", "True", "BeyondBudget", message)


def _failures(failures: Sequence[Failure]) -> str:
    return "; ".join(f"{describe_object(one.id)}: {one.error}" for one in failures[:_SHOWN]) + _more(failures)


def _fought_over(outcome: Outcome) -> str:
    shown = [f"{describe_object(one.id)}: {one}" for one in outcome.fights[:_SHOWN]]
    return "; ".join(shown) + _more(outcome.fights)


def _left(items: Sequence[Left]) -> str:
    return "; ".join(f"{describe_object(one.id)}: {one.reason}" for one in items[:_SHOWN]) + _more(items)


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""


def _condition(type_: str, status: str, reason: str, message: str) -> Condition:
    return Condition.model_validate({"type": type_, "status": status, "reason": reason, "message": message[:_LONGEST]})
