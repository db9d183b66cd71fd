"""What is remembered after a plan was carried out: the applier's section of the record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vcenter_operator.applier.core.budget import Budget, remembered
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.decisions import Plan, Removal
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.common.messages import ManifestDelta
from vcenter_operator.common.record.port import Applied, ApprovedRemoval


def in_full(plan: Plan, outcome: Outcome) -> bool:
    """Whether the delta is settled: nothing is left of it that will be done by itself.

    What the server refused for good does not count, or one bad manifest would make every later deletion a declared one.
    A deletion that was not done does: it stays as declared as it is.
    """
    undone = {removal.id for removal in plan.deletes} - set(outcome.deleted)
    failing = any(not failure.permanent for failure in outcome.failed)
    waiting = plan.lacking or plan.deferred or outcome.interrupted is not None or outcome.frozen is not None
    return not (undone or failing or waiting)


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
        # Whole seconds, as the record keeps it.
        "gone_since": None if delta.present else applied.gone_since or now.replace(microsecond=0),
    }
    if plan.retaining:
        # What was held is held no more: the same set later on is another plan.
        hold = applied.hold + (applied.held_plan is not None)
        return applied.model_copy(update={**shown, "held_plan": None, "hold": hold})
    inferred = sum(removal.counted for removal in gone if removal.id in outcome.deleted)
    return applied.model_copy(
        update={
            **shown,
            **(_settled(applied, delta, plan) if in_full(plan, outcome) else {}),
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


def _settled(applied: Applied, delta: ManifestDelta, plan: Plan) -> dict[str, object]:
    """What an edit is told from later on.

    A template of which something is withheld stays at what was settled, so that what its edit asks for is as declared
    when it is carried out as it is now. One that was never settled is at what it is: in doubt a deletion is inferred.
    """
    if not delta.present:
        return {}
    withheld = {withholding.template for withholding in plan.withheld}
    before = applied.settled_templates or {}
    templates = {
        name: before.get(name, version) if name in withheld else version for name, version in delta.templates.items()
    }
    # Without any template there is nothing by which an edit could be told later: as good as never settled.
    return {"settled_templates": templates or None, "settled_inputs": delta.inputs}
