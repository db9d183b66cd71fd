"""Objects of the deployed operator: which are recognised, what is planned for them, and that nothing is until told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.applier.given import (
    HOST,
    NOVA,
    NOW,
    OTHER,
    OWN,
    TEMPLATES,
    cluster,
    delta,
    deployment,
    entry,
    existing,
    owned,
)
from vcenter_operator.applier.core.adoption import is_of_deployed_operator, owning_template
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.deciding import decide
from vcenter_operator.applier.core.decisions import Memory, Plan, Policy, Withheld
from vcenter_operator.applier.core.describe import describe, summarize
from vcenter_operator.applier.core.observed import CLAIMED_BY, Observed, observe
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.plan import plan
from vcenter_operator.common import labels
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta, Unknown
from vcenter_operator.common.record.orders import Orders, PolicyName

A, B, C = deployment("a"), deployment("b"), deployment("c")
SETTLED = Memory(settled_templates=TEMPLATES, settled_inputs="i1")
OWNER = {
    "apiVersion": labels.API_VERSION,
    "kind": "VCenterTemplate",
    "name": "nova-compute",
    "uid": "u",
    "blockOwnerDeletion": False,
}
APPLIED = {"manager": "vcenter-operator", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": {}}


def metadata(**changes: Any) -> dict[str, Any]:
    """As the deployed operator leaves it, but for the changes."""
    made = {"name": "a", "labels": {"app": "a"}, "ownerReferences": [OWNER], "managedFields": [APPLIED]}
    return {**made, **changes}


def of_the_deployed_operator(object_id: ObjectId, **more: Any) -> Observed:
    return Observed(id=object_id, uid=f"uid of {object_id}", version="1", host=None, adoptable=True, **more)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"labels": None},
        {"annotations": {"deployment.kubernetes.io/revision": "7"}},
        {"annotations": {CLAIMED_BY: "what another vCenter noted before, which the apply leaves"}},
        {"ownerReferences": [{**OWNER, "apiVersion": f"{labels.GROUP}/v2"}]},
        {"ownerReferences": [{"kind": "Deployment", "apiVersion": "apps/v1", "name": "x"}, OWNER]},
        {"managedFields": [{**APPLIED, "manager": "kubectl-edit", "operation": "Update"}, APPLIED]},
    ],
)
def test_what_the_deployed_operator_made_is_recognised(changes: Mapping[str, Any]) -> None:
    assert is_of_deployed_operator(metadata(**changes))
    assert observe(A, metadata(**changes), namespace=OWN, hosts=[HOST], ours=True).adoptable
    assert owning_template(metadata(**changes)) == "nova-compute"


@pytest.mark.parametrize(
    "changes",
    [
        {"managedFields": None},
        {"managedFields": [{**APPLIED, "manager": "kubectl"}]},
        {"managedFields": [{**APPLIED, "manager": "vcenter-operator-applyset"}]},
        {"managedFields": [{**APPLIED, "operation": "Update"}]},
        {"managedFields": [{**APPLIED, "subresource": "status"}]},
        {"ownerReferences": None},
        {"ownerReferences": [{**OWNER, "kind": "VCenter"}]},
        {"ownerReferences": [{**OWNER, "apiVersion": "example.org/v1"}]},
        {"ownerReferences": [{**OWNER, "apiVersion": "v1"}]},
        {"labels": {labels.PART_OF: labels.applyset_id(HOST, OWN)}},
        {"labels": {labels.PART_OF: "applyset-of-somebody-else-v1"}},
        *({"annotations": {name: ""}} for name in (labels.VCENTER, labels.TEMPLATE, labels.UNIT, labels.DIGEST)),
    ],
)
def test_what_only_looks_like_it_is_not(changes: Mapping[str, Any]) -> None:
    assert not is_of_deployed_operator(metadata(**changes))


def test_what_is_wanted_is_adopted_by_an_update_and_what_is_not_is_left() -> None:
    found = existing(of_the_deployed_operator(A), of_the_deployed_operator(C))

    made = plan(found, delta({A: entry(), B: entry()}), SETTLED, Policy(), NOW)

    assert [(change.id, change.adopts, change.joins) for change in made.updates] == [(A, True, True)]
    assert [(change.id, change.adopts, change.joins) for change in made.creates] == [(B, False, True)]
    assert (made.deletes, made.held, made.conflicts) == ((), (), ())
    assert summarize(made) == "1 to create, 1 to adopt, 0 unchanged"
    assert describe(made)[1] == (
        "~ Deployment monsoon3/a  (monsoon3/nova-compute, cluster productionbb001 in qa-de-1a, "
        "adopted from the deployed operator)"
    )


def test_what_is_unknown_being_deleted_or_lacking_is_not_adopted() -> None:
    found = existing(of_the_deployed_operator(A))
    unknown = [Unknown(template=NOVA, unit=cluster(1), reason="line 3")]

    assert [one.id for one in plan(found, delta({A: entry()}, unknown=unknown), SETTLED, Policy(), NOW).unknown] == [A]
    elsewhere = [Unknown(template=NOVA, unit=cluster(2), reason="line 3")]
    assert plan(found, delta({A: entry()}, unknown=elsewhere), SETTLED, Policy(), NOW).updates
    dying = existing(of_the_deployed_operator(A, terminating=True))
    assert [one.id for one in plan(dying, delta({A: entry()}), SETTLED, Policy(), NOW).waiting] == [A]
    assert [one.id for one in plan(found, delta({A: entry()}, manifests=False), SETTLED, Policy(), NOW).lacking] == [A]


def decided(stated: ManifestDelta, orders: Orders | None = None, policy: Policy | None = None, *more: Observed) -> Plan:
    found = existing(of_the_deployed_operator(A), owned(B, digest="old"), owned(C, unit=cluster(2)), *more)
    return decide(found, stated, SETTLED, policy or Policy(), orders or Orders(), NOW)


STATED = delta({A: entry(), B: entry(), deployment("new"): entry()})


def test_nothing_of_the_vcenter_is_written_until_a_person_says_so() -> None:
    waits = decided(STATED)

    assert waits.empty
    assert {(one.action, one.id.name) for one in waits.withheld} == {
        ("adopt", "a"),
        ("update", "b"),
        ("create", "new"),
        ("delete", "c"),
    }
    applied = conditions(waits, Outcome())[0]
    assert (applied.status, applied.reason) == ("False", "Adopting")
    assert applied.message == (
        "nothing is written until spec.adopt lets objects of the deployed operator be adopted: "
        "1 to create, 1 to adopt, 1 to update, 1 to delete (create Deployment monsoon3/new, "
        "adopt Deployment monsoon3/a, update Deployment monsoon3/b and 1 more)"
    )


@pytest.mark.parametrize(
    ("region", "vcenter", "writes"),
    [
        (False, None, False),
        (True, None, True),
        (False, True, True),
        (True, False, False),
    ],
)
def test_the_vcenters_word_goes_before_the_regions(*, region: bool, vcenter: bool | None, writes: bool) -> None:
    made = decided(STATED, Orders(adopt=vcenter), Policy(adopt=region))

    assert bool(made.updates and made.creates and made.deletes) == writes


@pytest.mark.parametrize("manifests", [True, False], ids=["all here", "none here yet"])
def test_also_what_could_not_be_adopted_yet_holds_the_rest_back(*, manifests: bool) -> None:
    """A plan in which the object itself is only asked for, or unknown, must not create what stands beside it."""
    stated = STATED.model_copy(update={"manifests": {deployment("new"): b""}}) if not manifests else STATED

    assert decided(stated).empty
    assert decided(
        delta(
            {A: entry(), deployment("new"): entry(unit=cluster(2))},
            unknown=[Unknown(template=NOVA, unit=cluster(1), reason="line 3")],
        )
    ).empty


def test_where_nothing_of_it_is_wanted_all_goes_on() -> None:
    assert decided(delta({B: entry()})).updates


def test_a_stricter_policy_or_a_suspension_counts_besides() -> None:
    released = Orders(adopt=True)

    observed = decided(STATED, replace_order(released, policy=PolicyName.OBSERVE))
    assert observed.empty
    assert {one.by for one in observed.withheld} == {Withheld.OBSERVING}
    assert decided(STATED, replace_order(released, suspended=True)).empty
    suspended = decided(STATED.model_copy(update={"suspended": (NOVA,)}))
    assert suspended.empty
    assert {one.by for one in suspended.withheld} == {Withheld.SUSPENDED}


def replace_order(orders: Orders, **changes: Any) -> Orders:
    return orders.model_copy(update=changes)


def test_what_is_labelled_but_says_not_what_it_was_rendered_from_waits_for_a_person() -> None:
    """Somebody labels an object into the set: it is no evidence that nothing yields it any more."""
    labelled = owned(A, template=None, unit_lost=True)

    for memory in (SETTLED, Memory(), replace(SETTLED, approved=frozenset({(A, labelled.uid)}))):
        made = plan(existing(labelled, owned(B)), delta({B: entry()}), memory, Policy(), NOW)
        assert made.empty
        assert [left.id for left in made.conflicts] == [A]
        assert "a person decides" in made.conflicts[0].reason
    assert [one.id for one in plan(existing(labelled), delta({A: entry()}), SETTLED, Policy(), NOW).updates] == [A]
    assert plan(existing(owned(A, host=OTHER, template=None)), delta(), SETTLED, Policy(), NOW).quiet
