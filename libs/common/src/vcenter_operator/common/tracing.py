"""Traces: the way of one cause through all four services, from where it was observed to the objects that were applied.

This is what the stages call. Nothing is recorded, and no package that only traces need is loaded, unless `exported`
finds an OTLP endpoint in the environment; every call returns at once then.

A trace ends. It begins where something new is observed, and only what carries its context continues it: a repeat of a
statement carries none. Of the attempts at one statement, and of the steps of one piece of work, a bounded number is
recorded. What could not be sent is recorded when it can.

Attributes are counts, names and ids, never what a manifest or a Secret holds. Names without a dot get the prefix
`vcenter_operator.`; the others are OpenTelemetry's semantic conventions.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, TypeVar

from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement, Trace
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

M = TypeVar("M", Statement, ResyncRequest)
Value = str | int | bool | None
"""Of an attribute; None: it has none."""

EVERY_ATTEMPT = 16
"""So many attempts at a statement are recorded, then the 32nd, the 64th and so on."""
STEPS_AT_MOST = 100
"""Of one piece of work."""


class Kind(Enum):
    """What a span is to the span that caused it."""

    WORK = auto()
    SEND = auto()
    PROCESS = auto()


class Span(Protocol):
    """Something that took time."""

    @property
    def traceparent(self) -> str:
        """The W3C trace context of what it causes."""
        ...

    @property
    def recording(self) -> bool:
        """False: it is not sampled, or has ended."""
        ...

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Adds attributes."""
        ...

    def failed(self, error: Exception) -> None:
        """It ended with an error."""
        ...

    def end(self, at: int | None = None) -> None:
        """Ends it, now or at a time (nanoseconds since the epoch). One that is never ended is not exported."""
        ...


class Tracer(Protocol):
    """Where spans go."""

    def start(
        self,
        name: str,
        kind: Kind,
        parent: Span | str | None,
        attributes: Mapping[str, Value],
        *,
        since: int | None = None,
        links: Sequence[str] = (),
    ) -> Span:
        """A span under `parent`, a span of this process or the traceparent of another's; None: it begins a trace.

        `since`: when it began (nanoseconds since the epoch), if not now. `links`: traceparents.
        """
        ...


@dataclass
class _Work:
    """What is being done, as far as this task knows."""

    span: Span
    common: Mapping[str, Value]
    steps: int = 0


class Step:
    """A part of a piece of work."""

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    def set(self, **attributes: Value) -> None:
        """Adds attributes."""
        if self._span is not None:
            self._span.set(attributes)


_tracer: Tracer | None = None
_work: ContextVar[_Work | None] = ContextVar("work", default=None)
_NO_STEP = nullcontext(Step())


@contextmanager
def exported(service: str, bus: str, *, dry_run: bool = False) -> Iterator[None]:
    """Traces of this process go to the OTLP endpoint that the environment names, inside the `with` block.

    `service` is what it is called there, unless the environment says otherwise, and `-dry-run` follows where that is
    so; `bus` is what its messages travel on (`messaging.system`).
    """
    if not _asked_for():
        yield
        return
    try:
        from vcenter_operator.common import otlp  # noqa: PLC0415 - an extra, and only loaded where it is asked for
    except ModuleNotFoundError as error:
        log.warning("no traces: the extra 'traces' is not installed", missing=error.name)
        yield
        return
    with otlp.exporting(f"{service}-dry-run" if dry_run else service, bus) as tracer, recorded_by(tracer):
        yield


@contextmanager
def recorded_by(tracer: Tracer) -> Iterator[None]:
    """Spans go to this tracer inside the `with` block."""
    global _tracer  # noqa: PLW0603 - as the loggers, which are the process's too
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before


def step(name: str, **attributes: Value) -> AbstractContextManager[Step]:
    """A part of the statement that is being processed; nothing where none is, or too many were recorded already."""
    work = _work.get()
    if _tracer is None or work is None or work.steps >= STEPS_AT_MOST or not work.span.recording:
        return _NO_STEP
    work.steps += 1
    return _step(_tracer, name, work, attributes)


def processing(
    message: M, ownership: Ownership, *, attempt: int = 1, superseded: Sequence[str] = ()
) -> AbstractContextManager[M]:
    """One attempt at a message. Gives it with the trace context of what it causes.

    `superseded`: trace contexts of the statements that needed no work because of this one.
    """
    if message.trace.traceparent is None:
        return nullcontext(message)
    if not _is_recorded(attempt):
        return nullcontext(_under(message, None))
    if _tracer is None:
        return nullcontext(message)
    return _processing(_tracer, message, ownership, attempt, superseded)


def sending(message: M, stage: Stage, partition: int) -> AbstractContextManager[M]:
    """A message being sent to the owner of a partition. Gives it as it shall be sent."""
    if _tracer is None or message.trace.traceparent is None:
        return nullcontext(message)
    return _sending(_tracer, message, stage, partition)


class Observation:
    """Something that a stage looks at, from now on. Whether it is news, and so is recorded, shows at its end."""

    def __init__(self, stage: Stage, since: float | None = None) -> None:
        """`since`: when it began (seconds since the epoch), if not now."""
        self._stage = stage
        self._since = time.time_ns() if since is None else int(since * 1e9)
        self._steps: dict[str, tuple[int, int]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A part of the looking. Of several with one name the last counts."""
        began = time.time_ns()
        yield
        self._steps[name] = began, time.time_ns()

    def stated(self, name: str, host: str, cause: Trace | None, **attributes: Value) -> AbstractContextManager[Trace]:
        """It is news: gives the trace of the statement on it. Nothing is recorded where the `with` block fails.

        Without a `cause` a trace begins here, and its id is the statement's correlation id.
        """
        if _tracer is None or (cause is not None and cause.traceparent is None):
            return nullcontext(cause.caused() if cause is not None else Trace().since(self._since / 1e9))
        return self._stated(_tracer, name, host, cause, attributes)

    @contextmanager
    def _stated(
        self, tracer: Tracer, name: str, host: str, cause: Trace | None, attributes: Mapping[str, Value]
    ) -> Iterator[Trace]:
        common = {"vcenter": host, "stage": str(self._stage)}
        parent = cause.traceparent if cause is not None else None
        span = tracer.start(name, Kind.WORK, parent, {**common, **attributes}, since=self._since)
        first = Trace(correlation_id=_trace_id(span.traceparent)).since(self._since / 1e9)
        caused = cause.caused() if cause is not None else first
        common["correlation_id"] = caused.correlation_id
        span.set({"correlation_id": caused.correlation_id})
        yield caused.model_copy(update={"traceparent": span.traceparent})
        for part, (began, ended) in self._steps.items():
            tracer.start(part, Kind.WORK, span, common, since=began).end(ended)
        span.end()


@contextmanager
def _step(tracer: Tracer, name: str, work: _Work, attributes: Mapping[str, Value]) -> Iterator[Step]:
    span = tracer.start(name, Kind.WORK, work.span, {**work.common, **attributes})
    with _at_work(_Work(span, work.common)):
        yield Step(span)


@contextmanager
def _processing(
    tracer: Tracer, message: M, ownership: Ownership, attempt: int, superseded: Sequence[str]
) -> Iterator[M]:
    common: dict[str, Value] = {
        "vcenter": message.host,
        "stage": str(ownership.stage),
        "correlation_id": message.trace.correlation_id,
    }
    span = tracer.start(
        f"process {type(message).__name__}",
        Kind.PROCESS,
        message.trace.traceparent,
        {**common, "attempt": attempt, **_conventions(message, "process", ownership.stage, ownership.partition)},
        links=superseded,
    )
    with _at_work(_Work(span, common)):
        yield _under(message, span.traceparent)


@contextmanager
def _sending(tracer: Tracer, message: M, stage: Stage, partition: int) -> Iterator[M]:
    span = tracer.start(
        f"send {type(message).__name__}",
        Kind.SEND,
        message.trace.traceparent,
        {
            "vcenter": message.host,
            "correlation_id": message.trace.correlation_id,
            **_conventions(message, "send", stage, partition),
        },
    )
    yield _under(message, span.traceparent)
    span.end()


@contextmanager
def _at_work(work: _Work) -> Iterator[None]:
    token = _work.set(work)
    try:
        yield
    except Exception as error:
        work.span.failed(error)
        raise
    finally:
        _work.reset(token)
        work.span.end()


def _conventions(message: Statement | ResyncRequest, operation: str, stage: Stage, partition: int) -> dict[str, Value]:
    """https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/."""
    return {
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": f"{stage}.{partition}",
        "messaging.destination.partition.id": str(partition),
        "messaging.message.id": message.trace.message_id,
        "messaging.message.conversation_id": message.trace.correlation_id,
    }


def _under(message: M, traceparent: str | None) -> M:
    return message.model_copy(update={"trace": message.trace.model_copy(update={"traceparent": traceparent})})


def _trace_id(traceparent: str) -> str:
    return str(uuid.UUID(hex=traceparent.split("-")[1]))


def _is_recorded(attempt: int) -> bool:
    return attempt <= EVERY_ATTEMPT or attempt & (attempt - 1) == 0


def _asked_for() -> bool:
    """By the environment variables of https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/."""
    told = os.environ.get
    endpoint = told("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or told("OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = told("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return bool(endpoint) and not disabled and told("OTEL_TRACES_EXPORTER", "otlp").strip().lower() != "none"
