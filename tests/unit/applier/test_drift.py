"""When an object counts as edited by others, and how often it is put right."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from tests.unit.applier.given import NOVA, cluster, deployment, existing, owned
from vcenter_operator.applier.core.drift import Drift
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.common.identity import ObjectId

A, B = deployment("a"), deployment("b")
BOTH = existing(owned(A, fields="1"), owned(B, fields="1"))


def looked(recorded: str | None = None) -> Drift:
    made = Drift()
    made.seen(BOTH, [A, B], recorded)
    return made


def edited(*ids: ObjectId) -> dict[ObjectId, Observed]:
    return {one: replace(seen, fields="taken") if one in ids else seen for one, seen in BOTH.items()}


def test_what_lost_a_field_of_ours_is_edited_and_what_has_a_new_version_is_not() -> None:
    made = looked()
    moved = {one: replace(seen, version="9") for one, seen in BOTH.items()}
    assert made.edited(moved, now=0.0) == (frozenset(), inf)
    assert made.edited(edited(A), now=0.0) == (frozenset([A]), inf)
    made.wrote(owned(A, fields="2"), edited=False, now=0.0)
    assert made.edited({**BOTH, A: owned(A, fields="2")}, now=0.0)[0] == frozenset(), "our own write left it so"


def test_what_the_record_names_differently_at_the_first_look_is_all_looked_upon_as_edited() -> None:
    name = looked().name(BOTH)
    assert looked(name).edited(BOTH, now=0.0)[0] == frozenset()
    for other in (edited(A), existing(owned(A, fields="1"))):
        made = Drift()
        made.seen(other, [A, B], name)
        assert made.edited(other, now=0.0)[0] == frozenset(other)
        assert made.wrote(owned(A, fields="1"), edited=True, now=0.0) == 0, "nobody is known to have edited it"


def test_an_edit_that_is_not_put_right_yet_is_one_for_the_next_owner_too() -> None:
    made = looked()
    made.seen(edited(A), [A, B], None)
    later = Drift()
    later.seen(edited(A), [A, B], made.name(BOTH))
    assert A in later.edited(edited(A), now=0.0)[0]


def test_who_edits_again_and_again_is_answered_ever_more_slowly() -> None:
    made = looked()
    now, waits = 100.0, []
    for times in range(1, 12):
        due, later = made.edited(edited(A), now=now)
        if not due:
            waits.append(later - now)
            now = later
            assert made.edited(edited(A), now=now)[0] == frozenset([A])
        assert made.wrote(owned(A, fields="1"), edited=True, now=now) == times
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]
    assert made.edited(edited(B), now=now)[0] == frozenset([B]), "another object is not held up"
    assert made.wrote(owned(A, fields="1"), edited=True, now=now + 1000.0) == 1, "after a while it is the first again"


def test_what_vanished_and_comes_back_is_measured_by_what_was_written() -> None:
    made = looked()
    made.seen({B: BOTH[B]}, [A, B], None)
    assert made.edited(edited(A), now=0.0)[0] == frozenset([A])
    made.seen({B: BOTH[B]}, [B], None)
    made.seen(edited(A), [A, B], None)
    assert made.edited(edited(A), now=0.0)[0] == frozenset(), "what was not wanted any more is new"


def test_who_deletes_again_and_again_is_answered_ever_more_slowly_and_what_is_new_at_once() -> None:
    made, wanted = looked(), {one: ("d1", NOVA, cluster(1)) for one in BOTH}
    without = {B: BOTH[B]}
    now, waits = 100.0, []
    made.wrote(BOTH[A], edited=False, now=now)
    assert made.paused(without, wanted, now) == {}, "the first time it is made anew at once"
    for times in range(1, 4):
        assert made.wrote(BOTH[A], edited=False, now=now) == times
        assert made.paused(BOTH, wanted, now) == {}, "it is there"
        ((gone, again_at),) = made.paused(without, wanted, now).items()
        assert gone == A
        waits.append(again_at - now)
        now = again_at
        assert made.paused(without, wanted, now) == {}
    assert waits == [2.0, 4.0, 8.0]
    assert made.wrote(BOTH[A], edited=False, now=now) == 4
    assert made.paused(without, {**wanted, A: ("d2", NOVA, cluster(1))}, now) == {}, "another digest is wanted"


def test_what_we_deleted_ourselves_is_made_again_without_a_word() -> None:
    made = looked()
    made.wrote(BOTH[A], edited=False, now=0.0)
    made.ended(A)
    assert made.wrote(BOTH[A], edited=False, now=1.0) == 0


def test_three_in_a_row_are_a_fight_that_is_over_a_while_after_the_last() -> None:
    made, now = looked(), 0.0
    theirs = {A: replace(owned(A, fields="taken"), editor="kubectl-edit")}
    for times in range(1, 4):
        assert made.fights(now) == ((), inf)
        now = max(now, made.edited(theirs, now)[1] if times > 1 else now)
        assert made.edited(theirs, now)[0] == {A}
        made.wrote(BOTH[A], edited=True, now=now)
    assert made.fights(now) == (((A, 3, "kubectl-edit"),), now + 8 + 600)
    assert made.fights(now + 608) == ((), inf)
