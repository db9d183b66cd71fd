"""What came of carrying out a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vcenter_operator.applier.core.decisions import Plan
from vcenter_operator.applier.core.drift import Fight
from vcenter_operator.common.identity import ObjectId


@dataclass(frozen=True)
class Failure:
    """One object that could not be written."""

    id: ObjectId
    template: str | None
    error: str
    permanent: bool
    """Not tried again until its manifest changes, or a while has passed."""


@dataclass(frozen=True)
class Outcome:
    """What was done. Under a dry run: what the server would have done."""

    created: tuple[ObjectId, ...] = ()
    updated: tuple[ObjectId, ...] = ()
    deleted: tuple[ObjectId, ...] = ()
    handed_over: tuple[ObjectId, ...] = ()
    claimed: tuple[ObjectId, ...] = ()
    asked: tuple[ObjectId, ...] = ()
    """Whose manifests the renderer was asked for."""
    failed: tuple[Failure, ...] = ()
    interrupted: str | None = None
    """Why not everything was tried; the rest is planned again."""
    frozen: str | None = None
    """Why everything is frozen; nothing was written from then on."""
    fights: tuple[Fight, ...] = ()
    """What others undo again and again."""
    paused: frozenset[ObjectId] = frozenset()
    """What others undid, and is not put right yet: of the plan's `refused`, these are not."""
    dry_run: bool = False

    @property
    def changed(self) -> int:
        """How many objects are different now."""
        return len(self.created) + len(self.updated) + len(self.deleted) + len(self.handed_over)


def tally(plan: Plan, outcome: Outcome) -> Mapping[str, int]:
    """How many objects are as stated, and how many are not, by why."""
    done = frozenset() if outcome.dry_run else {*outcome.created, *outcome.updated}
    gone = frozenset() if outcome.dry_run else {*outcome.deleted, *outcome.handed_over}
    refused = {failure.id for failure in outcome.failed if failure.permanent}
    refused |= {left.id for left in plan.refused} - outcome.paused
    written = {change.id for change in (*plan.creates, *plan.updates)}
    removed = {removal.id for removal in (*plan.deletes, *plan.handovers, *plan.deferred)}
    later = outcome.paused | {left.id for left in (*plan.lacking, *plan.waiting)}
    return {
        "as_stated": plan.unchanged + len(written & done),
        "pending": len(((written - done) | (removed - gone) | later) - refused),
        "held": len(plan.held),
        "withheld": len(plan.withheld),
        "unknown": len(plan.unknown),
        "conflict": len(plan.conflicts),
        "refused": len(refused),
    }
