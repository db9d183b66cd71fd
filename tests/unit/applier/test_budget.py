"""The deletion budget: what passes, what waits, and that a series of small losses counts like one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.unit.applier.given import NOW, cluster, zone
from vcenter_operator.applier.core.budget import Budget, clusters, exceeded, left, remembered
from vcenter_operator.common.identity import Unit
from vcenter_operator.common.record.port import OwnedSample

BUDGET = Budget()


def sample(owned: int, minutes_ago: float) -> OwnedSample:
    return OwnedSample(at=NOW - timedelta(minutes=minutes_ago), owned=owned)


def over(removed: list[Unit | None], owned: int, *samples: OwnedSample, units_left: bool = True) -> bool:
    return exceeded(BUDGET, removed, owned=owned, samples=samples, now=NOW, units_left=units_left) is not None


@pytest.mark.parametrize(
    ("removed", "owned", "held"),
    [
        ([cluster(1)] * 5, 5, False),
        ([cluster(1)] * 5 + [zone()], 6, False),
        ([cluster(1), cluster(2)], 6, False),
        ([cluster(1), cluster(2)], 5, True),
        ([cluster(1), cluster(2), cluster(3)], 9, False),
        ([cluster(1), zone("qa-de-1b")], 4, True),
        ([None], 2, True),
        ([None], 3, False),
        ([cluster(1), None], 4, True),
    ],
    ids=[
        "one cluster",
        "and its zone",
        "a third",
        "more than a third",
        "a third of 9",
        "another zone",
        "unit lost",
        "few",
        "unit of one lost",
    ],
)
def test_one_cluster_always_passes_and_several_up_to_the_share(
    removed: list[Unit | None], owned: int, held: bool
) -> None:
    assert over(removed, owned) is held


@pytest.mark.parametrize(("units_left", "held"), [(True, False), (False, True)])
def test_a_zone_alone_passes_unless_nothing_else_is_left(units_left: bool, held: bool) -> None:
    """With templates of the scope datacenter alone, an inventory that is suddenly empty takes no cluster's objects."""
    assert over([zone()] * 3, 3, units_left=units_left) is held


def test_the_share_is_of_the_most_owned_within_the_hour() -> None:
    removed: list[Unit | None] = [cluster(1), cluster(2)]

    assert over(removed, 5)
    assert not over([*removed, cluster(3)], 9)
    assert over([*removed, cluster(3)], 9, sample(12, minutes_ago=30)), "three of twelve went before"
    assert not over([*removed, cluster(3)], 9, sample(12, minutes_ago=61))


def test_a_series_of_small_losses_is_held_like_a_large_one() -> None:
    """Four of twelve clusters, then two of the eight that are left, and so on: each a share that would pass alone."""
    samples: tuple[OwnedSample, ...] = ()
    owned, minutes = 12, 0
    for lost in (4, 2, 2):
        now = NOW + timedelta(minutes=minutes)
        removed = [cluster(number) for number in range(lost)]
        if exceeded(BUDGET, removed, owned=owned, samples=samples, now=now, units_left=True):
            break
        owned -= lost
        samples = remembered(BUDGET, samples, after=owned, inferred=lost, declared=0, now=now)
        minutes += 10

    assert owned == 8


def test_declared_deletions_do_not_count_in_the_hour() -> None:
    samples = remembered(BUDGET, (), after=36, inferred=0, declared=60, now=NOW)
    assert samples == ()
    before = remembered(BUDGET, (), after=90, inferred=6, declared=0, now=NOW)
    assert [one.owned for one in before] == [96]
    after = remembered(BUDGET, before, after=30, inferred=0, declared=60, now=NOW)
    assert [one.owned for one in after] == [36]


def test_the_samples_stay_few_and_keep_the_most() -> None:
    samples: tuple[OwnedSample, ...] = ()
    for step in range(200):
        now = NOW + timedelta(seconds=step)
        samples = remembered(BUDGET, samples, after=1000 - step, inferred=1, declared=0, now=now)

    assert len(samples) <= 32
    assert max(one.owned for one in samples) == 1001


def test_units_that_explain_each_other_count_once() -> None:
    assert clusters([cluster(1), cluster(1), zone()], units_left=True) == 1
    assert clusters([cluster(1), cluster(2), zone()], units_left=True) == 2
    assert clusters([zone("a"), zone("b")], units_left=True) == 2
    assert clusters([], units_left=True) == 0


def test_what_was_held_is_not_released_by_time_or_growth() -> None:
    def held(removed: list[Unit | None], budget: Budget = BUDGET) -> bool:
        return exceeded(budget, removed, owned=100, samples=(), now=NOW, units_left=True, held_before=True) is not None

    assert held([cluster(1), cluster(2)])
    assert not held([cluster(1), cluster(1)]), "the rest is one cluster's"
    assert not held([cluster(1), cluster(2)], Budget(share=1.0)), "somebody turned the budget off"


@pytest.mark.parametrize("budget", [BUDGET, Budget(share=0.5, count=3), Budget(share=0), Budget(share=1)])
@pytest.mark.parametrize("samples", [(), (sample(40, minutes_ago=30),), (sample(40, minutes_ago=61),)])
def test_what_is_left_of_the_budget_is_what_it_lets_go(budget: Budget, samples: tuple[OwnedSample, ...]) -> None:
    owned = 30
    remaining = left(budget, owned=owned, samples=samples, now=NOW)
    for going in range(2, owned + 1):
        removed: list[Unit | None] = [cluster(number) for number in range(going)]
        held = exceeded(budget, removed, owned=owned, samples=samples, now=NOW, units_left=True) is not None
        assert held is (going > remaining)
