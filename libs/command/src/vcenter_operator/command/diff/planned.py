"""What the applier's dry run came to, vCenter by vCenter, gathered until there is an answer for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vcenter_operator.applier.core.decisions import Change, Plan
from vcenter_operator.applier.core.outcome import Failure, Outcome
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta, Unknown

_TRIES = 3
"""Plans after which what still fails for a passing reason is told as it is."""


@dataclass
class Planned:
    """One vCenter's plan. `settled` once it says all there is to say; what comes later is the dry run's own echo."""

    host: str
    plan: Plan
    changes: dict[ObjectId, Change] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    interrupted: str | None = None
    settled: bool = False
    tries: int = 0

    def take(self, plan: Plan, outcome: Outcome) -> None:
        """One more plan, and what came of it. What an earlier one had carried out is no part of it any more."""
        if self.settled:
            return
        self.tries += 1
        self.plan = plan
        self.changes |= {change.id: change for change in (*plan.creates, *plan.updates)}
        self.failures, self.interrupted = outcome.failed, outcome.interrupted
        lacking = {left.id for left in plan.lacking} - self.changes.keys()
        passing = self.interrupted or any(not failure.permanent for failure in self.failures)
        self.settled = not lacking and (not passing or self.tries >= _TRIES)


class Gathered:
    """All of them, with what the server answered: an observer of the applier."""

    def __init__(self) -> None:
        self.planned: dict[str, Planned] = {}
        self.answers: dict[ObjectId, Mapping[str, Any]] = {}
        """What an object would be."""
        self.unknown: dict[str, tuple[Unknown, ...]] = {}
        """What could not be rendered, by vCenter."""
        self.templates: set[str] = set()
        """Every template that there is."""
        self.heard = 0
        """How often anything new came in."""

    def on_plan(self, host: str, plan: Plan, outcome: Outcome) -> None:
        """See `applier.ports.OnPlan`."""
        self.heard += 1
        self.planned.setdefault(host, Planned(host, plan)).take(plan, outcome)

    def on_answer(self, object_id: ObjectId, answer: Mapping[str, Any]) -> None:
        """See `applier.ports.OnAnswer`."""
        self.answers[object_id] = answer

    def hear(self, delta: ManifestDelta) -> None:
        """A statement of the renderer."""
        self.heard += 1
        self.unknown[delta.host] = delta.unknown
        self.templates |= delta.templates.keys()

    def settled(self, host: str) -> bool:
        """Whether all is said about a vCenter."""
        return host in self.planned and self.planned[host].settled

    def changing(self, meant: Callable[[str | None], bool]) -> set[ObjectId]:
        """What exists and would be another, or be gone, of the templates that are meant."""
        found = set()
        for planned in self.planned.values():
            updates = [change for change in planned.changes.values() if change.current is not None]
            found |= {update.id for update in updates if meant(update.template)}
            found |= {removal.id for removal in planned.plan.deletes if meant(removal.template)}
        return found
