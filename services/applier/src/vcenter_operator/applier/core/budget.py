"""The deletion budget: how much may go on inference alone, before a person's word is needed.

It counts deletions inferred from DNS or inventory, those of the last hour and those planned now, against the most that
was owned within that hour. So neither one wrong inventory nor a series of slightly smaller ones takes a vCenter's
objects. What belongs to a single cluster always passes, and what a person released is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor, inf

from vcenter_operator.common.identity import Unit
from vcenter_operator.common.record.port import OwnedSample

_SAMPLES = 32
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Budget:
    """How much is allowed: the share (0 to 1; 1 allows all) of the most owned within the window, and no more than

    `count` objects (None: any number).
    """

    share: float = 1 / 3
    window: timedelta = timedelta(hours=1)
    count: int | None = None

    @property
    def unlimited(self) -> bool:
        """Whether nothing is ever beyond it."""
        return self.share >= 1 and self.count is None

    def allows(self, going: int, most: int) -> bool:
        """Whether so many of the most that was owned may go."""
        return going <= self.share * most + _ROUNDING and (self.count is None or going <= self.count)

    def __str__(self) -> str:
        return f"more than {self.share:.0%}" + (f" or {self.count} objects" if self.count is not None else "")


def exceeded(
    budget: Budget,
    removed: Sequence[Unit | None],
    *,
    owned: int,
    samples: Iterable[OwnedSample],
    now: datetime,
    units_left: bool,
    held_before: bool = False,
) -> str | None:
    """Why the inferred deletions have to wait; None: they are within the budget.

    `removed` has the unit of each object that would go, `owned` is how many there are now. `units_left` is whether
    anything is left to render for. Of what was `held_before` nothing goes because time has passed, or more has been
    created since: only a person's word releases it, or what is left of it being a single cluster's.
    """
    if not removed or clusters(removed, units_left=units_left) == 1:
        return None
    most = max([owned, *(sample.owned for sample in _within(budget, samples, now))])
    going = most - owned + len(removed)
    if budget.allows(going, most) and not (held_before and not budget.unlimited):
        return None
    before = f" after {most - owned} in the last hour" if most > owned else ""
    return (
        f"{len(removed)} deletions inferred from DNS or inventory{before}, of at most {most} objects owned: "
        f"{budget} within an hour needs a person's word"
    )


def left(budget: Budget, *, owned: int, samples: Iterable[OwnedSample], now: datetime) -> float:
    """How many more inferred deletions are within the budget now; infinite: any number."""
    if budget.unlimited:
        return inf
    most = max([owned, *(sample.owned for sample in _within(budget, samples, now))])
    allowed = floor(budget.share * most + _ROUNDING)
    return max(0, (allowed if budget.count is None else min(allowed, budget.count)) - (most - owned))


def clusters(removed: Iterable[Unit | None], *, units_left: bool) -> int:
    """How many clusters' end it takes to explain that the objects of these units go.

    A datacenter unit goes along with a cluster of its availability zone. Where no cluster goes, it counts like one, or,
    when nothing at all is left to render for, as more than one: an availability zone may hold any number of clusters.
    So does an object whose unit is not known.
    """
    units = set(removed)
    of_clusters = {unit for unit in units if unit is not None and unit.cluster}
    zones = {unit.availability_zone for unit in of_clusters}
    alone = {unit for unit in units if unit is not None and not unit.cluster and unit.availability_zone not in zones}
    count = len(of_clusters) + len(alone) + (2 if None in units else 0)
    return count + 1 if alone and not of_clusters and not units_left else count


def remembered(
    budget: Budget, samples: Iterable[OwnedSample], *, after: int, inferred: int, declared: int, now: datetime
) -> tuple[OwnedSample, ...]:
    """The samples to keep when `after` objects are left of what was owned before that many deletions.

    The declared ones, which the budget does not count, are taken off what was owned earlier, as if they had never been.
    """
    kept = [
        sample.model_copy(update={"owned": max(0, sample.owned - declared)}) for sample in _within(budget, samples, now)
    ]
    if inferred:
        counted = after + inferred
        kept = [sample for sample in kept if sample.owned > counted]
        kept.append(OwnedSample(at=now, owned=counted))
    while len(kept) > _SAMPLES:
        newest = kept.pop()
        kept[-1] = OwnedSample(at=newest.at, owned=max(newest.owned, kept[-1].owned))
    return tuple(kept)


def _within(budget: Budget, samples: Iterable[OwnedSample], now: datetime) -> list[OwnedSample]:
    return [sample for sample in samples if now - sample.at < budget.window]
