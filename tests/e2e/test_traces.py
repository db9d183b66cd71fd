"""One trace from what changed to the object that was applied, across four processes, at a real OTLP receiver."""

from __future__ import annotations

import base64
import time
import uuid
from itertools import pairwise

import pytest

from tests.e2e.processes import STAGES, Fleet
from tests.e2e.region import BUS_KEY, KINDS, SEED, USERNAME, Region, of_cluster, of_zone
from tests.e2e.spans import Span, picture, received, way_to
from tests.stack.otelcol import OtelCollector
from tests.waiting import eventually
from vcenter_operator.common.masterpassword import derive_password

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes", "otelcol")

TO_THE_OBJECT = [
    ("collector", "inventory changed"),
    ("collector", "send Inventory"),
    ("renderer", "process Inventory"),
    ("renderer", "render"),
    ("renderer", "send ManifestDelta"),
    ("applier", "process ManifestDelta"),
    ("applier", "apply"),
    ("applier", "write Deployment"),
]
FROM_THE_ZONE = [
    ("discovery", "zone changed"),
    ("discovery", "send DnsChange"),
    ("collector", "process DnsChange"),
    *TO_THE_OBJECT,
]
REPEATS = 1.0


def traced(region: Region, otelcol: OtelCollector) -> Fleet:
    """The four services, told where to send traces, that say all again and again."""
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": otelcol.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    settings = region.environment(repeat_every=str(REPEATS), look_every="2")
    return region.start(Fleet({**settings, **told}, region.folder))


def test_one_trace_from_what_changed_to_the_object(region: Region, otelcol: OtelCollector) -> None:
    vcenter = region.vcenter("vc-a-0", clusters=1)
    fleet = traced(region, otelcol)
    region.expect(of_cluster(10), of_zone("qa-de-1a"))
    first = trace_to("nova-compute-bb10", FROM_THE_ZONE, region, otelcol)
    names = [span.name for span in first]
    assert {"transfer zone", "log on", "read snapshot", "plan", "prepare"} <= set(names), names

    # A vCenter is changed: that is a trace of its own, however often discovery's word was repeated meanwhile. The
    # cluster is made in several steps, and seen when it is whole.
    (collector,) = fleet["collector"]
    collector.pause()
    region.cluster("vc-a-0", 11)
    collector.resume()
    expected = of_cluster(10, 11) | of_zone("qa-de-1a")
    region.expect(expected)
    added = trace_to("nova-compute-bb11", TO_THE_OBJECT, region, otelcol)
    assert {int(span.of("templates")) for span in added if span.name == "render"} == {count(region, "VCenterTemplate")}
    written = {span.of("object") for span in added if span.name.startswith("write ")}
    assert written <= {described(region, key) for key in of_cluster(11)}, "what is seen later is a trace of its own"
    eventually(
        lambda: {span.of("object") for span in received(otelcol)} >= {described(region, key) for key in expected},
        "a span for every object",
        otherwise=region.logs,
    )

    # So is an edit of a template.
    region.edit_template("neutron-dvs-agent", "m3neutron", "m3network")
    eventually(
        lambda: any(
            span.name == "write ConfigMap" and root(span, otelcol).name == "render" for span in received(otelcol)
        ),
        "a trace from the renderer to the ConfigMap that changed",
        otherwise=region.logs,
    )

    # All is said again, and looked at again, and no trace goes on.
    eventually(lambda: not moved(otelcol, REPEATS), "the traces come to an end", within=20, every=0.1)
    so_far = len(received(otelcol))
    region.stays(lambda: len(received(otelcol)) == so_far, "repeats are in no trace", 4 * REPEATS)

    # What is secret is in none.
    text = otelcol.received()
    assert vcenter.fqdn in text
    secrets = {SEED, BUS_KEY, region.zone.tsig_key, derive_password(USERNAME, SEED, vcenter.fqdn)}
    for secret in (*secrets, *(base64.b64encode(each.encode()).decode() for each in secrets), "loci-nova"):
        assert secret not in text
    fleet.check_alive()
    assert all(service.stop() == 0 for service in fleet.all), fleet.logs()


def trace_to(name: str, way: list[tuple[str, str]], region: Region, otelcol: OtelCollector) -> list[Span]:
    """The one trace in which the Deployment was written, checked to have come this way."""

    def found() -> Span | None:
        wanted = f"Deployment {region.namespace}/{name}"
        return next((span for span in received(otelcol) if span.of("object") == wanted), None)

    written = eventually(found, f"a span for {name}", otherwise=region.logs)

    def whole() -> list[Span]:
        spans = [span for span in received(otelcol) if span.trace == written.trace]
        assert all(way_to(span, spans) for span in spans)
        return spans

    spans = eventually(whole, "every parent of every span", otherwise=region.logs)
    drawn = picture(spans)
    assert not written.failed, drawn
    taken = way_to(written, spans)
    assert [(span.service.removeprefix("vcenter-operator-"), span.name) for span in taken] == way, drawn
    for before, after in pairwise(taken):
        assert before.start <= after.start, drawn
    for span in spans:
        assert span.start <= span.end, span
        assert span.of("vcenter") == f"vc-a-0.{region.zone.zone}", span
        assert span.of("correlation_id") == str(uuid.UUID(span.trace)), span
    assert {span.service for span in spans} <= {f"vcenter-operator-{stage}" for stage in STAGES}
    return spans


def root(span: Span, otelcol: OtelCollector) -> Span:
    """Where its trace began."""
    return way_to(span, received(otelcol))[0]


def moved(otelcol: OtelCollector, seconds: float) -> bool:
    """Whether anything was recorded in the last three times so many seconds."""
    newest = max(span.end for span in received(otelcol))
    return time.time_ns() - newest < 3 * seconds * 1e9


def count(region: Region, kind: str) -> int:
    """How many of a kind there are in the region."""
    return len(region.kubernetes.request("GET", KINDS[kind].format(namespace=region.namespace))["items"])


def described(region: Region, key: str) -> str:
    """`Kind/name` as the applier's logs and spans say it."""
    kind, _, name = key.partition("/")
    return f"{kind} {region.namespace}/{name}"
