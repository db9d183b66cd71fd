"""Traces: what is recorded and under what, that every trace ends, and that nothing fails for one."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import msgpack
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from vcenter_operator.common import otlp, tracing
from vcenter_operator.common.bus.dispatch import Dispatcher
from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.errors import OperatorError, TransientError
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import DnsChange, ResyncRequest, Stage, Statement, Trace
from vcenter_operator.common.tracing import Observation
from vcenter_operator.common.wire import decode, encode

HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OURS = Ownership(Stage.COLLECTOR, 3, 1)


@contextmanager
def recording() -> Iterator[list[ReadableSpan]]:
    """What was recorded inside the `with` block is in the list after it."""
    exporter, spans = InMemorySpanExporter(), list[ReadableSpan]()
    with otlp.exporting("a service", "rabbitmq", exporter) as tracer, tracing.recorded_by(tracer):
        yield spans
    spans.extend(exporter.get_finished_spans())


def change(trace: Trace | None = None, sequence: int = 1) -> DnsChange:
    return DnsChange(
        host=HOST,
        present=True,
        revision=Revision(1, sequence),
        serial=sequence,
        trace=trace or Trace(traceparent=PARENT),
    )


def observed() -> DnsChange:
    with Observation(Stage.DISCOVERY).stated("zone changed", HOST, None) as trace:
        return change(trace)


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


def by_name(spans: Sequence[ReadableSpan]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


# -- off


def run(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


EVERYTHING = """
    import sys
    from vcenter_operator.command import cli
    from vcenter_operator.common import process, tracing
    from vcenter_operator.common.bus import rabbitmq
    from vcenter_operator.common.kubernetes import platform
    from vcenter_operator.applier.adapters import kubernetes
"""


def test_nothing_of_opentelemetry_is_loaded_unless_it_is_asked_for() -> None:
    code = f"""{EVERYTHING}
    with tracing.exported("a service", "rabbitmq"):
        print(sorted(name for name in sys.modules if name.startswith(("opentelemetry", "requests", "google"))))
    """
    assert run(code) == "[]\n"
    assert "opentelemetry.sdk" in run(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")


def test_without_the_extra_it_is_said_and_all_goes_on() -> None:
    code = f"""{EVERYTHING}
    sys.modules["opentelemetry"] = None  # as if it were not installed
    with tracing.exported("a service", "rabbitmq"):
        print("goes on")
    """
    told = run(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert "goes on" in told
    assert "the extra 'traces' is not installed" in told


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_the_standard_variables_say_whether(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], asked: bool
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracing._asked_for() is asked


def test_what_does_not_trace_carries_the_context_on() -> None:
    said = change()
    with (
        tracing.processing(said, OURS) as traced,
        Observation(Stage.COLLECTOR).stated("x", HOST, traced.trace) as trace,
    ):
        assert trace.traceparent == PARENT
        with tracing.sending(change(trace), Stage.RENDERER, 1) as sent:
            assert (sent.trace.traceparent, sent.trace.correlation_id) == (PARENT, said.trace.correlation_id)


def test_a_receiver_that_never_answers_holds_up_nothing() -> None:
    code = """
    import time
    from vcenter_operator.common import tracing
    from vcenter_operator.common.messages import Stage
    from vcenter_operator.common.tracing import Observation
    with tracing.exported("a service", "rabbitmq"):
        with Observation(Stage.DISCOVERY).stated("zone changed", "vc-a-0.example.org", None):
            began = time.monotonic()
    print(time.monotonic() - began, flush=True)
    """
    with socket.create_server(("127.0.0.1", 0)) as mute:
        told = run(code, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{mute.getsockname()[1]}")
    assert float(told.splitlines()[-1]) < 5


# -- on


def test_a_chain_is_one_trace_and_its_correlation_id_says_which() -> None:
    with recording() as spans:
        observation = Observation(Stage.DISCOVERY)
        with observation.step("transfer zone"):
            pass
        with observation.stated("zone changed", HOST, None, serial=7) as trace:
            said = change(trace)
        with tracing.sending(said, Stage.COLLECTOR, 3) as sent:
            arrived = decode(encode(sent))
        assert isinstance(arrived, DnsChange)
        with tracing.processing(arrived, OURS) as traced, tracing.step("plan", creates=2):
            caused = traced.trace.caused()
        with Observation(Stage.COLLECTOR).stated("inventory changed", HOST, traced.trace) as last:
            assert last.correlation_id == caused.correlation_id == trace.correlation_id
    found = by_name(spans)
    assert {span.context.trace_id for span in spans} == {uuid.UUID(trace.correlation_id).int}
    root = found["zone changed"]
    assert parent_of(root) is None
    assert parent_of(found["transfer zone"]) == parent_of(found["send DnsChange"]) == root.context.span_id
    assert parent_of(found["process DnsChange"]) == found["send DnsChange"].context.span_id
    processing = found["process DnsChange"].context.span_id
    assert parent_of(found["plan"]) == parent_of(found["inventory changed"]) == processing
    assert found["send DnsChange"].kind is SpanKind.PRODUCER
    assert found["process DnsChange"].kind is SpanKind.CONSUMER
    assert dict(found["process DnsChange"].attributes or {}) == {
        "vcenter_operator.vcenter": HOST,
        "vcenter_operator.stage": "collector",
        "vcenter_operator.correlation_id": trace.correlation_id,
        "vcenter_operator.attempt": 1,
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "collector.3",
        "messaging.destination.partition.id": "3",
        "messaging.message.id": said.trace.message_id,
        "messaging.message.conversation_id": trace.correlation_id,
    }
    assert (found["plan"].attributes or {})["vcenter_operator.creates"] == 2


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        "",
        17,
        ["00"],
        b"00",
        "no context",
        PARENT.upper(),
        PARENT + "-more",
        PARENT.replace("00-", "ff-", 1),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "0" * 100_000,
    ],
)
def test_a_context_that_is_none_leaves_the_statement_as_it_is(malformed: object) -> None:
    fields = msgpack.unpackb(encode(change()))
    fields["trace"]["traceparent"] = malformed
    with recording() as spans:
        arrived = decode(msgpack.packb(fields))
        assert isinstance(arrived, DnsChange)
        with tracing.processing(arrived, OURS, superseded=["nonsense"]) as traced, tracing.step("plan"):
            assert traced == arrived
            assert traced.trace.traceparent is None
    assert spans == []


def test_what_is_said_again_is_in_no_trace() -> None:
    with recording() as spans:
        said = observed().repeated()
        with (
            tracing.sending(said, Stage.COLLECTOR, 3) as sent,
            tracing.processing(sent, OURS) as traced,
            Observation(Stage.COLLECTOR).stated("inventory changed", HOST, traced.trace) as trace,
        ):
            assert trace.traceparent is None
    assert [span.name for span in spans] == ["zone changed"]


def test_what_fails_for_ever_is_recorded_ever_more_rarely() -> None:
    with recording() as spans:
        for attempt in range(1, 10_001):
            with tracing.processing(change(), OURS, attempt=attempt) as traced:
                recorded = traced.trace.traceparent is not None
                assert recorded is (attempt <= 16 or attempt in {32, 64, 128, 256, 512, 1024, 2048, 4096, 8192})
    assert len(spans) == 16 + 9


def test_of_many_steps_the_first_hundred_are_recorded() -> None:
    with recording() as spans, tracing.processing(change(), OURS):
        for _ in range(1000):
            with tracing.step("write ConfigMap"):
                pass
    assert len(spans) == 1 + tracing.STEPS_AT_MOST


async def test_a_task_that_outlives_the_work_it_was_begun_in_records_nothing_more() -> None:
    ended = asyncio.Event()

    async def goes_on() -> None:
        with tracing.step("during"):
            pass
        await ended.wait()
        with tracing.step("after"):
            pass

    with recording() as spans:
        with tracing.processing(change(), OURS):
            task = asyncio.create_task(goes_on())
            await asyncio.sleep(0)
        ended.set()
        await task
    assert [span.name for span in spans] == ["during", "process DnsChange"]


def test_what_could_not_be_sent_is_recorded_when_it_is() -> None:
    with recording() as spans:
        for fails in (True, True, False):
            with (
                suppress(TransientError),
                Observation(Stage.RENDERER).stated("render", HOST, None) as trace,
                tracing.sending(change(trace), Stage.APPLIER, 1),
            ):
                if fails:
                    raise TransientError("the broker is away")
    assert [span.name for span in spans] == ["send DnsChange", "render"]


class Theirs(Exception):
    """An error of a library, which may quote what it was given."""


@pytest.mark.parametrize(
    ("error", "text"),
    [(TransientError("the API server is away"), "the API server is away"), (Theirs("hunter2"), "Theirs")],
)
def test_an_error_is_shown_and_only_our_own_words(error: Exception, text: str) -> None:
    with recording() as spans, pytest.raises(type(error)), tracing.processing(change(), OURS):
        raise error
    assert spans[0].status.status_code is StatusCode.ERROR
    assert spans[0].status.description == text
    assert isinstance(error, OperatorError) or "hunter2" not in spans[0].to_json()


@pytest.mark.parametrize(("share", "least", "most"), [("0.0", 0, 0), ("0.5", 120, 280), ("1.0", 400, 400)])
def test_a_share_of_the_traces_is_sampled_whole(
    monkeypatch: pytest.MonkeyPatch, share: str, least: int, most: int
) -> None:
    """The ids of traces have to be random in every bit that a sampler looks at, which those of UUIDs are not."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
    with recording() as spans:
        for _ in range(400):
            with tracing.sending(observed(), Stage.COLLECTOR, 3) as sent, tracing.processing(sent, OURS):
                assert re.fullmatch("00-.*-0[0-3]", str(sent.trace.traceparent))
    counts: dict[int, int] = {}
    for span in spans:
        counts[span.context.trace_id] = counts.get(span.context.trace_id, 0) + 1
    assert least <= len(counts) <= most
    assert set(counts.values()) <= {3}


@dataclass
class Handed:
    """A delivery that is only counted."""

    attempts: int = 0
    published_at: float | None = None
    answers: list[str] = field(default_factory=list)

    async def ack(self) -> None:
        self.answers.append("ack")

    async def retry(self, delay: float, attempts: int) -> None:
        self.answers.append("retry")

    async def park(self, reason: str) -> None:
        self.answers.append("park")


class Working:
    """A consumer whose first statement takes until it is let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.done: list[int] = []

    async def take(self, ownership: Ownership) -> None: ...

    async def release(self, ownership: Ownership) -> None: ...

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None: ...

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        await self.go_on.wait()
        assert isinstance(statement, DnsChange)
        self.done.append(statement.serial)


async def test_the_one_statement_that_is_worked_on_names_those_it_superseded() -> None:
    consumer, handed = Working(), [Handed() for _ in range(5)]
    with recording() as spans:
        said = [change(observed().trace, sequence) for sequence in range(1, 6)]
        dispatcher = Dispatcher(consumer, OURS)
        await dispatcher.deliver(said[0], handed[0])
        await asyncio.sleep(0)
        for statement, delivery in zip(said[1:], handed[1:], strict=True):
            await dispatcher.deliver(statement, delivery)
        consumer.go_on.set()
        async with asyncio.timeout(10):
            while consumer.done != [1, 5]:
                await asyncio.sleep(0.01)
        await dispatcher.close(5)
    first, last = [span for span in spans if span.name == "process DnsChange"]
    assert list(first.links) == []
    assert [link.context.trace_id for link in last.links] == [
        uuid.UUID(each.trace.correlation_id).int for each in said[1:4]
    ]
    assert last.context.trace_id == uuid.UUID(said[4].trace.correlation_id).int
    assert [delivery.answers for delivery in handed] == [["ack"]] * 5
