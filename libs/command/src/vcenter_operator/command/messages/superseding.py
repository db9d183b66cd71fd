"""Whether a statement is still the newest about its vCenter. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from vcenter_operator.command.messages.model import Entry
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import DnsChange, Inventory, ManifestDelta, Provenance, Statement
from vcenter_operator.common.record.port import Record


def superseded(statement: Statement, record: Record | None, said: Iterable[Entry]) -> str | None:
    """What is newer in any part, in words: by the record, or among what was said; None: nothing."""
    newer = _recorded(record, statement)
    if newer is not None:
        return f"the record of {statement.host} has {newer}"
    for entry in said:
        other = entry.statement
        comparable = other is not None and (type(other), other.host) == (type(statement), statement.host)
        if other is not None and comparable and statement.older_than(other):
            return f"a newer one was stated: {_made_of(other)} (id {entry.message_id})"
    return None


def _recorded(record: Record | None, statement: Statement) -> str | None:
    match statement, record:
        case DnsChange(revision=mine), Record(discovered=found) if found is not None and mine < found.revision:
            return f"zone revision {found.revision}, this one is {mine}"
        case Inventory(revision=mine), Record(collected=found) if found is not None and mine < found.revision:
            return f"inventory {found.revision}, this one is {mine}"
        case ManifestDelta(provenance=made), Record(applied=found) if found is not None:
            return f"acted on {_text(found.acted_on)}" if made.older_than(found.acted_on) else None
    return None


def _made_of(statement: Statement) -> str:
    match statement:
        case DnsChange(revision=revision) | Inventory(revision=revision):
            return f"revision {revision}"
        case ManifestDelta(provenance=provenance):
            return _text(provenance)
    raise TypeError(type(statement).__name__)


def _text(made: Provenance) -> str:
    positions: dict[str, Revision | int] = {
        "inventory": made.inventory,
        "zone": made.zone.revision,
        "templates at": made.templates,
        "cells at": made.cells,
        "Secret at": made.config,
    }
    return ", ".join(f"{name} {position}" for name, position in positions.items())
