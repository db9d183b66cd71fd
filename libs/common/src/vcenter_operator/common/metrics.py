"""What every stage counts. `docs/metrics.md` has the table; what a stage alone counts is in its own `metrics`.

A gauge of what is held is not kept but worked out when it is asked for: no series outlives what it is about.
"""

from __future__ import annotations

import platform
import time
from asyncio import CancelledError
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from importlib.metadata import version

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily

from vcenter_operator.common.messages import Stage, Statement

disable_created_metrics()  # type: ignore[no-untyped-call]

Values = Iterable[tuple[Sequence[str], float]]
"""The values of a gauge's labels, and what it is for them."""

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LAG_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Answer(StrEnum):
    """What becomes of a statement that was received."""

    DONE = "done"
    SUPERSEDED = "superseded"
    RETRIED = "retried"
    PARKED = "parked"
    PUT_OFF = "put_off"
    LEFT = "left"


class LiveGauge:
    """A gauge that is worked out anew each time. Of several sources in one process, equal labels are added up."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self.name, self.labels = name, tuple(labels)
        self._documentation = documentation
        self._sources: list[Callable[[], Values]] = []
        REGISTRY.register(self)

    @contextmanager
    def of(self, source: Callable[[], Values]) -> Iterator[None]:
        """Served from `source`, in the event loop's thread, inside the `with` block."""
        self._sources.append(source)
        try:
            yield
        finally:
            self._sources.remove(source)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See `prometheus_client.registry.Collector`."""
        family = GaugeMetricFamily(self.name, self._documentation, labels=self.labels)
        values: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for source in self._sources:
            for labels, value in source():
                values[tuple(labels)] += value
        for labels, value in values.items():
            family.add_metric(labels, value)
        yield family


BUILD_INFO = Gauge("vcenter_operator_build_info", "1", ["version", "python_version"])
BUILD_INFO.labels(version("vcenter-operator-common"), platform.python_version()).set(1)

BUS_CONNECTED = LiveGauge("vcenter_operator_bus_connected", "1: the bus takes statements")
BUS_CONNECTIONS_LOST = Counter(
    "vcenter_operator_bus_connections_lost_total", "Connections to the broker that ended without having been told to"
)

PARTITIONS = Gauge("vcenter_operator_partitions", "How many partitions the stage has, whoever owns them", ["stage"])
PARTITIONS_OWNED = Gauge("vcenter_operator_partitions_owned", "How many of them this replica owns", ["stage"])
PARTITIONS_TAKEN = Counter("vcenter_operator_partitions_taken_total", "Partitions that this replica took", ["stage"])
PARTITIONS_LOST = Counter(
    "vcenter_operator_partitions_lost_total", "Partitions that it lost, and did not give up", ["stage"]
)

RECEIVED = Counter("vcenter_operator_statements_received_total", "Statements that the bus handed over", ["stage"])
ANSWERED = Counter("vcenter_operator_statements_answered_total", "What became of them", ["stage", "outcome"])
PUBLISHED = Counter("vcenter_operator_statements_published_total", "Statements put on the bus", ["stage", "outcome"])
WAITING = LiveGauge("vcenter_operator_statements_waiting", "Statements that have no answer yet", ["stage"])
RETRYING = LiveGauge(
    "vcenter_operator_vcenters_retrying", "vCenters whose newest statement failed and is tried again", ["stage"]
)
HANDLING = Histogram(
    "vcenter_operator_statement_handling_seconds", "One attempt at a statement", ["stage"], buckets=REQUEST_SECONDS
)
LAG = Histogram(
    "vcenter_operator_statement_lag_seconds",
    "From a statement's publication until the stage was done with it",
    ["stage"],
    buckets=LAG_SECONDS,
)
RESYNCS = Counter(
    "vcenter_operator_resyncs_received_total", "Requests of the next stage to say again what is known", ["stage"]
)

KUBERNETES = Histogram(
    "vcenter_operator_kubernetes_request_duration_seconds",
    "Requests to the API server; a watch: until it begins",
    ["kind", "outcome"],
    buckets=REQUEST_SECONDS,
)

_STATED_BY = dict(zip(list(Stage)[1:], Stage, strict=False))
"""Who states what a stage receives."""


class Statements:
    """Counts what becomes of the statements that a stage receives."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._received = RECEIVED.labels(stage)
        self._lag = LAG.labels(stage)

    def received(self) -> None:
        """One was handed over."""
        self._received.inc()

    def answered(self, answer: Answer, published_at: float | None = None) -> None:
        """One has its answer; `published_at` (seconds since the epoch) where the stage is done with it."""
        ANSWERED.labels(self._stage, answer).inc()
        if published_at is not None:
            self._lag.observe(max(0.0, time.time() - published_at))

    def handling(self) -> AbstractContextManager[None]:
        """Times the block: an attempt at one."""
        return HANDLING.labels(self._stage).time()


@contextmanager
def owned(stage: Stage, waiting: Callable[[], int], retrying: Callable[[], int]) -> Iterator[None]:
    """Inside the `with` block a replica of the stage owns a partition."""
    partitions = PARTITIONS_OWNED.labels(stage)
    partitions.inc()
    try:
        with WAITING.of(lambda: [((stage,), waiting())]), RETRYING.of(lambda: [((stage,), retrying())]):
            yield
    finally:
        partitions.dec()


@contextmanager
def publishing(statement: Statement) -> Iterator[None]:
    """Counts a statement that the block puts on the bus."""
    outcome = "failed"
    try:
        yield
        outcome = "confirmed"
    finally:
        PUBLISHED.labels(_STATED_BY[statement.receiver], outcome).inc()


@contextmanager
def timed(histogram: Histogram, kind: str, outcome_of: Callable[[Exception], str]) -> Iterator[None]:
    """Observes a request of some kind: how long the block takes, and `ok`, or what `outcome_of` says of its error."""
    began = time.perf_counter()
    outcome = "ok"
    try:
        yield
    except CancelledError:
        outcome = "cancelled"
        raise
    except Exception as error:
        outcome = outcome_of(error)
        raise
    finally:
        histogram.labels(kind, outcome).observe(time.perf_counter() - began)


def serves(stage: Stage, partitions: int) -> None:
    """The process works as a stage from now on: its series are there, so that the first count is a rise."""
    PARTITIONS.labels(stage).set(partitions)
    for each in (PARTITIONS_OWNED, PARTITIONS_TAKEN, PARTITIONS_LOST, RECEIVED, RESYNCS, HANDLING, LAG):
        each.labels(stage)
    for answer in Answer:
        ANSWERED.labels(stage, answer)
    for outcome in ("confirmed", "failed"):
        PUBLISHED.labels(stage, outcome)
