"""The spans that an OpenTelemetry Collector received, and a picture of a trace for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.stack.otelcol import OtelCollector

_WIDE = 30


@dataclass(frozen=True)
class Span:
    """One span. Times are nanoseconds since the epoch, `parent` is empty for the root."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    links: tuple[str, ...]
    failed: bool

    def of(self, name: str) -> Any:
        """One of our own attributes; None: it has none of that name."""
        return self.attributes.get(f"vcenter_operator.{name}")


def received(collector: OtelCollector) -> list[Span]:
    """Every span so far."""
    return [
        Span(
            service=_values(resource["resource"]["attributes"])["service.name"],
            name=span["name"],
            trace=span["traceId"],
            id=span["spanId"],
            parent=span.get("parentSpanId", ""),
            start=int(span["startTimeUnixNano"]),
            end=int(span["endTimeUnixNano"]),
            attributes=_values(span.get("attributes", [])),
            links=tuple(link["traceId"] for link in span.get("links", [])),
            failed=span.get("status", {}).get("code") == 2,
        )
        for request in collector.requests()
        for resource in request["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def way_to(span: Span, spans: Sequence[Span]) -> list[Span]:
    """From the root to this span, through every parent; AssertionError where one has not come (yet)."""
    known = {each.id: each for each in spans if each.trace == span.trace}
    way = [span]
    while way[0].parent:
        assert way[0].parent in known, f"the parent of {way[0]} is missing"
        way.insert(0, known[way[0].parent])
    return way


def picture(spans: Sequence[Span]) -> str:
    """One trace: a line a span, children below their parents, with when it was (ms after the root's beginning)."""
    begin, end = min(span.start for span in spans), max(span.end for span in spans)

    def lines(parent: str, depth: int) -> list[str]:
        found: list[str] = []
        for span in sorted((each for each in spans if each.parent == parent), key=lambda each: each.start):
            left = int((span.start - begin) / (end - begin) * _WIDE)
            bar = " " * left + "█" * max(1, round((span.end - span.start) / (end - begin) * _WIDE))
            service = span.service.removeprefix("vcenter-operator-")
            what = "  " * depth + (span.of("object") or span.name)
            took = f"{(span.start - begin) / 1e6:>6.0f} {(span.end - span.start) / 1e6:>6.0f}"
            found += [f"{service:<10} {what:<66} {took}  {bar}", *lines(span.id, depth + 1)]
        return found

    return "\n".join([f"{'service':<10} {'span':<66} {'at ms':>6} {'took':>6}", *lines("", 0)])


def _values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers are strings in OTLP's JSON."""
    return {each["key"]: next(iter(each["value"].values())) for each in attributes}
