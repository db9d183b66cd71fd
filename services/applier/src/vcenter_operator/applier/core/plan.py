"""What is to be done to make the cluster hold what a ManifestDelta says, and what must be left alone.

Three values, not two: an object is deleted only on evidence that it should not exist. What is unknown stays exactly as
it is, updates included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from vcenter_operator.applier.core.approval import digest_of
from vcenter_operator.applier.core.budget import exceeded
from vcenter_operator.applier.core.decisions import Change, Left, Memory, Plan, Policy, Removal, Taking
from vcenter_operator.applier.core.observed import Claim, Observed
from vcenter_operator.applier.core.order import in_order
from vcenter_operator.common.identity import ObjectId, Unit
from vcenter_operator.common.messages import IndexEntry, ManifestDelta
from vcenter_operator.common.record.orders import WhenGone

__all__ = ["Plan", "describe_unit", "plan"]


def plan(
    observed: Mapping[ObjectId, Observed], delta: ManifestDelta, memory: Memory, policy: Policy, now: datetime
) -> Plan:
    """Decides about every object that this vCenter owns or should own.

    `observed` has what is known to exist: all that is in the vCenter's ApplySet, and whatever else stands under an id
    of the index. What is not in it does not exist. `now` ends the budget's hour.
    """
    owned = {object_id: one for object_id, one in observed.items() if one.host == delta.host}
    if not delta.present:
        return _gone(owned, delta, memory, policy, now)
    sorting = _Sorting(delta, memory, policy)
    for object_id, entry in delta.index.items():
        sorting.wanted(object_id, entry, observed.get(object_id))
    # One object may answer under two ids, where a kind is served by two groups: its uid tells.
    wanted = {observed[object_id].uid for object_id in delta.index if object_id in observed}
    for object_id, one in owned.items():
        if object_id not in delta.index and (not one.uid or one.uid not in wanted):
            sorting.unwanted(object_id, one)
    return sorting.done(owned.values(), now)


def _gone(
    owned: Mapping[ObjectId, Observed], delta: ManifestDelta, memory: Memory, policy: Policy, now: datetime
) -> Plan:
    """A vCenter that is gone keeps all that it owns, but for what another one has claimed; if so told, for a while.

    Nothing goes that the record does not say of: DNS may have it again, and nothing could be read or rendered since.
    """
    until = None
    if memory.gone_since is not None and policy.when_gone is WhenGone.DELETE:
        until = memory.gone_since + policy.gone_after
    if until is not None and now >= until:
        sorting = _Sorting(delta, memory, policy)
        for object_id, one in owned.items():
            sorting.unwanted(object_id, one)
        return replace(sorting.done(owned.values(), now), present=False)
    handovers = [
        Removal(object_id, one.template, one.unit, _GONE, inferred=True, current=one)
        for object_id, one in owned.items()
        if one.claim is not None and one.claim.host != delta.host and not one.terminating
    ]
    return Plan(
        delta.host,
        present=False,
        retaining=True,
        retained_until=until,
        unchanged=len(owned) - len(handovers),
        handovers=_removals(handovers),
    )


class _Sorting:
    """The lists of a plan while they are filled."""

    def __init__(self, delta: ManifestDelta, memory: Memory, policy: Policy) -> None:
        self._delta = delta
        self._memory = memory
        self._policy = policy
        self._unchanged = 0
        self._creates: list[Change] = []
        self._updates: list[Change] = []
        self._removals: list[Removal] = []
        self._deferred: list[Removal] = []
        self._handovers: list[Removal] = []
        self._claims: list[Taking] = []
        self._left: dict[str, list[Left]] = {}
        self._stuck: set[tuple[str, Unit]] = set()

    def wanted(self, object_id: ObjectId, entry: IndexEntry, one: Observed | None) -> None:
        """An object that should exist."""
        if not self._allowed(object_id):
            self._stick("conflicts", object_id, entry, _NOT_ALLOWED)
        elif one is not None and one.host != self._delta.host:
            self._others(object_id, entry, one)
        elif one is not None and (reason := self._unknown(one.template, one.unit)):
            self._leave("unknown", object_id, one.template, reason)
        elif one is not None and one.terminating:
            self._stick("waiting", object_id, entry, "is being deleted")
        elif one is not None and (one.digest, one.template, one.unit) == (entry.digest, entry.template, entry.unit):
            self._unchanged += 1
        elif reason := self._unknown(entry.template, entry.unit):
            self._leave("unknown", object_id, entry.template, reason)
        else:
            self._write(object_id, entry, one)

    def unwanted(self, object_id: ObjectId, one: Observed) -> None:
        """An object of ours that is not in the index."""
        if not self._allowed(object_id):
            self._leave("conflicts", object_id, one.template, _NOT_ALLOWED)
        elif reason := self._unknown(one.template, one.unit):
            self._leave("unknown", object_id, one.template, reason)
        elif one.terminating:
            return
        else:
            inferred, reason = self._why(object_id, one)
            removal = Removal(object_id, one.template, one.unit, reason, inferred, one)
            if one.claim is not None and one.claim.host != self._delta.host:
                self._handovers.append(removal)
            elif one.template is None or one.unit is None:
                self._leave("conflicts", object_id, one.template, _UNTOLD)
            elif (one.template, one.unit) in self._stuck:
                self._deferred.append(removal)
            else:
                self._removals.append(removal)

    def done(self, owned: Collection[Observed], now: datetime) -> Plan:
        """The plan, after the deletion budget; `owned` are the objects that there are."""
        memory = self._memory
        there = [one for one in owned if not one.terminating]
        inferred = [removal for removal in self._removals if removal.inferred]
        over = exceeded(
            self._policy.budget,
            [removal.unit for removal in inferred],
            owned=len(there),
            samples=memory.samples,
            now=now,
            units_left=bool(self._delta.units),
            held_before=any(removal.id in memory.held for removal in inferred),
        )
        # A word is for what it was given for, and for what is left of that: nothing may have come along since, and
        # nothing may be wanted or unknown again.
        approved = memory.approved & {(one.id, one.uid) for one in there}
        to_go = {removal.instance for removal in (*self._removals, *self._deferred, *self._handovers)}
        released = {removal.instance for removal in inferred} <= approved <= to_go
        held = [replace(removal, reason=over) for removal in inferred] if over and not released else []
        held_ids = {removal.id for removal in held}
        hold = memory.hold + (bool(held) and held_ids != memory.held)
        return Plan(
            host=self._delta.host,
            unchanged=self._unchanged,
            creates=_changes(self._creates),
            updates=_changes(self._updates),
            deletes=_removals(
                replace(removal, approved=removal.instance in approved and released)
                for removal in self._removals
                if removal.id not in held_ids
            ),
            handovers=_removals(self._handovers),
            claims=in_order(self._claims, lambda claim: claim.id),
            deferred=_removals(self._deferred),
            held=_removals(held),
            hold=hold,
            held_plan=digest_of(hold, [removal.instance for removal in held]) if held else None,
            approved=approved if released else frozenset(),
            conflicts=self._all_left("conflicts"),
            contested=self._all_left("contested"),
            unknown=self._all_left("unknown"),
            lacking=self._all_left("lacking"),
            waiting=self._all_left("waiting"),
            refused=self._all_left("refused"),
        )

    def _others(self, object_id: ObjectId, entry: IndexEntry, one: Observed) -> None:
        if one.terminating:
            self._stick("waiting", object_id, entry, "is being deleted")
            return
        if one.host is None:
            self._strangers(object_id, entry, one)
            return
        claim = Claim(self._delta.host, entry.template, entry.unit)
        reason = f"belongs to vCenter {one.host}, and is claimed from it"
        if one.claim is not None and one.claim.host != claim.host:
            reason = f"belongs to vCenter {one.host}, and is claimed by {one.claim.host}"
        elif one.claim != claim:
            self._claims.append(Taking(object_id, claim, one))
        self._stick("conflicts", object_id, entry, reason)
        self._leave("contested", object_id, entry.template, reason)

    def _strangers(self, object_id: ObjectId, entry: IndexEntry, one: Observed) -> None:
        if not one.adoptable:
            self._stick("conflicts", object_id, entry, "exists, and is not managed by the operator")
        elif reason := self._unknown(entry.template, entry.unit):
            self._leave("unknown", object_id, entry.template, reason)
        else:
            self._write(object_id, entry, one)

    def _write(self, object_id: ObjectId, entry: IndexEntry, one: Observed | None) -> None:
        refusal = self._memory.refused.get(object_id)
        if refusal is not None and refusal.digest == entry.digest:
            self._stick("refused", object_id, entry, refusal.reason)
        elif object_id not in self._delta.manifests and (object_id, entry.digest) not in self._memory.bodies:
            self._stick("lacking", object_id, entry, "its manifest is not here yet")
        else:
            change = Change(object_id, entry.template, entry.unit, entry.digest, one)
            (self._creates if one is None else self._updates).append(change)

    def _why(self, object_id: ObjectId, one: Observed) -> tuple[bool, str]:
        """Whether a removal is inferred from DNS or inventory, and what it is put down to. In doubt it is inferred."""
        delta, memory = self._delta, self._memory
        if not delta.present:
            return True, _GONE
        if one.template is None or one.unit is None:
            return True, _UNTOLD
        if one.template not in delta.templates:
            return False, f"template {one.template} is gone"
        if one.unit not in delta.units:
            return True, f"{describe_unit(one.unit)} is gone"
        if object_id in memory.held or memory.settled_templates is None:
            return True, f"template {one.template} no longer yields it"
        if object_id in memory.declared:
            return False, f"template {one.template} yields it no longer since it was edited"
        if memory.settled_templates.get(one.template) != delta.templates[one.template]:
            return False, f"template {one.template} was changed"
        if memory.settled_inputs != delta.inputs:
            return False, "the cells or the Secret were changed"
        return True, f"template {one.template} no longer yields it"

    def _unknown(self, template: str | None, unit: Unit | None) -> str | None:
        """Why nothing is known about objects of this template and unit; None: it is known."""
        for unknown in self._delta.unknown:
            if template is None or unit is None or unknown.covers(template, unit):
                return unknown.reason
        if unit not in self._delta.units and (template is None or template in self._delta.templates):
            return self._delta.partial
        return None

    def _allowed(self, object_id: ObjectId) -> bool:
        names = {object_id.kind, f"{object_id.group}/{object_id.kind}"}
        return bool(object_id.namespace or names & self._policy.cluster_scoped)

    def _stick(self, where: str, object_id: ObjectId, entry: IndexEntry, reason: str) -> None:
        """Leaves an object that should be written, and with it what its template would no longer yield for the unit."""
        self._stuck.add((entry.template, entry.unit))
        self._leave(where, object_id, entry.template, reason)

    def _all_left(self, where: str) -> tuple[Left, ...]:
        return in_order(self._left.get(where, ()), lambda left: left.id)

    def _leave(self, where: str, object_id: ObjectId, template: str | None, reason: str) -> None:
        self._left.setdefault(where, []).append(Left(object_id, template, reason))


_GONE = "its vCenter is gone from DNS"
_UNTOLD = "is labelled as this vCenter's, and says not what it was rendered from: whether it may go, a person decides"
_NOT_ALLOWED = "is cluster-scoped, and its kind is not in VCENTER_OPERATOR_CLUSTER_SCOPED_KINDS"


def describe_unit(unit: Unit) -> str:
    """A unit in words."""
    if not unit.cluster:
        return f"availability zone {unit.availability_zone}"
    kind = "storage cluster" if unit.scope == "storage" else "cluster"
    return f"{kind} {unit.cluster} in {unit.availability_zone}"


def _changes(changes: Iterable[Change]) -> tuple[Change, ...]:
    return in_order(changes, lambda change: change.id)


def _removals(removals: Iterable[Removal]) -> tuple[Removal, ...]:
    return in_order(removals, lambda removal: removal.id, reverse=True)
