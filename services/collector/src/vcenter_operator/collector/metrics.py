"""What the collector counts besides what every stage does; `docs/metrics.md` has the table."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

from prometheus_client import Counter, Histogram

from vcenter_operator.collector.ports import VCenterError
from vcenter_operator.common.messages import Inventory
from vcenter_operator.common.metrics import REQUEST_SECONDS, LiveGauge, Values


class Session(StrEnum):
    """How it stands with the session of a vCenter that is watched."""

    CONNECTED = "connected"
    CONNECTING = "connecting"
    PROBING = "probing"
    REFUSED = "refused"


SESSIONS = LiveGauge("vcenter_operator_sessions", "vCenters that are watched, by their session", ["state"])
CONNECTED = LiveGauge("vcenter_operator_vcenter_connected", "1: there is a session; 0: there is none", ["vcenter"])
LAST_READ = LiveGauge(
    "vcenter_operator_vcenter_last_read_timestamp_seconds", "When everything about it was read last", ["vcenter"]
)
CLUSTERS = LiveGauge("vcenter_operator_clusters", "Clusters as stated", ["vcenter", "state"])
LOGINS = Counter("vcenter_operator_logins_total", "Attempts to begin a session", ["outcome"])
for _outcome in ("ok", "kept", VCenterError.reason, *(each.reason for each in VCenterError.__subclasses__())):
    LOGINS.labels(_outcome)
SOAP = Histogram(
    "vcenter_operator_soap_request_duration_seconds",
    "Calls to vCenters",
    ["kind", "outcome"],
    buckets=REQUEST_SECONDS,
)


class Watched(Protocol):
    """A vCenter that is watched, or was while it was in the zone."""

    @property
    def host(self) -> str:
        """Its FQDN."""
        ...

    @property
    def session(self) -> Session | None:
        """None: it is not watched."""
        ...

    @property
    def read_at(self) -> float | None:
        """When everything about it was read last (seconds since the epoch)."""
        ...

    @property
    def statement(self) -> Inventory | None:
        """What was stated of it last."""
        ...


@contextmanager
def shown(vcenters: Callable[[], Iterable[Watched]]) -> Iterator[None]:
    """Serves how it stands with those of the owned partitions inside the `with` block."""

    def watched() -> list[Watched]:
        return [each for each in vcenters() if each.session is not None]

    def sessions() -> Values:
        count = Count(each.session for each in watched())
        return [((state,), count[state]) for state in Session]

    def clusters() -> Values:
        for each in watched():
            if (stated := each.statement) is not None:
                yield (each.host, "known"), len(stated.clusters)
                yield (each.host, "unknown"), len(stated.unknown)

    with (
        SESSIONS.of(sessions),
        CONNECTED.of(lambda: [((each.host,), each.session is Session.CONNECTED) for each in watched()]),
        LAST_READ.of(lambda: [((each.host,), each.read_at) for each in watched() if each.read_at is not None]),
        CLUSTERS.of(clusters),
    ):
        yield
