"""When a zone that lost vCenters is believed, and when it needs a second look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcenter_operator.discovery.core.plausibility import Doubt, doubt

KNOWN = {"vc-a-0", "vc-b-0", "vc-c-0", "vc-d-0"}
HOSTS = st.sets(st.sampled_from(sorted(KNOWN)))


@pytest.mark.parametrize(
    ("known", "lost", "held"),
    [
        (4, 0, False),
        (4, 1, False),
        (4, 2, False),
        (4, 3, True),
        (4, 4, True),
        (3, 2, True),
        (2, 1, False),
        (2, 2, True),
        (1, 1, True),
        (0, 0, False),
    ],
)
def test_more_than_half_and_more_than_one_or_all(known: int, lost: int, held: bool) -> None:
    before = {f"vc-a-{n}" for n in range(known)}
    after = {f"vc-a-{n}" for n in range(lost, known)}
    assert (doubt(before, after, share=0.5) is not None) is held


def test_the_share_is_a_setting() -> None:
    after = KNOWN - {"vc-a-0", "vc-b-0"}
    assert doubt(KNOWN, after, share=0.4) == Doubt(frozenset({"vc-a-0", "vc-b-0"}), 4)
    assert doubt(KNOWN, after, share=0.6) is None


def test_a_second_look_that_lacks_the_same_or_less_confirms() -> None:
    first = doubt(KNOWN, {"vc-d-0"}, share=0.5)
    assert doubt(KNOWN, {"vc-d-0"}, share=0.5, earlier=first) is None
    assert doubt(KNOWN, {"vc-d-0", "vc-c-0"}, share=0.5, earlier=first) is None


def test_a_second_look_that_lacks_others_is_doubted_again() -> None:
    first = doubt(KNOWN, {"vc-d-0"}, share=0.5)
    assert doubt(KNOWN, {"vc-a-0"}, share=0.5, earlier=first) == Doubt(frozenset(KNOWN - {"vc-a-0"}), 4)


@given(HOSTS, HOSTS, st.floats(0, 1))
def test_names_that_came_do_not_make_up_for_those_that_went(known: set[str], found: set[str], share: float) -> None:
    new = {f"vc-x-{n}" for n in range(20)}
    assert doubt(known, found, share=share) == doubt(known, found | new, share=share)
