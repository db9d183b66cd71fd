"""What the discovery counts besides what every stage does; `docs/metrics.md` has the table."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from vcenter_operator.common.metrics import REQUEST_SECONDS, LiveGauge
from vcenter_operator.discovery.ports import ZoneUnavailable

if TYPE_CHECKING:
    from vcenter_operator.discovery.holding import Holding
    from vcenter_operator.discovery.outbox import Outbox
    from vcenter_operator.discovery.watching import ZoneWatch

SERIAL = LiveGauge("vcenter_operator_zone_serial", "SOA serial of the zone that was read last")
LAST_SEEN = LiveGauge(
    "vcenter_operator_zone_last_seen_timestamp_seconds", "When the zone's server last answered a look as it should"
)
VCENTERS = LiveGauge("vcenter_operator_zone_vcenters", "vCenters that are stated", ["state"])
HELD = LiveGauge("vcenter_operator_zone_held_vcenters", "vCenters that a zone lacks which is held")
UNSTATED = LiveGauge(
    "vcenter_operator_zone_unstated_vcenters", "vCenters of which something is still to be recorded or published"
)
DNS = Histogram(
    "vcenter_operator_dns_request_duration_seconds",
    "Questions for the serial, and transfers of the zone",
    ["kind", "outcome"],
    buckets=REQUEST_SECONDS,
)
NOTIFIES = Counter("vcenter_operator_notifies_received_total", "NOTIFY messages, on any replica", ["outcome"])
for _outcome in ("heard", "refused"):
    NOTIFIES.labels(_outcome)


def outcome_of(error: Exception) -> str:
    """A word for what came of a question, as in the condition `Discovered`."""
    return error.reason if isinstance(error, ZoneUnavailable) else "Failed"


@contextmanager
def shown(zone: ZoneWatch, holding: Holding, outbox: Outbox) -> Iterator[None]:
    """Serves what a replica knows of the zone inside the `with` block, in which it owns it."""

    def vcenters() -> Count[str]:
        return Count("present" if present else "gone" for present in (zone.vcenters or {}).values())

    with (
        SERIAL.of(lambda: [((), zone.serial)] if zone.serial is not None else ()),
        LAST_SEEN.of(lambda: [((), zone.seen_at)] if zone.seen_at is not None else ()),
        VCENTERS.of(lambda: [((state,), vcenters()[state]) for state in ("present", "gone")]),
        HELD.of(lambda: [((), len(holding.held.doubt.lost) if holding.held is not None else 0)]),
        UNSTATED.of(lambda: [((), outbox.unsettled)]),
    ):
        yield
