"""What people read: the plan in words, the record's conditions, and the text of a manifest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from tests.unit.applier.given import (
    CINDER,
    HOST,
    NOVA,
    NOW,
    OTHER,
    TEMPLATES,
    cluster,
    config_map,
    delta,
    deployment,
    entry,
    existing,
    manifest,
    owned,
    secret,
    zone,
)
from vcenter_operator.applier.adapters.manifestfile import is_named, manifest_path, manifest_text
from vcenter_operator.applier.core.budget import Budget
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.decisions import Memory, Plan, Policy, Refusal
from vcenter_operator.applier.core.describe import describe, summarize
from vcenter_operator.applier.core.observed import Claim, GroupKind
from vcenter_operator.applier.core.outcome import Failure, Outcome, tally
from vcenter_operator.applier.core.plan import plan
from vcenter_operator.common.errors import PermanentError
from vcenter_operator.common.identity import ObjectId, Unit
from vcenter_operator.common.messages import Unknown


@pytest.fixture
def everything() -> Plan:
    """A plan with one decision of every sort, and two deletions that are held."""
    observed = existing(
        owned(deployment("same")),
        owned(deployment("changed"), digest="old"),
        owned(deployment("unwanted"), CINDER),
        owned(deployment("lost-2"), unit=cluster(2)),
        owned(deployment("lost-3"), unit=cluster(3)),
        owned(deployment("moving"), claim=Claim(OTHER, NOVA, cluster(1))),
        owned(deployment("left"), NOVA, zone()),
        owned(deployment("replaced"), unit=cluster(4)),
        owned(config_map("theirs"), host=None),
        owned(config_map("others"), host=OTHER),
        owned(secret("dying"), terminating=True),
    )
    index = {
        deployment("same"): entry(),
        deployment("changed"): entry(),
        deployment("new"): entry(unit=Unit("storage", "qa-de-1a", "storage01")),
        deployment("replacing"): entry(unit=cluster(4)),
        config_map("theirs"): entry(),
        config_map("others"): entry(),
        secret("dying"): entry(),
        secret("lacking"): entry(),
    }
    unknown = [Unknown(template=NOVA, unit=zone(), reason="nova-compute, line 7: 'naem' is undefined")]
    stated = delta(index, templates={NOVA: TEMPLATES[NOVA]}, unknown=unknown)
    here = {one: b"" for one in index if one != secret("lacking")}
    budget = Policy(budget=Budget(share=0.2))
    memory = Memory(TEMPLATES, "i1", refused={deployment("replacing"): Refusal("d1", "spec: Invalid value")})
    return plan(observed, stated.model_copy(update={"manifests": here}), memory, budget, NOW)


def test_a_plan_in_numbers(everything: Plan) -> None:
    before = tally(everything, Outcome())
    assert before == {
        "as_stated": 1,
        "pending": 7,
        "held": 2,
        "withheld": 0,
        "unknown": 1,
        "conflict": 2,
        "refused": 1,
    }
    new, changed, unwanted = deployment("new"), deployment("changed"), deployment("unwanted")
    outcome = Outcome(created=(new,), deleted=(unwanted,), failed=(Failure(changed, NOVA, "422", True),))
    assert tally(everything, outcome) == {**before, "as_stated": 2, "pending": 4, "refused": 2}
    assert tally(everything, replace(outcome, failed=(), dry_run=True)) == before, "nothing was done"


def test_a_plan_in_words(everything: Plan) -> None:
    held = everything.held[0].reason

    assert describe(everything) == [
        "+ Deployment monsoon3/new  (monsoon3/nova-compute, storage cluster storage01 in qa-de-1a)",
        "~ Deployment monsoon3/changed  (monsoon3/nova-compute, cluster productionbb001 in qa-de-1a)",
        "- Deployment monsoon3/unwanted  (template monsoon3/cinder-volume is gone)",
        f"> Deployment monsoon3/moving  (claimed by {OTHER})",
        f"! held: Deployment monsoon3/lost-2 and 1 more: {held}",
        "… Deployment monsoon3/replaced  (template monsoon3/nova-compute no longer yields it; "
        "waits for what is yielded now)",
        f"x ConfigMap monsoon3/others: belongs to vCenter {OTHER}, and is claimed from it",
        "x ConfigMap monsoon3/theirs: exists, and is not managed by the operator",
        "x Deployment monsoon3/replacing: spec: Invalid value",
        "? Deployment monsoon3/left: nova-compute, line 7: 'naem' is undefined",
        "… Secret monsoon3/lacking: its manifest is not here yet",
        "… Secret monsoon3/dying: is being deleted",
    ]
    assert held.startswith("2 deletions inferred from DNS or inventory, of at most 8 objects owned: more than 20%")
    assert summarize(everything) == (
        "1 to create, 1 to update, 1 to delete, 1 to hand over, 2 held, 1 deferred, 2 in conflict, "
        "1 left as they are, 1 to ask for, 1 being deleted, 1 refused, 1 unchanged"
    )


def test_long_lists_are_cut_and_equal_reasons_told_once() -> None:
    many = delta({deployment(f"d{number:02}"): entry() for number in range(30)})
    unknown = Unknown(template=None, unit=None, reason="the vCenter does not answer")
    stay = existing(*(owned(deployment(f"d{number:02}")) for number in range(30)))

    assert describe(plan({}, many, Memory(), Policy(), NOW), limit=2)[2:] == ["+ and 28 more"]
    assert describe(plan(stay, delta(unknown=[unknown]), Memory(), Policy(), NOW)) == [
        "? Deployment monsoon3/d00 and 29 more: the vCenter does not answer"
    ]
    assert summarize(Plan(HOST)) == "nothing to do, 0 unchanged"
    assert describe(Plan(HOST, present=False, retaining=True, unchanged=3)) == ["  vCenter gone from DNS, 3 retained"]


@pytest.mark.parametrize(
    ("change", "outcome", "applied"),
    [
        ({}, Outcome(), "AsStated"),
        ({"present": False}, Outcome(), "Retained"),
        ({}, Outcome(frozen="audit"), "Frozen"),
        ({}, Outcome(interrupted="no answer"), "Retrying"),
        ({}, Outcome(failed=(Failure(secret("s"), NOVA, "503", False),)), "Retrying"),
        ({}, Outcome(failed=(Failure(secret("s"), NOVA, "422", True),)), "Refused"),
        ({"held"}, Outcome(), "AsStated"),
        ({"held", "unknown"}, Outcome(), "PartlyUnknown"),
        ({"refused"}, Outcome(), "Refused"),
        ({"conflicts"}, Outcome(), "Conflict"),
        ({"waiting"}, Outcome(), "Waiting"),
        ({"lacking"}, Outcome(), "Waiting"),
    ],
)
def test_conditions_say_what_matters_most(
    everything: Plan, change: dict[str, bool] | set[str], outcome: Outcome, applied: str
) -> None:
    present = not isinstance(change, dict) or change.get("present", True)
    made = Plan(HOST, present=present, retaining=not present)
    if isinstance(change, set):
        made = replace(made, **{name: getattr(everything, name) for name in change})

    shown = {condition.type: condition for condition in conditions(made, outcome)}

    assert shown["Applied"].reason == applied
    assert (shown["Applied"].status == "True") == (applied in ("AsStated", "PartlyUnknown"))
    assert (shown["DeletionHeld"].status == "True") == ("held" in change)


def test_the_text_of_a_manifest_is_the_same_for_the_same_manifest() -> None:
    one = manifest(config_map("a"), data={"b": "yes", "a": "line 1\nline 2\n", "n": "017"})
    other = {key: one[key] for key in reversed(one)}

    text = manifest_text(one)

    assert text == manifest_text(other)
    assert text.startswith("apiVersion: v1\nkind: ConfigMap\nmetadata:\n")
    assert "a: |\n    line 1\n    line 2\n" in text
    assert yaml.safe_load(text) == one


@pytest.mark.parametrize(
    ("object_id", "path"),
    [
        (deployment("nova"), "monsoon3/deployment-nova.yaml"),
        (ObjectId("networking.k8s.io", "Ingress", "ns", "a.b"), "ns/ingress-a.b.yaml"),
        (ObjectId("monitoring.coreos.com", "PodMonitor", "ns", "x"), "ns/podmonitor.monitoring.coreos.com-x.yaml"),
        (ObjectId("", "Namespace", "", "x"), "_cluster/namespace-x.yaml"),
    ],
)
def test_where_a_manifest_is(object_id: ObjectId, path: str) -> None:
    assert str(manifest_path(object_id)) == path


@pytest.mark.parametrize(
    "object_id",
    [
        ObjectId("", "Secret", "..", "x"),
        ObjectId("", "Secret", "a/b", "x"),
        ObjectId("", "Secret", "ns", "../x"),
        ObjectId("", "../Secret", "ns", "x"),
        ObjectId("../..", "Secret", "ns", "x"),
        ObjectId("", "Secret", "ns", ""),
    ],
)
def test_no_name_leads_out_of_the_folder(object_id: ObjectId) -> None:
    assert not is_named(object_id)
    with pytest.raises(PermanentError):
        manifest_path(object_id)


def test_group_kinds_and_claims_are_read_as_they_were_written() -> None:
    for kind in (GroupKind("", "Secret"), GroupKind("networking.k8s.io", "Ingress")):
        assert GroupKind.parse(str(kind)) == kind
    claim = Claim(OTHER, NOVA, cluster(1))
    assert Claim.parse(str(claim)) == claim
    assert [Claim.parse(text) for text in (None, "", "x", "[]", "{}", '{"vcenter": 1}')] == [None] * 6
