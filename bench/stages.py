"""Where the time of a change goes: the points at which it was seen on its way, told apart by its trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.observing import Observer, Said, Written
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import DnsChange, Inventory, ManifestDelta
from vcenter_operator.common.record import Record
from vcenter_operator.common.record.document import record_of

PUSH = "vCenter: reports the change (bare WaitForUpdatesEx)"
NOTIFIED = "DNS server: sends NOTIFY"
STORED = "API server: has the template"
DNS = "discovery: DnsChange on the bus"
DNS_RECORD = "    of it until its record is written"
INVENTORY = "collector: Inventory on the bus"
INVENTORY_RECORD = "    of it until the record is written"
DELTA = "renderer: ManifestDelta on the bus"
OBJECT = "applier: the object is written"
ACCEPTED = "    of it until the record says acted on"
_AFTERWARDS = 0.5
"""Seconds after a statement in which a record that was written before it is seen; later ones nobody waited for."""
_ORDER = (PUSH, NOTIFIED, STORED, DNS, DNS_RECORD, INVENTORY, INVENTORY_RECORD, DELTA, OBJECT, ACCEPTED)


@dataclass(frozen=True)
class Passage:
    """One change: seconds in total, until the last object that it led to, and of each stage."""

    name: str
    total: float
    told: float
    """Until the vCenter, the DNS server or the API server told somebody who only waits: none of that is ours."""
    last: float
    stages: tuple[tuple[str, float], ...]

    @classmethod
    def of(
        cls, name: str, began: float, told: tuple[str, float] | None, written: Written, observer: Observer
    ) -> Passage:
        """From what was seen.

        The change began at `began`; `told` is who told of it first, and when; `written` is the object that shows it.
        """
        delta = _delta(observer, written)
        inventory = _cause(observer, delta)
        change = _cause(observer, inventory)
        points: list[tuple[str, float]] = []
        details: list[tuple[str, float]] = []
        first = change or inventory
        if told is not None and (first is None or told[1] < first.at or first.at < began):
            points.append(told)
        template = next((each for each in observer.written if each.key.startswith("VCenterTemplate/")), None)
        if template is not None and first is None:  # else it is only its status that was written
            points.append((STORED, template.at))
        previous = known = points[-1][1] if points else began
        if change is not None and isinstance(change.statement, DnsChange) and change.at > began:
            recorded = _record(observer, began, lambda record: _discovered(record, change))
            details += [(DNS_RECORD, recorded - previous)] if recorded else []
            points.append((DNS, change.at))
            previous = change.at
        if inventory is not None and inventory.at > began:
            recorded = _record(observer, began, lambda record: _collected(record, inventory))
            if recorded and recorded < inventory.at + _AFTERWARDS:
                details.append((INVENTORY_RECORD, recorded - previous))
            points.append((INVENTORY, inventory.at))
            previous = inventory.at
        if delta is not None:
            points.append((DELTA, delta.at))
            accepted = _record(observer, began, lambda record: _acted_on(record, delta))
            details += [(ACCEPTED, accepted - delta.at)] if accepted else []
        points.append((OBJECT, written.at))
        starts = [began, *(at for _, at in points)]
        stages = [(stage, at - start) for (stage, at), start in zip(points, starts, strict=False)]
        last = max(each.at for each in observer.written if each.item["kind"] in ("ConfigMap", "Secret", "Deployment"))
        return cls(name, written.at - began, known - began, last - began, (*stages, *details))


def spine(passages: Sequence[Passage]) -> list[str]:
    """Every stage that was passed, in order."""
    passed = {stage for passage in passages for stage, _ in passage.stages}
    return [stage for stage in _ORDER if stage in passed]


def _delta(observer: Observer, written: Written) -> Said | None:
    metadata = written.item["metadata"]
    object_id = ObjectId("", written.item["kind"], metadata["namespace"], metadata["name"])
    gone = written.event == "DELETED"
    return next(
        (
            said
            for said in reversed(observer.said)
            if isinstance(said.statement, ManifestDelta)
            and said.at <= written.at
            and (object_id not in said.statement.index if gone else object_id in said.statement.manifests)
        ),
        None,
    )


def _cause(observer: Observer, said: Said | None) -> Said | None:
    if said is None:
        return None
    cause = said.statement.trace.causation_id
    return next((each for each in observer.said if each.statement.trace.message_id == cause), None)


def _record(observer: Observer, since: float, holds: object) -> float | None:
    assert callable(holds)
    return next(
        (
            each.at
            for each in observer.written
            if each.at >= since and each.item["kind"] == "VCenter" and holds(record_of(each.item))
        ),
        None,
    )


def _discovered(record: Record, said: Said) -> bool:
    statement = said.statement
    assert isinstance(statement, DnsChange)
    return (
        record.host == statement.host
        and record.discovered is not None
        and record.discovered.revision == statement.revision
    )


def _collected(record: Record, said: Said) -> bool:
    statement = said.statement
    assert isinstance(statement, Inventory)
    return (
        record.host == statement.host
        and record.collected is not None
        and record.collected.revision == statement.revision
    )


def _acted_on(record: Record, said: Said) -> bool:
    statement = said.statement
    assert isinstance(statement, ManifestDelta)
    return (
        record.host == statement.host and record.applied is not None and record.applied.acted_on == statement.provenance
    )
