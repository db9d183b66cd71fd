"""The plans as text: differences on the one hand, on the other what could not be said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vcenter_operator.applier.core.decisions import Change, Removal
from vcenter_operator.applier.core.describe import describe_object, summarize
from vcenter_operator.applier.core.plan import describe_unit
from vcenter_operator.command.diff.collecting import Collected, Scope
from vcenter_operator.command.diff.planned import Planned
from vcenter_operator.command.diff.text import unified
from vcenter_operator.common.identity import ObjectId


@dataclass(frozen=True)
class Report:
    """What is printed: lines of differences, of summary, and of what stays unsaid."""

    differences: list[str]
    """For standard output; lines that begin with `#` are about the rest."""
    summary: list[str]
    problems: list[str]
    """What could not be found out, or would be refused."""


def report(collected: Collected, scope: Scope) -> Report:
    """All vCenters, in the order of their names."""
    differences: list[str] = []
    summary: list[str] = []
    problems: list[str] = []
    for host in collected.hosts:
        planned = collected.gathered.planned.get(host)
        if planned is not None:
            one = _OfVCenter(planned, collected, scope)
            differences += one.differences()
            problems += one.problems()
            if scope.template is None:
                summary.append(f"{host}: {summarize(planned.plan)}")
            if one.unseen:
                summary.append(f"{host}: {one.unseen} would be written again, though nothing that is shown differs")
        if host in collected.unplanned:
            problems.append(f"{host}: unknown, so that nothing of it would change: {collected.unplanned[host]}")
    return Report(differences, summary, problems)


class _OfVCenter:
    def __init__(self, planned: Planned, collected: Collected, scope: Scope) -> None:
        self._planned = planned
        self._plan = planned.plan
        self._gathered = collected.gathered
        self._live = collected.live
        self._scope = scope
        self.unseen = 0
        """Updates that change nothing but what the operator notes for itself."""

    def differences(self) -> list[str]:
        """What would change, then what would, but for something that holds it back."""
        plan = self._plan
        lines: list[str] = []
        changes = sorted(self._planned.changes.values(), key=lambda change: change.id)
        for change in self._meant(changes):
            lines += self._change(change)
        for removal in self._meant(plan.deletes):
            lines += self._deletion(removal)
        return [*lines, *self._all_notes()]

    def _all_notes(self) -> Iterator[str]:
        """What happens to objects as they are, and what does not happen now."""
        plan = self._plan
        claims = [one for one in plan.claims if self._scope.has_template(one.claim.template)]
        yield from self._notes((one.id, f"handed over to vCenter {_heir(one)}") for one in self._meant(plan.handovers))
        yield from self._notes((one.id, f"claimed from vCenter {one.current.host}") for one in claims)
        yield from self._notes((one.id, f"deletion held: {one.reason}") for one in self._meant(plan.held))
        yield from self._notes((one.id, f"would {one.action}, but: {one.reason}") for one in self._meant(plan.withheld))
        yield from self._notes((one.id, f"deletion deferred: {one.reason}") for one in self._meant(plan.deferred))
        yield from self._notes((one.id, one.reason) for one in self._meant(plan.waiting))

    def problems(self) -> Iterator[str]:
        """What could not be found out, or would fail."""
        plan, planned = self._plan, self._planned
        for unknown in self._gathered.unknown.get(plan.host, ()):
            if unknown.template is None or self._scope.has_template(unknown.template):
                what = [part for part in (unknown.template, unknown.unit and describe_unit(unknown.unit)) if part]
                yield ": ".join([plan.host, "unknown, and left as it is", *what, unknown.reason])
        for failure in self._meant(planned.failures):
            yield f"{plan.host}: {describe_object(failure.id)}: {failure.error}"
        contested = {left.id for left in plan.contested}
        for left in self._meant((*plan.refused, *plan.conflicts)):
            if left.id not in contested:
                yield f"{plan.host}: {describe_object(left.id)}: {left.reason}"
        if not planned.settled:
            yield f"{plan.host}: not all was planned in time: {planned.interrupted or 'manifests are lacking'}"

    def _change(self, change: Change) -> list[str]:
        answer = self._gathered.answers.get(change.id)
        if answer is None:
            return []  # it failed, and is among the problems
        live: Mapping[str, Any] | None = self._live.get(change.id) if change.current is not None else None
        lines = unified(change.id, live, answer)
        if not lines:
            self.unseen += 1
            return []
        adopted = "adopted from the deployed operator" if change.adopts else "updated"
        what = "created" if change.current is None else adopted
        return [self._note(change.id, f"{what} by {change.template} for {describe_unit(change.unit)}"), *lines]

    def _deletion(self, removal: Removal) -> list[str]:
        live = self._live.get(removal.id)
        note = self._note(removal.id, f"deleted: {removal.reason}")
        return [note] if live is None else [note, *unified(removal.id, live, None)]

    def _note(self, object_id: ObjectId, what: str) -> str:
        return f"# {self._plan.host}: {describe_object(object_id)}: {what}"

    def _notes(self, notes: Iterable[tuple[ObjectId, str]]) -> Iterator[str]:
        """Objects of which the same is to be said are listed under it."""
        groups: dict[str, list[ObjectId]] = {}
        for object_id, what in notes:
            groups.setdefault(what, []).append(object_id)
        for what, ids in groups.items():
            if len(ids) == 1:
                yield self._note(ids[0], what)
                continue
            yield f"# {self._plan.host}: {len(ids)} objects: {what}"
            yield from (f"#   {describe_object(object_id)}" for object_id in ids)

    def _meant(self, items: Iterable[Any]) -> Iterator[Any]:
        return (item for item in items if self._scope.has_template(item.template))


def _heir(removal: Removal) -> str:
    assert removal.current.claim is not None
    return removal.current.claim.host
