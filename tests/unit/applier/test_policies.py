"""Policies and suspension: they take out of a plan what is not to be done, show it, and add nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.applier.given import (
    CINDER,
    HOST,
    NOVA,
    NOW,
    OTHER,
    cluster,
    delta,
    deployment,
    entry,
    existing,
    owned,
    provenance,
)
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.deciding import decide
from vcenter_operator.applier.core.decisions import Memory, Plan, Policy
from vcenter_operator.applier.core.describe import describe, summarize
from vcenter_operator.applier.core.observed import Claim
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.policies import observe, suspend, suspend_templates, sync, upsert_only
from vcenter_operator.applier.core.settling import section
from vcenter_operator.common.record.orders import Orders, PolicyName, WhenGone, orders_of
from vcenter_operator.common.record.port import Applied

OBSERVED = existing(
    owned(deployment("changed"), digest="old"),
    owned(deployment("unwanted"), unit=cluster(2)),
    owned(deployment("moving"), claim=Claim(OTHER, NOVA, cluster(1))),
    owned(deployment("others"), host=OTHER),
    owned(deployment("kept"), CINDER, digest="old"),
)
STATED = delta(
    {
        deployment("new"): entry(),
        deployment("changed"): entry(),
        deployment("others"): entry(),
        deployment("kept"): entry(CINDER),
    }
)


def made(orders: Orders | None = None, policy: Policy | None = None, suspended: tuple[str, ...] = ()) -> Plan:
    stated = STATED.model_copy(update={"suspended": suspended})
    return decide(OBSERVED, stated, Memory(), policy or Policy(), orders or Orders(), NOW)


def doing(plan: Plan) -> dict[str, list[str]]:
    lists = {name: getattr(plan, name) for name in ("creates", "updates", "claims", "handovers", "deletes")}
    return {name: [item.id.name for item in items] for name, items in lists.items() if items}


EVERYTHING = {
    "creates": ["new"],
    "updates": ["changed", "kept"],
    "claims": ["others"],
    "handovers": ["moving"],
    "deletes": ["unwanted"],
}


def test_each_policy_does_what_its_name_says() -> None:
    plan = made()

    assert doing(sync(plan)) == doing(plan) == EVERYTHING
    assert doing(upsert_only(plan)) == {name: items for name, items in EVERYTHING.items() if name != "deletes"}
    assert doing(observe(plan)) == doing(suspend(plan)) == {}
    assert observe(plan).empty


def test_what_is_withheld_is_shown_and_why() -> None:
    plan = made(Orders(policy=PolicyName.OBSERVE))

    assert {(each.action, each.id.name) for each in plan.withheld} == {
        ("create", "new"),
        ("update", "changed"),
        ("update", "kept"),
        ("claim", "others"),
        ("hand over", "moving"),
        ("delete", "unwanted"),
    }
    applied = conditions(plan, Outcome())[0]
    assert (applied.status, applied.reason) == ("False", "Observing")
    assert applied.message.startswith(
        "policy observe: nothing is written: 1 to create, 2 to update, 1 to claim, 1 to hand over, 1 to delete (create"
    )
    assert "| would delete: Deployment monsoon3/unwanted: policy observe: nothing is written" in describe(plan)
    assert "6 withheld" in summarize(plan)


@pytest.mark.parametrize(
    ("region", "own", "counts"),
    [
        (PolicyName.SYNC, None, PolicyName.SYNC),
        (PolicyName.UPSERT_ONLY, None, PolicyName.UPSERT_ONLY),
        (PolicyName.OBSERVE, PolicyName.SYNC, PolicyName.OBSERVE),
        (PolicyName.SYNC, PolicyName.UPSERT_ONLY, PolicyName.UPSERT_ONLY),
        (PolicyName.UPSERT_ONLY, PolicyName.OBSERVE, PolicyName.OBSERVE),
    ],
)
def test_the_stricter_of_region_and_vcenter_counts(
    region: PolicyName, own: PolicyName | None, counts: PolicyName
) -> None:
    assert made(Orders(policy=own), Policy(name=region)).policy is counts


def test_a_suspended_vcenter_is_left_alone_and_says_so_though_nothing_is_to_be_done() -> None:
    assert doing(made(Orders(suspended=True))) == {}
    assert conditions(made(Orders(suspended=True)), Outcome())[0].reason == "Suspended"
    idle = decide({}, delta(), Memory(), Policy(), Orders(suspended=True), NOW)
    shown = conditions(idle, Outcome())[0]
    assert (shown.status, shown.reason, shown.message) == ("True", "Suspended", "the vCenter is suspended")


def test_a_suspended_template_keeps_its_own_objects_and_no_others() -> None:
    plan = made(suspended=(NOVA,))

    assert doing(plan) == {"updates": ["kept"]}
    assert {each.reason for each in plan.withheld} == {f"template {NOVA} is suspended"}


def test_an_object_that_changes_between_templates_stays_when_either_is_suspended() -> None:
    observed, stated = existing(owned(deployment("a"), CINDER)), delta({deployment("a"): entry(NOVA)})
    for template in (NOVA, CINDER):
        suspended = stated.model_copy(update={"suspended": (template,)})
        assert decide(observed, suspended, Memory(), Policy(), Orders(), NOW).empty


def test_a_deletion_waits_for_what_may_replace_it_and_is_withheld() -> None:
    """The new object is taken from a suspended template's: what NOVA yielded for the unit before stays until then."""
    observed = existing(owned(deployment("taken"), CINDER), owned(deployment("old"), NOVA))
    stated = delta({deployment("taken"): entry(NOVA)}).model_copy(update={"suspended": (CINDER,)})

    plan = decide(observed, stated, Memory(), Policy(), Orders(), NOW)

    assert plan.empty
    assert [each.id.name for each in plan.withheld] == ["taken", "old"]


def test_what_is_withheld_stays_as_declared_as_it_is_and_the_rest_is_settled() -> None:
    """Suspending one template makes no later loss of another's objects look like an edit."""
    applied = Applied(acted_on=provenance(), settled_templates={NOVA: 1, CINDER: 1}, settled_inputs="i1")
    edited = delta({}, units=[cluster(1)], templates={NOVA: 2, CINDER: 2}).model_copy(update={"suspended": (NOVA,)})
    observed = existing(owned(deployment("nova"), NOVA), owned(deployment("cinder"), CINDER))
    memory = Memory(applied.settled_templates, applied.settled_inputs)

    plan = decide(observed, edited, memory, Policy(), Orders(), NOW)
    outcome = Outcome(deleted=tuple(removal.id for removal in plan.deletes))
    after = section(applied, edited, plan, outcome, gone=plan.deletes, owned=1, budget=Policy().budget, now=NOW)

    assert after.settled_templates == {NOVA: 2, CINDER: 2}
    again = Memory(after.settled_templates, after.settled_inputs, frozenset(after.declared))
    resumed = decide(observed, edited.model_copy(update={"suspended": ()}), again, Policy(), Orders(), NOW)
    assert {removal.id.name: removal.inferred for removal in resumed.deletes} == {"nova": False, "cinder": True}


def test_a_template_that_was_never_settled_is_not_taken_for_edited_after_it_was_observed() -> None:
    applied = Applied(acted_on=provenance())
    stated = delta({}, units=[cluster(1)])
    observed = existing(owned(deployment("nova"), NOVA))

    plan = decide(observed, stated, Memory(), Policy(name=PolicyName.OBSERVE), Orders(), NOW)
    after = section(applied, stated, plan, Outcome(), gone=(), owned=1, budget=Policy().budget, now=NOW)
    resumed = decide(observed, stated, Memory(after.settled_templates, after.settled_inputs), Policy(), Orders(), NOW)

    assert [removal.inferred for removal in resumed.deletes] == [True]


def test_orders_are_read_from_spec_and_annotations_and_in_doubt_the_safer_way() -> None:
    def read(spec: object = None, **annotations: object) -> Orders:
        said = {f"vcenter-operator.stable.sap.cc/{name}": text for name, text in annotations.items()}
        return orders_of({"metadata": {"name": HOST, "annotations": said}, "spec": spec})

    assert orders_of({"metadata": {"name": HOST}}) == read() == read("nonsense") == Orders()
    assert read({"policy": "upsert-only", "whenGone": "delete", "suspend": True, "adopt": True}) == Orders(
        policy=PolicyName.UPSERT_ONLY, when_gone=WhenGone.DELETE, suspended=True, adopt=True
    )
    assert read({"policy": None, "whenGone": None, "suspend": False, "adopt": None}) == Orders()
    assert read({"policy": "snyc", "whenGone": ["x"], "suspend": "no", "adopt": "yes"}) == Orders(
        policy=PolicyName.OBSERVE, when_gone=WhenGone.RETAIN, suspended=True, adopt=False
    )
    assert read(approve=" abc ", reconcile=5) == Orders(approve="abc", reconcile="5")
    assert read(approve="") == Orders()


def test_suspending_adds_nothing_to_what_was_taken_out_before() -> None:
    plan = suspend_templates(made(), [NOVA])

    assert len(observe(plan).withheld) == len(plan.withheld) + 1
    assert replace(observe(observe(plan)), policy=plan.policy) == observe(plan)
