"""When a vCenter's plan is complete: not while manifests are lacking, and never altered by the dry run's own echo."""

from __future__ import annotations

from dataclasses import replace

from vcenter_operator.applier.core.decisions import Change, Left, Plan
from vcenter_operator.applier.core.outcome import Failure, Outcome
from vcenter_operator.command.diff.collecting import Scope
from vcenter_operator.command.diff.planned import Gathered
from vcenter_operator.common.identity import ObjectId, Unit

HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
A, B = (ObjectId("", "ConfigMap", "n", name) for name in "ab")
UNIT = Unit("cluster", "qa-de-1a", "productionbb001")


def change(object_id: ObjectId) -> Change:
    return Change(object_id, "n/t", UNIT, "digest")


def test_a_plan_is_complete_once_no_manifest_is_lacking_and_has_what_earlier_ones_had() -> None:
    gathered = Gathered()
    gathered.on_plan(HOST, Plan(HOST, creates=(change(A),), lacking=(Left(B, "n/t", "not here"),)), Outcome())
    assert not gathered.settled(HOST)
    # The body of A is gone with its dry run: what was planned of it stays planned.
    gathered.on_plan(HOST, Plan(HOST, creates=(change(B),), lacking=(Left(A, "n/t", "not here"),)), Outcome())
    assert gathered.settled(HOST)
    assert gathered.planned[HOST].changes.keys() == {A, B}


def test_what_the_dry_run_takes_for_done_afterwards_changes_nothing() -> None:
    gathered = Gathered()
    first = Plan(HOST, creates=(change(A),))
    gathered.on_plan(HOST, first, Outcome())
    gathered.on_plan(HOST, Plan(HOST, unchanged=1), Outcome())
    assert gathered.planned[HOST].plan == first


def test_a_passing_failure_is_waited_for_a_few_times_and_a_lasting_one_not() -> None:
    plan, passing = Plan(HOST, creates=(change(A),)), Failure(A, "n/t", "no", permanent=False)
    gathered = Gathered()
    for settled in (False, False, True):
        gathered.on_plan(HOST, plan, Outcome(failed=(passing,)))
        assert gathered.settled(HOST) is settled
    gathered = Gathered()
    gathered.on_plan(HOST, plan, Outcome(failed=(replace(passing, permanent=True),)))
    assert gathered.settled(HOST)
    gathered = Gathered()
    gathered.on_plan(HOST, plan, Outcome(interrupted="changed meanwhile"))
    assert not gathered.settled(HOST)


def test_what_is_meant_is_named_in_full_or_in_short() -> None:
    assert Scope().has_vcenter(HOST)
    assert Scope("vc-a-0").has_vcenter(HOST)
    assert Scope(f"{HOST.upper()}.").has_vcenter(HOST)
    assert not Scope("vc-a").has_vcenter(HOST)
    assert Scope(template="t").has_template("n/t")
    assert Scope(template="n/t").has_template("n/t")
    assert not Scope(template="m/t").has_template("n/t")
    assert not Scope(template="t").has_template(None)
    assert Scope().has_template(None)
