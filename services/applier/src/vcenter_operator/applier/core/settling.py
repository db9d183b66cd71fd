"""What is remembered after a plan was carried out: the applier's section of the record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vcenter_operator.applier.core.budget import Budget, remembered
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.decisions import Plan, Removal
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.common.messages import ManifestDelta
from vcenter_operator.common.record.port import Applied


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
    inferred = sum(removal.inferred for removal in plan.deletes)
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
    shown = {"conditions": conditions(plan, outcome), "objects": owned}
    if not delta.present:
        return applied.model_copy(update=shown)
    inferred = sum(removal.inferred for removal in gone if removal.id in outcome.deleted)
    # Without any template there is nothing by which an edit could be told later: as good as never settled.
    settled = {"settled_templates": dict(delta.templates) or None, "settled_inputs": delta.inputs}
    return applied.model_copy(
        update={
            **shown,
            **(settled if in_full(plan, outcome) else {}),
            "held": tuple(sorted(removal.id for removal in plan.held)),
            "samples": remembered(
                budget, applied.samples, after=owned, inferred=inferred, declared=len(gone) - inferred, now=now
            ),
        }
    )
