"""When a zone that lost vCenters is believed, and when it needs a second look."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.records import NOW
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.record import Discovered
from vcenter_operator.discovery.core.plausibility import Doubt, departed, digest, doubt
from vcenter_operator.discovery.settings import DiscoverySettings

KNOWN = {f"vc-a-{number}" for number in range(10)}
HOSTS = st.sets(st.sampled_from(sorted(KNOWN)))
SHARE = DiscoverySettings().zone_held_share


def without(*lost: int) -> set[str]:
    return KNOWN - {f"vc-a-{number}" for number in lost}


@pytest.mark.parametrize(
    ("known", "lost", "held"),
    [
        (0, 0, False),
        (1, 1, True),
        (2, 1, False),
        (2, 2, True),
        (3, 2, False),
        (3, 3, True),
        (4, 2, False),
        (4, 3, True),
        (10, 0, False),
        (10, 2, False),
        (10, 3, True),
        (100, 10, False),
        (100, 11, True),
        (100, 50, True),
    ],
)
def test_more_than_a_tenth_and_more_than_two_or_all(known: int, lost: int, held: bool) -> None:
    before = {f"vc-a-{n}" for n in range(known)}
    after = {f"vc-a-{n}" for n in range(lost, known)}
    assert (doubt(before, after, share=SHARE) is not None) is held


def test_the_share_is_a_setting() -> None:
    assert doubt(KNOWN, without(0, 1, 2), share=0.2) == Doubt(frozenset({"vc-a-0", "vc-a-1", "vc-a-2"}), 3, 10)
    assert doubt(KNOWN, without(0, 1, 2), share=0.3) is None
    assert doubt(KNOWN, without(*range(9)), share=1) is None
    assert doubt(KNOWN, set(), share=1) is not None


def test_a_second_look_that_lacks_the_same_or_less_confirms() -> None:
    first = doubt(KNOWN, without(0, 1, 2, 3), share=SHARE)
    assert doubt(KNOWN, without(0, 1, 2, 3), share=SHARE, earlier=first) is None
    assert doubt(KNOWN, without(0, 1, 2), share=SHARE, earlier=first) is None


def test_a_second_look_that_lacks_others_is_doubted_again() -> None:
    first = doubt(KNOWN, without(0, 1, 2), share=SHARE)
    assert doubt(KNOWN, without(1, 2, 3), share=SHARE, earlier=first) == Doubt(
        frozenset(KNOWN - without(1, 2, 3)), 3, 10
    )


@pytest.mark.parametrize("step", [1, 2, 5])
def test_what_goes_step_by_step_is_held_as_well(step: int) -> None:
    before = {f"vc-a-{n}" for n in range(100)}
    gone: set[str] = set()
    for _ in range(100 // step):
        known = before - gone
        found = set(sorted(known)[step:])
        why = doubt(known, found, share=SHARE, recent=gone)
        if why is not None:
            break
        gone = before - found
    assert why == Doubt(frozenset(known - found), len(before - found), 100)
    assert len(before - found) == pytest.approx(11, abs=step)


def test_what_went_longer_ago_than_an_hour_does_not_count_along() -> None:
    def section(present: bool, minutes: int | None = None) -> Discovered:
        since = None if minutes is None else NOW - timedelta(minutes=minutes)
        return Discovered(present=present, serial=1, revision=Revision(1, 1), gone_since=since)

    known = {"vc-a-0": section(True), "vc-b-0": section(False, 59), "vc-c-0": section(False, 60)}
    known["vc-d-0"] = section(False)  # of a record that does not say since when
    assert departed(known, NOW) == {"vc-b-0"}


def test_one_that_went_and_came_back_is_not_gone() -> None:
    assert doubt(KNOWN, without(0), share=SHARE, recent={"vc-a-1", "vc-a-2", "vc-a-3"}) is None


def test_a_word_names_a_loss_and_not_the_same_one_after_a_return() -> None:
    stated = {host: Revision(1, number) for number, host in enumerate(sorted(KNOWN))}
    word = digest({"vc-a-0", "vc-a-1"}, stated)
    assert word == digest({"vc-a-1", "vc-a-0"}, stated | {"vc-a-2": Revision(9, 9)})
    assert word != digest({"vc-a-0"}, stated)
    assert word != digest({"vc-a-0", "vc-a-1"}, stated | {"vc-a-1": Revision(2, 1)})


@given(HOSTS, HOSTS, HOSTS, st.floats(0, 1))
def test_names_that_came_do_not_make_up_for_those_that_went(
    known: set[str], found: set[str], recent: set[str], share: float
) -> None:
    new = {f"vc-x-{n}" for n in range(20)}
    assert doubt(known, found, share=share, recent=recent) == doubt(known, found | new, share=share, recent=recent)
