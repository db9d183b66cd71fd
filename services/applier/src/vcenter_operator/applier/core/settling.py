"""What is remembered after a plan was carried out: the applier's section of the record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vcenter_operator.applier.core.budget import Budget, remembered
from vcenter_operator.applier.core.conditions import conditions, unplanned
from vcenter_operator.applier.core.decisions import Plan, Removal
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.common.messages import ManifestDelta
from vcenter_operator.common.record.port import Applied, ApprovedRemoval


def foreseen(applied: Applied, plan: Plan, *, owned: int, budget: Budget, now: datetime) -> Applied:
    """The section before a plan is carried out: what is owned is noted before any of it goes on inference alone.

    So a series of losses counts as one though the process is killed in between.
    """
    inferred = sum(removal.counted for removal in plan.deletes)
    samples = remembered(budget, applied.samples, after=owned - inferred, inferred=inferred, declared=0, now=now)
    return applied.model_copy(update={"samples": samples}) if inferred else applied


def section(
    applied: Applied,
    delta: ManifestDelta,
    plan: Plan,
    outcome: Outcome,
    *,
    gone: Sequence[Removal],
    owned: int,
    budget: Budget,
    now: datetime,
) -> Applied:
    """The section after a plan; `gone` are the objects that were deleted or handed over, `owned` is what is left."""
    shown = {
        "conditions": conditions(plan, outcome),
        "objects": owned,
        "last_change": now.replace(microsecond=0) if outcome.changed else applied.last_change,
        "policy": plan.policy,
        "suspended": plan.suspended,
    }
    if plan.retaining:
        # What was held is held no more: the same set later on is another plan.
        hold = applied.hold + (applied.held_plan is not None)
        return applied.model_copy(update={**shown, "held_plan": None, "hold": hold})
    inferred = sum(removal.counted for removal in gone if removal.id in outcome.deleted)
    return applied.model_copy(
        update={
            **shown,
            **_settled(applied, delta, plan, outcome),
            "held": tuple(sorted(removal.id for removal in plan.held)),
            "hold": plan.hold,
            "held_plan": plan.held_plan,
            "approved": tuple(
                ApprovedRemoval(id=object_id, uid=uid)
                for object_id, uid in sorted(plan.approved)
                if object_id not in outcome.deleted
            ),
            "samples": remembered(
                budget, applied.samples, after=owned, inferred=inferred, declared=len(gone) - inferred, now=now
            ),
        }
    )


def without_a_plan(applied: Applied, outcome: Outcome) -> Applied:
    """The section where it was not known what there is: what is held is held as before."""
    shown = {condition.type: condition for condition in (*applied.conditions, unplanned(outcome))}
    return applied.model_copy(update={"conditions": tuple(shown.values())})


def _settled(applied: Applied, delta: ManifestDelta, plan: Plan, outcome: Outcome) -> dict[str, object]:
    """What an edit is told from later on, whatever of this one is done already.

    What an edit asks to go, and has not gone, is noted by itself: it is as declared when it is carried out as it is
    now, however long something fails, waits or is withheld, and nothing else is. In doubt a deletion is inferred.
    """
    if not delta.present:
        return {}
    withheld = (one.item for one in plan.withheld if isinstance(one.item, Removal))
    asked_for = {one.id for one in (*plan.deletes, *plan.handovers, *plan.deferred, *withheld) if not one.inferred}
    unknown = {left.id for left in plan.unknown}
    waiting = (asked_for | unknown.intersection(applied.declared)).difference(outcome.deleted, outcome.handed_over)
    return {
        # Without any template there is nothing by which an edit could be told later: as good as never settled.
        "settled_templates": delta.templates or None,
        "settled_inputs": delta.inputs,
        "declared": tuple(sorted(waiting)),
    }
