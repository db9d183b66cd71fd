"""What the record of a vCenter shows: the conditions that are the applier's."""

from __future__ import annotations

from collections.abc import Sequence

from vcenter_operator.applier.core.decisions import Left, Plan
from vcenter_operator.applier.core.describe import describe_object
from vcenter_operator.applier.core.outcome import Failure, Outcome
from vcenter_operator.common.record.port import Condition

_SHOWN = 3
_LONGEST = 800


def conditions(plan: Plan, outcome: Outcome) -> tuple[Condition, ...]:
    """Applied, DeletionHeld and Ready. The texts stay the same while the state does, and have no secrets."""
    applied, held = _applied(plan, outcome), _held(plan)
    return applied, held, _ready(plan, applied, held)


def _applied(plan: Plan, outcome: Outcome) -> Condition:
    if not plan.present:
        return _condition("Applied", "Unknown", "Retained", f"gone from DNS; {plan.unchanged} objects are retained")
    if outcome.frozen is not None:
        return _condition("Applied", "False", "Frozen", f"nothing is written: {outcome.frozen}")
    if refused := [failure for failure in outcome.failed if failure.permanent]:
        return _condition("Applied", "False", "Refused", _failures(refused))
    if plan.refused:
        return _condition("Applied", "False", "Refused", _left(plan.refused))
    if outcome.failed:
        return _condition("Applied", "False", "Retrying", _failures(outcome.failed))
    if outcome.interrupted is not None:
        return _condition("Applied", "False", "Retrying", outcome.interrupted)
    if plan.conflicts:
        return _condition("Applied", "False", "Conflict", _left(plan.conflicts))
    if plan.waiting:
        return _condition("Applied", "False", "Waiting", _left(plan.waiting))
    if plan.lacking:
        return _condition("Applied", "False", "Waiting", _left(plan.lacking))
    return _condition("Applied", "True", "AsStated", "")


def _held(plan: Plan) -> Condition:
    if not plan.held:
        return _condition("DeletionHeld", "False", "WithinBudget", "")
    names = ", ".join(describe_object(removal.id) for removal in plan.held[:_SHOWN])
    return _condition("DeletionHeld", "True", "BeyondBudget", f"{plan.held[0].reason}: {names}{_more(plan.held)}")


def _ready(plan: Plan, applied: Condition, held: Condition) -> Condition:
    if applied.status != "True":
        return _condition("Ready", "False", applied.reason, applied.message)
    if held.status == "True":
        return _condition("Ready", "False", "DeletionHeld", held.message)
    if plan.unknown:
        return _condition("Ready", "False", "PartlyUnknown", _left(plan.unknown))
    return _condition("Ready", "True", "AsStated", "")


def _failures(failures: Sequence[Failure]) -> str:
    return "; ".join(f"{describe_object(one.id)}: {one.error}" for one in failures[:_SHOWN]) + _more(failures)


def _left(items: Sequence[Left]) -> str:
    return "; ".join(f"{describe_object(one.id)}: {one.reason}" for one in items[:_SHOWN]) + _more(items)


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""


def _condition(type_: str, status: str, reason: str, message: str) -> Condition:
    return Condition.model_validate({"type": type_, "status": status, "reason": reason, "message": message[:_LONGEST]})
