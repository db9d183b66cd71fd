"""Spans to an OTLP endpoint over HTTP, with OpenTelemetry's SDK: the extra `traces`.

Endpoint, headers, certificates, sampling, batches and limits are the SDK's own environment variables. Spans are sent by
a thread of the SDK's in batches; what cannot be sent in time is dropped, and nothing waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from vcenter_operator.common.errors import OperatorError
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.tracing import Kind, Span, Value

log = logger(__name__)

_FLUSH_WITHIN = 1.0
"""Seconds at the end of the process for what is not sent yet."""
_PREFIX = "vcenter_operator."
_KINDS = {Kind.WORK: api.SpanKind.INTERNAL, Kind.SEND: api.SpanKind.PRODUCER, Kind.PROCESS: api.SpanKind.CONSUMER}
_CONTEXT = TraceContextTextMapPropagator()


@contextmanager
def exporting(service: str, bus: str, exporter: SpanExporter | None = None) -> Iterator[SdkTracer]:
    """A tracer whose spans are exported inside the `with` block; without an exporter to the environment's endpoint."""
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # a line for a batch that is lost, none for each attempt
    resource = Resource.create({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    log.info("traces are exported", service=resource.attributes[SERVICE_NAME])
    try:
        yield SdkTracer(provider.get_tracer("vcenter_operator"), bus)
    finally:
        last = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        last.start()
        last.join(_FLUSH_WITHIN)


class SdkTracer:
    """See `tracing.Tracer`."""

    def __init__(self, tracer: api.Tracer, bus: str) -> None:
        self._tracer = tracer
        self._bus = bus

    def start(
        self,
        name: str,
        kind: Kind,
        parent: Span | str | None,
        attributes: Mapping[str, Value],
        *,
        since: int | None = None,
        links: Sequence[str] = (),
    ) -> SdkSpan:
        """See `tracing.Tracer`."""
        linked = [api.get_current_span(_context(link)).get_span_context() for link in links]
        span = self._tracer.start_span(
            name,
            context=_context(parent),
            kind=_KINDS[kind],
            attributes=_named(attributes if kind is Kind.WORK else {**attributes, "messaging.system": self._bus}),
            links=[api.Link(context) for context in linked if context.is_valid],
            start_time=since,
        )
        return SdkSpan(span)


class SdkSpan:
    """See `tracing.Span`."""

    def __init__(self, span: api.Span) -> None:
        self.span = span

    @property
    def traceparent(self) -> str:
        """See `tracing.Span`."""
        carrier: dict[str, str] = {}
        _CONTEXT.inject(carrier, api.set_span_in_context(self.span, Context()))
        return carrier["traceparent"]

    @property
    def recording(self) -> bool:
        """See `tracing.Span`."""
        return self.span.is_recording()

    def set(self, attributes: Mapping[str, Value]) -> None:
        """See `tracing.Span`."""
        self.span.set_attributes(_named(attributes))

    def failed(self, error: Exception) -> None:
        """See `tracing.Span`. The text of an error that is none of ours might hold anything, and is left out."""
        kind = type(error).__name__
        self.span.set_attribute("error.type", kind)
        self.span.set_status(api.StatusCode.ERROR, str(error) if isinstance(error, OperatorError) else kind)

    def end(self, at: int | None = None) -> None:
        """See `tracing.Span`."""
        self.span.end(at)


def _context(parent: Span | str | None) -> Context:
    """Of nothing but this: what the task that asks has as its context does not matter."""
    if isinstance(parent, SdkSpan):
        return api.set_span_in_context(parent.span, Context())
    return _CONTEXT.extract({"traceparent": parent} if isinstance(parent, str) else {}, Context())


def _named(attributes: Mapping[str, Value]) -> dict[str, str | int | bool]:
    return {
        name if "." in name else f"{_PREFIX}{name}": value for name, value in attributes.items() if value is not None
    }
