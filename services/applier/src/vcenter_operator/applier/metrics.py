"""What the applier counts besides what every stage does; `docs/metrics.md` has the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum

from prometheus_client import Counter, Histogram

from vcenter_operator.applier.core.budget import Budget, left
from vcenter_operator.applier.core.decisions import ACTIONS, Item, action_of
from vcenter_operator.applier.ports import Freeze, Frozen
from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.messages import Trace
from vcenter_operator.common.metrics import LAG_SECONDS, LiveGauge, Values


class Acted(StrEnum):
    """What came of one object that something was to be done to."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    CHANGED = "changed"
    STOPPED = "stopped"


APPLIED = Counter(
    "vcenter_operator_objects_applied_total", "Objects that something was to be done to", ["operation", "outcome"]
)
for _operation in ACTIONS:
    for _outcome in Acted:
        APPLIED.labels(_operation, _outcome)
OBJECTS = LiveGauge("vcenter_operator_objects", "Objects of a vCenter by the last plan", ["vcenter", "state"])
OWNED = LiveGauge("vcenter_operator_objects_owned", "Objects that carry its ApplySet's label", ["vcenter"])
BUDGET = LiveGauge(
    "vcenter_operator_deletion_budget_remaining_objects",
    "Inferred deletions that may still go within the hour without a person's word",
    ["vcenter"],
)
FROZEN = LiveGauge("vcenter_operator_frozen", "1: everything is frozen, nothing is written; 0: it is not")
CAUSE_TO_EFFECT = Histogram(
    "vcenter_operator_cause_to_effect_seconds",
    "From when a cause was observed until what follows was written",
    buckets=LAG_SECONDS,
)


def acted(item: Item, outcome: Acted) -> None:
    """Counts an object that something was to be done to."""
    APPLIED.labels(action_of(item), outcome).inc()


def effected(trace: Trace) -> None:
    """All that follows from a statement is written."""
    if trace.began_at is not None:
        CAUSE_TO_EFFECT.observe(max(0.0, time.time() - trace.began_at))


@contextmanager
def shown(
    states: Callable[[], Iterable[VCenterState]], freeze: Freeze, budget: Budget, now: Callable[[], datetime]
) -> Iterator[None]:
    """Serves how it stands with the vCenters of the owned partitions inside the `with` block."""

    def known() -> list[VCenterState]:
        return [each for each in states() if each.owned or (each.delta is not None and each.delta.present)]

    def objects() -> Values:
        return [((each.host, name), count) for each in known() for name, count in each.tally.items()]

    def remaining() -> Values:
        for each in known():
            samples = each.applied.samples if each.applied else ()
            yield (each.host,), left(budget, owned=each.owned, samples=samples, now=now())

    with (
        OBJECTS.of(objects),
        OWNED.of(lambda: [((each.host,), each.owned) for each in known()]),
        BUDGET.of(remaining),
        FROZEN.of(lambda: _frozen(freeze)),
    ):
        yield


def _frozen(freeze: Freeze) -> Values:
    """Nothing while it is not known."""
    try:
        freeze.check()
    except Frozen:
        return [((), 1)]
    except TransientError:
        return []
    return [((), 0)]
