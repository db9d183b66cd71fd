"""A person's word on held deletions: for exactly the plan that was shown, once, and through a crash."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.unit.applier.given import (
    HOST,
    NOVA,
    NOW,
    TEMPLATES,
    cluster,
    delta,
    deployment,
    entry,
    existing,
    owned,
    provenance,
)
from vcenter_operator.applier.core.approval import accepted, digest_of
from vcenter_operator.applier.core.budget import Budget
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.deciding import decide
from vcenter_operator.applier.core.decisions import Memory, Plan, Policy
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.settling import foreseen, section
from vcenter_operator.common.identity import ObjectId, Unit
from vcenter_operator.common.messages import ManifestDelta, Unknown
from vcenter_operator.common.record.document import record_of, section_status
from vcenter_operator.common.record.orders import Orders, PolicyName, WhenGone
from vcenter_operator.common.record.port import Applied

CLUSTERS = [cluster(number) for number in range(1, 5)]


class VCenter:
    """One vCenter's objects and record, with what the applier does to them: the pure parts, one after the other."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.orders = Orders()
        self.now = NOW
        self.uids = itertools.count()
        self.gone_since: datetime | None = None
        """As discovery records it."""
        self.objects: dict[ObjectId, Observed] = {}
        self.applied = Applied(acted_on=provenance(), settled_templates=dict(TEMPLATES), settled_inputs="i1")
        for unit in CLUSTERS:
            self.create(unit)

    def create(self, unit: Unit) -> None:
        object_id = deployment(unit.cluster)
        self.objects |= existing(owned(object_id, unit=unit, uid=str(next(self.uids))))

    def restart(self) -> None:
        """What is known is what the record says."""
        status = section_status({}, self.applied, NOW)
        read = record_of({"metadata": {"name": HOST}, "status": status}).applied
        assert read is not None
        self.applied = read.model_copy(update={"conditions": self.applied.conditions})

    def decide(self, stated: ManifestDelta) -> Plan:
        memory = Memory(
            settled_templates=self.applied.settled_templates,
            settled_inputs=self.applied.settled_inputs,
            held=frozenset(self.applied.held),
            hold=self.applied.hold,
            approved=frozenset((one.id, one.uid) for one in self.applied.approved),
            gone_since=self.gone_since,
            samples=self.applied.samples,
        )
        return decide(self.objects, stated, memory, self.policy, self.orders, self.now)

    def reconcile(self, stated: ManifestDelta, *, crash_after: int | None = None) -> Plan:
        """One plan, with the word taken where there is one; `crash_after` so many deletions nothing is recorded."""
        plan = self.decide(stated)
        if (taken := accepted(self.applied, plan, self.orders)) is not None:
            self.applied = taken
            plan = self.decide(stated)
        budget = self.policy.budget
        self.applied = foreseen(self.applied, plan, owned=len(self.objects), budget=budget, now=self.now)
        gone = plan.deletes[:crash_after]
        for removal in gone:
            del self.objects[removal.id]
        if crash_after is not None:
            self.restart()
            return plan
        outcome = Outcome(deleted=tuple(removal.id for removal in gone))
        self.applied = section(
            self.applied, stated, plan, outcome, gone=gone, owned=len(self.objects), budget=budget, now=self.now
        )
        return plan

    def without(self, *lost: Unit, gone: bool = False, unknown: bool = False) -> ManifestDelta:
        self.gone_since = (self.gone_since or self.now) if gone else None
        left = [unit for unit in CLUSTERS if unit not in lost] if not gone else []
        reasons = [Unknown(template=None, unit=None, reason="unreachable")] if unknown else []
        index = {deployment(unit.cluster): entry(unit=unit) for unit in left}
        return delta(index, present=not gone, unknown=reasons)

    def approve(self, plan: Plan) -> None:
        assert plan.held_plan
        self.orders = Orders(approve=plan.held_plan)


@pytest.fixture
def vcenter() -> VCenter:
    return VCenter()


def names(plan: Plan) -> list[str]:
    return sorted(removal.id.name[-1] for removal in plan.deletes)


def test_the_digest_is_that_of_the_set_and_of_its_number() -> None:
    one, other = (deployment("a"), "1"), (deployment("b"), "2")

    assert digest_of(1, [one, other]) == digest_of(1, [other, one])
    different = [digest_of(1, [one]), digest_of(2, [one, other]), digest_of(1, [one, (deployment("b"), "3")])]
    assert len({digest_of(1, [one, other]), *different}) == 4


def test_exactly_what_was_shown_is_released(vcenter: VCenter) -> None:
    lost = vcenter.without(*CLUSTERS[:3])
    held = vcenter.reconcile(lost)
    assert (names(held), len(held.held)) == ([], 3)
    assert vcenter.applied.held_plan == held.held_plan
    shown = conditions(held, Outcome())[1].message
    assert f"vcenter-operator approve {HOST} --plan {held.held_plan}" in shown

    vcenter.approve(held)

    released = vcenter.reconcile(lost)
    assert names(released) == ["1", "2", "3"]
    assert (vcenter.applied.approved, vcenter.applied.held_plan) == ((), None)


def test_a_plan_that_changed_needs_a_new_word(vcenter: VCenter) -> None:
    first = vcenter.reconcile(vcenter.without(*CLUSTERS[:2]))
    vcenter.approve(first)

    grown = vcenter.reconcile(vcenter.without(*CLUSTERS[:3]))

    assert (names(grown), grown.held_plan != first.held_plan) == ([], True)
    assert f"the approval of {first.held_plan} is for another plan" in conditions(grown, Outcome())[1].message
    again = vcenter.reconcile(vcenter.without(*CLUSTERS[:2]))
    assert names(again) == [], "a word that came too late is none when the plan is as it was"


def test_a_word_is_not_for_objects_that_were_made_anew(vcenter: VCenter) -> None:
    lost = vcenter.without(*CLUSTERS[:3])
    vcenter.approve(vcenter.reconcile(lost))
    vcenter.create(CLUSTERS[0])

    assert names(vcenter.reconcile(lost)) == []


@pytest.mark.parametrize("deleted", [0, 1, 2])
def test_what_is_left_after_a_crash_goes_on(vcenter: VCenter, deleted: int) -> None:
    lost = vcenter.without(*CLUSTERS)
    vcenter.approve(vcenter.reconcile(lost))

    vcenter.reconcile(lost, crash_after=deleted)
    assert len(vcenter.objects) == 4 - deleted
    vcenter.reconcile(lost)

    assert not vcenter.objects


def test_after_a_crash_nothing_may_have_come_along(vcenter: VCenter) -> None:
    vcenter.approve(vcenter.reconcile(vcenter.without(*CLUSTERS[:3])))
    vcenter.reconcile(vcenter.without(*CLUSTERS[:3]), crash_after=1)

    assert names(vcenter.reconcile(vcenter.without(*CLUSTERS))) == []
    assert names(vcenter.reconcile(vcenter.without(*CLUSTERS[:3]))) == []


def test_a_used_word_has_no_effect_later(vcenter: VCenter) -> None:
    vcenter.approve(vcenter.reconcile(vcenter.without(*CLUSTERS[:3])))
    vcenter.reconcile(vcenter.without(*CLUSTERS[:3]))
    for unit in CLUSTERS[:3]:
        vcenter.create(unit)
        vcenter.objects[deployment(unit.cluster)] = replace(
            vcenter.objects[deployment(unit.cluster)], uid=unit.cluster[-1]
        )
    vcenter.reconcile(vcenter.without())
    vcenter.now += timedelta(days=1)

    assert names(vcenter.reconcile(vcenter.without(*CLUSTERS[:3]))) == []


def test_a_word_ends_when_the_inventory_is_back(vcenter: VCenter) -> None:
    """Half was deleted when the objects were wanted again: their next loss is another one."""
    lost = vcenter.without(*CLUSTERS[:3])
    vcenter.approve(vcenter.reconcile(lost))
    vcenter.reconcile(lost, crash_after=1)

    vcenter.reconcile(vcenter.without())
    assert vcenter.applied.approved == ()

    assert names(vcenter.reconcile(lost)) == []


def test_the_same_loss_again_needs_another_word(vcenter: VCenter) -> None:
    """The annotation of a loss that was over before it was seen stays on the resource."""
    lost = vcenter.without(*CLUSTERS[:3])
    held = vcenter.reconcile(lost)
    vcenter.reconcile(vcenter.without())
    vcenter.approve(held)

    assert names(vcenter.reconcile(lost)) == []


def test_a_word_ends_when_only_a_part_is_wanted_again(vcenter: VCenter) -> None:
    lost = vcenter.without(*CLUSTERS[:3])
    held = vcenter.reconcile(lost)
    vcenter.approve(held)
    vcenter.orders = vcenter.orders.model_copy(update={"policy": PolicyName.OBSERVE})
    vcenter.reconcile(lost)
    assert {one.id for one in vcenter.applied.approved} == {deployment(unit.cluster) for unit in CLUSTERS[:3]}
    vcenter.approve(held)

    assert names(vcenter.reconcile(vcenter.without(*CLUSTERS[:2]))) == []
    assert not vcenter.applied.approved


def test_no_word_deletes_what_is_unknown(vcenter: VCenter) -> None:
    vcenter.approve(vcenter.reconcile(vcenter.without(*CLUSTERS[:3])))

    assert vcenter.reconcile(vcenter.without(*CLUSTERS[:3], unknown=True)).empty
    assert names(vcenter.reconcile(vcenter.without(*CLUSTERS[:3]))) == [], "and what it became is another plan"


def test_what_a_person_released_is_not_counted_against_what_comes_later(vcenter: VCenter) -> None:
    vcenter = VCenter(Policy(budget=Budget(share=0.5)))
    vcenter.approve(vcenter.reconcile(vcenter.without(*CLUSTERS[:3])))
    vcenter.reconcile(vcenter.without(*CLUSTERS[:3]))

    assert vcenter.applied.samples == ()


def test_a_word_under_observe_deletes_nothing_and_is_not_lost(vcenter: VCenter) -> None:
    lost = vcenter.without(*CLUSTERS[:3])
    vcenter.approve(vcenter.reconcile(lost))
    observing = vcenter.orders.model_copy(update={"policy": PolicyName.OBSERVE})
    vcenter.orders, word = observing, vcenter.orders

    assert vcenter.reconcile(lost).empty
    vcenter.orders = word
    assert names(vcenter.reconcile(lost)) == ["1", "2", "3"]


def test_the_number_holds_as_the_share_does() -> None:
    vcenter = VCenter(Policy(budget=Budget(share=1.0, count=1)))

    held = vcenter.reconcile(vcenter.without(*CLUSTERS[:2]))

    assert len(held.held) == 2
    assert "more than 100% or 1 objects within an hour" in held.held[0].reason
    assert names(VCenter(Policy(budget=Budget(share=1.0, count=1))).reconcile(vcenter.without(CLUSTERS[0]))) == ["1"]


GONE = Policy(when_gone=WhenGone.DELETE, gone_after=timedelta(days=7))


def test_a_vcenter_gone_is_deleted_after_its_time_and_a_word() -> None:
    vcenter = VCenter(GONE)
    gone = vcenter.without(gone=True)
    first = vcenter.reconcile(gone)
    assert (first.retaining, first.retained_until) == (True, NOW + timedelta(days=7))
    assert "4 objects are retained until 2026-03-08 12:00 UTC" in conditions(first, Outcome())[0].message

    vcenter.restart()
    vcenter.now += timedelta(days=6, hours=23)
    assert vcenter.reconcile(gone).retaining
    vcenter.now += timedelta(hours=1)
    held = vcenter.reconcile(gone)
    assert (held.retaining, len(held.held), names(held)) == (False, 4, [])

    vcenter.approve(held)
    vcenter.reconcile(gone)
    assert not vcenter.objects


def test_a_word_on_a_loss_is_none_on_a_vcenter_that_is_gone() -> None:
    """The same objects are to go for another reason, after a while in which nothing was held."""
    vcenter = VCenter(GONE)
    held = vcenter.reconcile(vcenter.without(*CLUSTERS))
    vcenter.reconcile(vcenter.without(gone=True))
    vcenter.approve(held)
    vcenter.now += timedelta(days=8)

    again = vcenter.reconcile(vcenter.without(gone=True))

    assert (len(again.held), names(again)) == (4, [])


def test_the_clock_begins_anew_when_dns_brings_it_back() -> None:
    vcenter = VCenter(GONE)
    vcenter.reconcile(vcenter.without(gone=True))
    vcenter.now += timedelta(days=6)
    vcenter.reconcile(vcenter.without())
    vcenter.now += timedelta(days=2)

    assert vcenter.reconcile(vcenter.without(gone=True)).retained_until == vcenter.now + GONE.gone_after


def test_nothing_goes_unless_the_record_says_since_when_it_is_gone() -> None:
    """It says nothing where it was deleted, or where DNS has the vCenter again and nobody could read it since."""
    vcenter = VCenter(replace(GONE, gone_after=timedelta(0), budget=Budget(share=1.0)))
    gone = vcenter.without(gone=True)
    vcenter.gone_since = None
    silent = vcenter.reconcile(gone)
    assert (silent.retaining, silent.retained_until) == (True, None)

    vcenter.gone_since = vcenter.now
    assert names(vcenter.reconcile(gone)) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("region", "own", "kept"),
    [
        (WhenGone.RETAIN, None, True),
        (WhenGone.RETAIN, WhenGone.DELETE, False),
        (WhenGone.DELETE, WhenGone.RETAIN, True),
    ],
)
def test_the_vcenters_own_word_on_being_gone_counts(region: WhenGone, own: WhenGone | None, kept: bool) -> None:
    vcenter = VCenter(Policy(when_gone=region, gone_after=timedelta(0), budget=Budget(share=1.0)))
    vcenter.orders = Orders(when_gone=own)
    vcenter.reconcile(vcenter.without(gone=True))

    assert bool(vcenter.objects) is kept


def test_templates_that_are_gone_too_make_no_deletion_of_a_gone_vcenter_a_declared_one() -> None:
    vcenter = VCenter(replace(GONE, gone_after=timedelta(0)))
    gone = vcenter.without(gone=True).model_copy(update={"templates": {NOVA + "-other": 1}})

    assert len(vcenter.reconcile(gone).held) == 4
