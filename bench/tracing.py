"""What traces cost a process, in microseconds of CPU: one statement observed, sent and processed, and one object.

Switched off, and switched on with an exporter that throws everything away, taking turns; then as a share of what the
same statement costs on the in-process bus, which is the cheapest that it can be carried.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from bench import report
from tests.contract.harness import EpochsInMemory, change
from vcenter_operator.common import otlp, telemetry, tracing
from vcenter_operator.common.bus import Ownership, Topology
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement
from vcenter_operator.common.tracing import Observation

HOST = "vc-a-0.example.test"
OURS = Ownership(Stage.COLLECTOR, 0, 1)


class Nowhere(SpanExporter):
    """Takes everything and keeps nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        """See `SpanExporter`."""
        return SpanExportResult.SUCCESS


class Counting:
    """A consumer that does nothing but count."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done = asyncio.Event()

    async def take(self, ownership: Ownership) -> None:
        """See `Consumer`."""

    async def release(self, ownership: Ownership) -> None:
        """See `Consumer`."""

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        """See `Consumer`."""

    async def handle(self, statement: Statement, ownership: Ownership) -> None:  # noqa: ARG002
        """See `Consumer`."""
        self.left -= 1
        if not self.left:
            self.done.set()


def main() -> None:
    """Runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-tracing", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="statements, and objects, in each round")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    telemetry.configure("ERROR", json=False)
    whats: dict[str, Callable[[int], float]] = {"a statement": statements, "an object": objects, "on a bus": carried}
    took: dict[tuple[str, bool], list[float]] = {(what, on): [] for what in whats for on in (False, True)}
    for _ in range(options.rounds):
        for (what, on), samples in took.items():
            with ExitStack() as stack:
                if on:
                    tracer = stack.enter_context(otlp.exporting("bench", "in-process", Nowhere()))
                    stack.enter_context(tracing.recorded_by(tracer))
                samples.append(whats[what](options.count) / options.count * 1e6)
    median = {key: float(report.summary(samples)["median"]) for key, samples in took.items()}
    report.show(
        "Microseconds of CPU, median",
        ("", "off", "on", "on : off"),
        [
            (
                what,
                f"{median[what, False]:.1f}",
                f"{median[what, True]:.1f}",
                f"{median[what, True] / median[what, False]:.1f}",
            )
            for what in whats
        ],
        "a statement: observed, sent, processed, without a bus; an object: one step of applying",
    )
    results = {f"{what}, {'on' if on else 'off'}": report.summary(samples) for (what, on), samples in took.items()}
    report.write("tracing", str(__doc__), {"microseconds": results}, {})


def statements(count: int) -> float:
    """CPU seconds for what every statement passes through, without a bus."""
    said = change(HOST, 1)
    began = time.process_time()
    for _ in range(count):
        with Observation(Stage.DISCOVERY).stated("zone changed", HOST, None, serial=1) as trace:
            stated = said.model_copy(update={"trace": trace})
        with tracing.sending(stated, Stage.COLLECTOR, 0) as sent, tracing.processing(sent, OURS):
            pass
    return time.process_time() - began


def objects(count: int) -> float:
    """CPU seconds for the steps of that many objects, a hundred to a statement."""
    with Observation(Stage.RENDERER).stated("render", HOST, None) as trace:
        said = change(HOST, 1).model_copy(update={"trace": trace})
    began = time.process_time()
    for _ in range(count // 100):
        with tracing.processing(said, OURS):
            for _ in range(100):
                with tracing.step("write ConfigMap", object="ConfigMap monsoon3/nova-compute-bb1-etc"):
                    pass
    return time.process_time() - began


def carried(count: int) -> float:
    """CPU seconds for as many statements over the in-process bus, each observed anew."""

    async def carry() -> float:
        bus = InProcessBus(Broker(Topology(1)), EpochsInMemory())
        consumer = Counting(count)
        serving = asyncio.create_task(bus.serve(Stage.COLLECTOR, consumer))
        began = time.process_time()
        for number in range(count):
            with Observation(Stage.DISCOVERY).stated("zone changed", HOST, None, serial=1) as trace:
                stated = change(f"vc-{number}.example.test", 1).model_copy(update={"trace": trace})
            await bus.publish(stated)
        await consumer.done.wait()
        took = time.process_time() - began
        await bus.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return took

    return asyncio.run(carry())


if __name__ == "__main__":
    main()
