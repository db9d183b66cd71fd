"""The planner's decisions one by one: what is written, what is deleted, and above all what is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.applier.given import (
    CINDER,
    HOST,
    NOVA,
    NOW,
    OTHER,
    TEMPLATES,
    ZONED,
    cluster,
    config_map,
    delta,
    deployment,
    entry,
    existing,
    owned,
    secret,
    zone,
)
from vcenter_operator.applier.core.decisions import Memory, Plan, Policy, Refusal
from vcenter_operator.applier.core.observed import Claim, Observed
from vcenter_operator.applier.core.plan import plan
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import IndexEntry, ManifestDelta, Unknown

A, B, C = deployment("a"), deployment("b"), deployment("c")
SETTLED = Memory(settled_templates=TEMPLATES, settled_inputs="i1")


def planned(
    observed: dict[ObjectId, Observed], stated: ManifestDelta, memory: Memory = SETTLED, policy: Policy | None = None
) -> Plan:
    return plan(observed, stated, memory, policy or Policy(), NOW)


def ids(items: tuple[object, ...]) -> list[ObjectId]:
    return [item.id for item in items]  # type: ignore[attr-defined]


def test_what_is_missing_is_created_what_differs_updated_and_what_is_equal_costs_nothing() -> None:
    made = planned(
        existing(owned(A), owned(B, digest="old")),
        delta({A: entry(), B: entry(), C: entry()}),
    )

    assert (ids(made.creates), ids(made.updates), made.unchanged) == ([C], [B], 1)
    assert made.updates[0].current == owned(B, digest="old")


def test_secrets_come_first_and_go_last() -> None:
    kinds = [deployment("x"), ObjectId("", "Service", "monsoon3", "x"), config_map("x"), secret("x")]
    in_order = [kinds[3], kinds[2], kinds[0], kinds[1]]

    assert ids(planned({}, delta({one: entry() for one in kinds})).creates) == in_order
    assert ids(planned(existing(*map(owned, kinds)), delta(units=[cluster(2)])).deletes) == in_order[::-1]


@pytest.mark.parametrize(
    "unknown",
    [
        Unknown(template=NOVA, unit=cluster(1), reason="line 3"),
        Unknown(template=NOVA, unit=None, reason="line 3"),
        Unknown(template=None, unit=cluster(1), reason="line 3"),
        Unknown(template=None, unit=None, reason="line 3"),
    ],
    ids=["both", "any unit", "any template", "all"],
)
def test_what_is_unknown_is_neither_deleted_nor_updated(unknown: Unknown) -> None:
    gone = planned(existing(owned(A)), delta(unknown=[unknown]))
    changed = planned(existing(owned(A, digest="old")), delta({A: entry()}, unknown=[unknown]))

    assert gone.empty
    assert changed.empty
    assert [(left.id, left.reason) for left in gone.unknown + changed.unknown] == [(A, "line 3"), (A, "line 3")]


def test_what_is_unknown_stays_though_another_template_yields_the_same_object() -> None:
    unknown = Unknown(template=NOVA, unit=cluster(1), reason="line 3")

    made = planned(existing(owned(A)), delta({A: entry(CINDER, digest="other")}, unknown=[unknown]))

    assert made.empty
    assert ids(made.unknown) == [A]


def test_an_object_that_lost_its_annotations_is_unknown_as_soon_as_anything_is() -> None:
    lost = owned(A, template=None, unit_lost=True)

    assert planned(existing(lost), delta(unknown=[Unknown(template=CINDER, unit=cluster(9), reason="x")])).empty
    assert ids(planned(existing(lost), delta({A: entry()})).updates) == [A]


def test_a_unit_that_may_be_one_that_cannot_be_placed_is_unknown_and_not_gone() -> None:
    known, other = owned(B, unit=cluster(2), digest="old"), owned(C, CINDER, unit=cluster(2))
    made = planned(
        existing(owned(A), known, other),
        delta({B: entry(unit=cluster(2))}, templates={**TEMPLATES, CINDER: 2}, partial="x cannot be placed"),
    )
    assert [(left.id, left.reason) for left in made.unknown] == [(A, "x cannot be placed")]
    assert (ids(made.updates), ids(made.deletes)) == ([B], [C]), "what is known of the others is done"


def test_a_template_that_was_deleted_takes_its_objects_along_though_a_cluster_cannot_be_placed() -> None:
    made = planned(existing(owned(A)), delta(templates={CINDER: 1}, partial="x cannot be placed"))
    assert ids(made.deletes) == [A]


def test_an_unknown_of_another_template_or_unit_protects_nothing() -> None:
    unknown = [
        Unknown(template=CINDER, unit=None, reason="x"),
        Unknown(template=None, unit=cluster(2), reason="x"),
    ]

    assert ids(planned(existing(owned(A)), delta(unknown=unknown)).deletes) == [A]


def test_a_vcenter_gone_from_dns_keeps_everything() -> None:
    made = planned(existing(owned(A), owned(B)), delta(present=False))

    assert (made.empty, made.present, made.unchanged) == (True, False, 2)


def test_a_vcenter_gone_from_dns_hands_over_what_another_claims() -> None:
    claimed = owned(A, claim=Claim(OTHER, NOVA, cluster(1)))

    made = planned(existing(claimed, owned(B)), delta(present=False))

    assert (ids(made.handovers), made.deletes, made.unchanged) == ([A], (), 1)


def test_a_manifest_that_is_not_here_is_asked_for() -> None:
    made = planned(existing(owned(A, digest="old")), delta({A: entry(), B: entry()}, manifests=False))

    assert made.empty
    assert not made.quiet
    assert ids(made.lacking) == [A, B]


def test_a_manifest_that_came_with_an_earlier_delta_serves() -> None:
    memory = replace(SETTLED, bodies=frozenset({(A, "d1"), (B, "older")}))

    made = planned({}, delta({A: entry(), B: entry()}, manifests=False), memory)

    assert (ids(made.creates), ids(made.lacking)) == ([A], [B])


def test_an_object_that_is_not_ours_is_a_conflict_whatever_is_stated() -> None:
    foreign = owned(A, host=None)

    assert ids(planned(existing(foreign), delta({A: entry(digest="new")})).conflicts) == [A]
    assert planned(existing(foreign), delta({A: entry(digest="new")})).quiet
    assert planned(existing(foreign), delta()).quiet


def test_another_vcenters_object_is_claimed_once_and_waited_for() -> None:
    stated = delta({A: entry(unit=cluster(7))})
    theirs = owned(A, host=OTHER)
    claim = Claim(HOST, NOVA, cluster(7))

    made = planned(existing(theirs), stated)
    assert (ids(made.claims), made.claims[0].claim, ids(made.conflicts)) == ([A], claim, [A])
    again = planned(existing(replace(theirs, claim=claim)), stated)
    assert (again.empty, again.quiet, ids(again.contested)) == (True, False, [A])


def test_a_claim_of_a_third_vcenter_is_left_standing() -> None:
    theirs = owned(A, host=OTHER, claim=Claim("vc-c-0", NOVA, cluster(7)))

    made = planned(existing(theirs), delta({A: entry()}))

    assert made.empty
    assert ids(made.contested) == [A]


def test_what_is_claimed_is_handed_over_instead_of_deleted() -> None:
    claimed = owned(A, claim=Claim(OTHER, NOVA, cluster(1)))

    assert (ids(planned(existing(claimed), delta()).handovers), planned(existing(claimed), delta()).deletes) == (
        [A],
        (),
    )
    assert planned(existing(claimed), delta({A: entry()})).quiet, "it is still wanted here"
    own_claim = owned(A, claim=Claim(HOST, NOVA, cluster(1)))
    assert ids(planned(existing(own_claim), delta()).deletes) == [A]


def test_what_terminates_is_neither_patched_nor_deleted() -> None:
    dying = owned(A, digest="old", terminating=True)

    wanted = planned(existing(dying), delta({A: entry()}))
    assert (wanted.empty, ids(wanted.waiting)) == (True, [A])
    assert planned(existing(dying), delta()).quiet
    foreign = planned(existing(owned(A, host=None, terminating=True)), delta({A: entry()}))
    assert (foreign.empty, ids(foreign.waiting)) == (True, [A])


def test_cluster_scoped_kinds_need_the_allowlist() -> None:
    role = ObjectId("rbac.authorization.k8s.io", "ClusterRole", "", "reader")
    allowed = Policy(cluster_scoped=frozenset({"rbac.authorization.k8s.io/ClusterRole"}))

    assert ids(planned({}, delta({role: entry()})).conflicts) == [role]
    assert ids(planned({}, delta({role: entry()}), policy=allowed).creates) == [role]
    assert planned(existing(owned(role)), delta()).empty, "nor is it deleted without"
    assert ids(planned(existing(owned(role)), delta(), policy=allowed).deletes) == [role]


def test_what_the_server_refused_is_not_tried_again_until_it_changes() -> None:
    memory = replace(SETTLED, refused={A: Refusal("d1", "field is immutable")})

    assert planned({}, delta({A: entry()}), memory).quiet
    assert [left.reason for left in planned({}, delta({A: entry()}), memory).refused] == ["field is immutable"]
    assert ids(planned({}, delta({A: entry(digest="d2")}), memory).creates) == [A]


def test_metadata_that_was_changed_by_hand_is_put_right() -> None:
    made = planned(existing(owned(A, template=CINDER), owned(B, unit=cluster(9))), delta({A: entry(), B: entry()}))

    assert ids(made.updates) == [A, B]


@pytest.mark.parametrize(
    ("kept", "observed"),
    [
        ("refused", {}),
        ("lacking", {}),
        ("conflict", existing(owned(B, host=None))),
        ("being deleted", existing(owned(B, terminating=True))),
    ],
)
def test_the_old_object_stays_until_what_replaces_it_can_be_written(
    kept: str, observed: dict[ObjectId, Observed]
) -> None:
    """A template that renames its Deployment, where the new name cannot be written: the agent must not go."""
    memory = replace(SETTLED, refused={B: Refusal("d1", "no")}) if kept == "refused" else SETTLED
    stated = delta({B: entry()}, templates={**TEMPLATES, NOVA: 2}, manifests=kept != "lacking")

    made = planned({**observed, **existing(owned(A), owned(C, unit=cluster(2)))}, stated, memory)

    assert ids(made.deferred) == [A]
    assert ids(made.deletes) == [C], "what belongs to another unit goes"


def test_one_object_under_two_ids_is_not_deleted_under_the_old_one() -> None:
    old, new = ObjectId("extensions", "Ingress", "ns", "x"), ObjectId("networking.k8s.io", "Ingress", "ns", "x")

    made = planned(existing(owned(old, uid="u"), owned(new, uid="u")), delta({new: entry()}))

    assert made.empty


# Which deletions the budget counts: two of three clusters' objects are gone, which is beyond it.
BB = {number: deployment(f"bb{number}") for number in (1, 2, 3)}


def three_clusters() -> dict[ObjectId, Observed]:
    return existing(*(owned(one, unit=cluster(number)) for number, one in BB.items()))


def one_of_them() -> dict[ObjectId, IndexEntry]:
    return {BB[1]: entry(unit=cluster(1))}


def test_clusters_that_went_are_inferred_and_held() -> None:
    made = planned(three_clusters(), delta(one_of_them()))

    assert ids(made.held) == [BB[2], BB[3]]
    assert made.deletes == ()
    assert "2 deletions inferred" in made.held[0].reason


def test_a_template_that_is_gone_is_declared() -> None:
    made = planned(three_clusters(), delta(templates={CINDER: 1}))

    assert len(made.deletes) == 3
    assert not any(removal.inferred for removal in made.deletes)


@pytest.mark.parametrize(
    ("templates", "inputs"),
    [({**TEMPLATES, NOVA: 2}, "i1"), (TEMPLATES, "i2")],
    ids=["template edited", "cells or Secret changed"],
)
def test_an_edit_is_declared_for_units_that_are_still_there(templates: dict[str, int], inputs: str) -> None:
    stated = delta(
        one_of_them(),
        units=[cluster(2), cluster(3)],
        templates=templates,
        inputs=inputs,
    )

    assert len(planned(three_clusters(), stated).deletes) == 2


def test_an_edit_declares_nothing_for_units_that_went() -> None:
    stated = delta(one_of_them(), templates={**TEMPLATES, NOVA: 2}, inputs="i2")

    assert len(planned(three_clusters(), stated).held) == 2


def test_an_edit_of_another_template_declares_nothing() -> None:
    stated = delta(
        one_of_them(),
        units=[cluster(2), cluster(3)],
        templates={**TEMPLATES, CINDER: 2},
    )

    assert len(planned(three_clusters(), stated).held) == 2


def test_before_anything_was_settled_all_is_inferred() -> None:
    stated = delta(
        one_of_them(),
        units=[cluster(2), cluster(3)],
        templates={**TEMPLATES, NOVA: 2},
    )

    assert len(planned(three_clusters(), stated, Memory()).held) == 2


def test_what_was_held_stays_inferred_until_its_template_is_gone() -> None:
    memory = replace(SETTLED, held=frozenset(BB.values()))
    edited = delta(
        one_of_them(),
        units=[cluster(2), cluster(3)],
        templates={**TEMPLATES, NOVA: 2},
    )

    assert len(planned(three_clusters(), edited, memory).held) == 2
    assert len(planned(three_clusters(), delta(templates={CINDER: 1}), memory).deletes) == 3


def test_the_rest_of_the_plan_goes_on_while_deletions_are_held() -> None:
    observed = three_clusters() | existing(owned(A, CINDER, digest="old"), owned(B, ZONED, zone()))
    stated = delta(
        {**one_of_them(), A: entry(CINDER), C: entry()},
        templates={NOVA: 1, CINDER: 1},
    )

    made = planned(observed, stated)

    assert (ids(made.creates), ids(made.updates), ids(made.deletes), len(made.held)) == ([C], [A], [B], 2)
