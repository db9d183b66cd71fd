"""Statements as people look at them: each with when it was said, and how often. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from vcenter_operator.common.bus.rabbitmq.archiving import Archived
from vcenter_operator.common.bus.rabbitmq.topology import ARROWS
from vcenter_operator.common.errors import MalformedMessage
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import DnsChange, Inventory, ManifestDelta, Stage, Statement, Trace
from vcenter_operator.common.wire import statement_for

_ORDER = list(ARROWS)
_ANY_TRACE = Trace(message_id="", correlation_id="")


@dataclass(frozen=True)
class Entry:
    """A message that was said."""

    stage: Stage
    """The stage that it is for."""
    at: datetime
    host: str
    message_id: str
    correlation_id: str
    statement: Statement | None
    """Without manifests, unless they are asked for; None: it cannot be read."""
    sent: tuple[ObjectId, ...] = ()
    """The objects whose manifests it brought."""
    problem: str | None = None
    """Why it cannot be read."""

    @property
    def order(self) -> tuple[datetime, int]:
        """By time; in the same moment by the way that facts take."""
        return self.at, _ORDER.index(self.stage)


@dataclass(frozen=True)
class Fact:
    """A statement, and every repetition of it until something else was stated."""

    entry: Entry
    """When it was said first."""
    last_at: datetime
    times: int = 1
    ids: frozenset[str] = frozenset()
    """Message ids and correlation ids of all of them."""

    def is_named(self, wanted: str) -> bool:
        """Whether an id of it begins so."""
        return any(one.startswith(wanted) for one in self.ids)


def entry_of(archived: Archived, *, bodies: bool = False) -> Entry:
    """What the archive holds, decoded; `bodies`: with its sealed manifests."""
    entry = Entry(
        archived.stage, archived.at, archived.host, archived.message_id, archived.correlation_id, statement=None
    )
    try:
        statement = statement_for(archived.stage, archived.body)
    except MalformedMessage as error:
        return replace(entry, problem=str(error))
    sent: tuple[ObjectId, ...] = ()
    if isinstance(statement, ManifestDelta):
        sent = tuple(sorted(statement.manifests))
        statement = statement if bodies else without_bodies(statement)
    return replace(entry, host=statement.host, statement=statement, sent=sent)


def without_bodies(delta: ManifestDelta) -> ManifestDelta:
    """The same without its manifests."""
    return delta.model_copy(update={"manifests": {}})


def facts_of(entries: Iterable[Entry]) -> list[Fact]:
    """The entries in the order in which they were said, repetitions taken together."""
    facts: list[Fact] = []
    current: dict[tuple[str, Stage], int] = {}
    for entry in sorted(entries, key=lambda each: each.order):
        ids = frozenset(filter(None, (entry.message_id, entry.correlation_id)))
        key = entry.host, entry.stage
        at = current.get(key)
        if at is not None and _content(facts[at].entry) == _content(entry) is not None:
            known = facts[at]
            facts[at] = replace(known, last_at=entry.at, times=known.times + 1, ids=known.ids | ids)
            continue
        current[key] = len(facts)
        facts.append(Fact(entry, entry.at, ids=ids))
    return facts


def previous(facts: Iterable[Fact], fact: Fact) -> Fact | None:
    """What was stated of the same vCenter on the same arrow before; None: nothing that is known."""
    key, found = (fact.entry.host, fact.entry.stage), None
    for each in facts:
        if each is fact:
            break
        if (each.entry.host, each.entry.stage) == key and each.entry.statement is not None:
            found = each
    return found


def revision_text(statement: Statement) -> str:
    """The revision of what a statement is made from: the zone's, or the inventory's."""
    match statement:
        case DnsChange(revision=revision) | Inventory(revision=revision):
            return str(revision)
        case ManifestDelta(provenance=provenance):
            return str(provenance.inventory)
    raise TypeError(f"a {type(statement).__name__} has no revision")


def _content(entry: Entry) -> Statement | None:
    """Equal for repetitions."""
    statement = entry.statement
    if isinstance(statement, ManifestDelta):
        statement = without_bodies(statement)
    return None if statement is None else statement.model_copy(update={"trace": _ANY_TRACE})
