"""From a statement back to what it was made from, and on to what it caused. Pure.

Back by what it says itself: a ManifestDelta names its inventory, an Inventory the zone's revision. That holds where an
edited template, which no message tells of, was the cause. On by the correlation id, which what is caused carries on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vcenter_operator.command.diff.collecting import Scope
from vcenter_operator.command.messages.model import Fact, previous
from vcenter_operator.common.bus.rabbitmq.topology import ARROWS
from vcenter_operator.common.messages import DnsChange, Inventory, ManifestDelta, Statement

_ORDER = list(ARROWS)


@dataclass(frozen=True)
class Step:
    """A statement of a chain. `earlier`: what was stated on its arrow before it; None: nothing that is known."""

    fact: Fact
    earlier: Fact | None

    @property
    def statement(self) -> Statement | None:
        """What it says; None: it cannot be read."""
        return self.fact.entry.statement

    @property
    def before(self) -> Statement | None:
        """What `earlier` says."""
        return self.earlier.entry.statement if self.earlier is not None else None


def seeds_of(facts: Sequence[Fact], wanted: str) -> list[Fact]:
    """The statements that a person names: by the beginning of an id; or a vCenter, then what was said of it last."""
    if named := [fact for fact in facts if fact.is_named(wanted)]:
        return named
    scope = Scope(wanted)
    of_vcenter = [fact for fact in facts if scope.has_vcenter(fact.entry.host)]
    furthest = max((_ORDER.index(fact.entry.stage) for fact in of_vcenter), default=None)
    return [fact for fact in of_vcenter if _ORDER.index(fact.entry.stage) == furthest][-1:]


def chain_of(facts: Sequence[Fact], seeds: Sequence[Fact]) -> list[Step]:
    """The whole chain of these statements, in the order of its arrows, then of time. `facts` in the order of time."""
    correlations = {fact.entry.correlation_id for fact in seeds} - {""}
    hosts = {fact.entry.host for fact in seeds}
    caused = [fact for fact in facts if fact.entry.host in hosts and correlations & fact.ids]
    found: list[Fact] = []
    for fact in (*seeds, *caused):
        for each in (fact, *_origins(facts, fact)):
            if each not in found:
                found.append(each)
    found.sort(key=lambda fact: (fact.entry.host, _ORDER.index(fact.entry.stage), fact.entry.at))
    return [Step(fact, previous(facts, fact)) for fact in found]


def _origins(facts: Sequence[Fact], fact: Fact) -> Iterator[Fact]:
    """What it was made from, as it was said first."""
    match fact.entry.statement:
        case ManifestDelta(host=host, provenance=made):
            inventory = next(
                (
                    each
                    for each in facts
                    if isinstance(said := each.entry.statement, Inventory)
                    and (said.host, said.revision, said.zone) == (host, made.inventory, made.zone)
                ),
                None,
            )
            if inventory is not None:
                yield inventory
            yield from _zone(facts, host, made.zone.revision)
        case Inventory(host=host, zone=zone):
            yield from _zone(facts, host, zone.revision)


def _zone(facts: Sequence[Fact], host: str, revision: object) -> Iterator[Fact]:
    for each in facts:
        said = each.entry.statement
        if isinstance(said, DnsChange) and (said.host, said.revision) == (host, revision):
            yield each
            return
