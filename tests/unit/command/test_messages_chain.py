"""Statements as people look at them: repetitions taken together, chains found, differences told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.command.statements import (
    BEGAN,
    HOST,
    TEMPLATE,
    because_of,
    delta,
    inventory,
    object_of,
    said,
    traced,
    zone,
)
from vcenter_operator.command.messages.chain import chain_of, seeds_of
from vcenter_operator.command.messages.differences import Indexes, differences
from vcenter_operator.command.messages.model import Fact, entry_of, facts_of
from vcenter_operator.command.messages.selection import Selection, moment
from vcenter_operator.common.bus.rabbitmq.archiving import Archived
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import Stage, Statement
from vcenter_operator.common.wire import encode


def facts(*statements: Statement) -> list[Fact]:
    return facts_of(said(statement, number) for number, statement in enumerate(statements))


def of_chain(found: list[Fact], wanted: str) -> list[Statement | None]:
    return [step.statement for step in chain_of(found, seeds_of(found, wanted))]


def test_repetitions_are_one_fact_until_something_else_is_stated() -> None:
    first, other = delta({1: "a"}), delta({1: "b"}, templates=2)
    found = facts(first, first.repeated(), first.repeated(), other, first.repeated())
    assert [(fact.entry.statement, fact.times) for fact in found[:2]] == [(first, 3), (other, 1)]
    assert found[0].last_at == BEGAN + timedelta(seconds=2)
    assert [fact.times for fact in found] == [3, 1, 1]  # said again after something else is news
    again = first.repeated()
    assert facts(first, again)[0].is_named(again.trace.message_id)


def test_what_cannot_be_read_is_told_and_repeats_nothing() -> None:
    archived = Archived(Stage.COLLECTOR, 0, BEGAN, "DnsChange", HOST, "m", "c", b"nonsense")
    entries = [entry_of(archived), entry_of(archived)]
    assert "not msgpack" in (entries[0].problem or "")
    assert [fact.times for fact in facts_of(entries)] == [1, 1]


def test_the_archive_is_decoded_without_manifests_unless_they_are_asked_for() -> None:
    sent = delta({1: "a", 2: "b"}, manifests={object_of(1): b"sealed"})
    archived = Archived(Stage.APPLIER, 0, BEGAN, "ManifestDelta", HOST, "m", "c", encode(sent))
    assert entry_of(archived).sent == (object_of(1),)
    assert entry_of(archived).statement == sent.model_copy(update={"manifests": {}})
    assert entry_of(archived, bodies=True).statement == sent


def test_a_chain_goes_on_by_the_correlation_and_back_by_what_was_made_from_what() -> None:
    dns = zone()
    found_there = because_of(dns, inventory())
    rendered = because_of(found_there, delta({1: "a"}))
    edited = delta({1: "b"}, templates=2)  # nothing on the bus caused it
    elsewhere = zone(2, host="vc-b-0.cc.qa-de-1.cloud.sap")
    history = facts(dns, found_there, rendered, edited, dns.repeated(), elsewhere)
    assert of_chain(history, dns.trace.correlation_id) == [dns, found_there, rendered]
    for each in (dns, found_there, rendered):
        assert of_chain(history, each.trace.message_id[:12]) == [dns, found_there, rendered]
    assert of_chain(history, edited.trace.message_id) == [dns, found_there, edited]
    assert of_chain(history, "vc-a-0") == of_chain(history, HOST) == [dns, found_there, edited]
    assert of_chain(history, "vc-b-0") == [elsewhere]
    assert of_chain(history, "vc-q-9") == []
    steps = chain_of(history, seeds_of(history, "vc-a-0"))
    assert [step.before for step in steps] == [None, None, rendered]


def test_an_inventory_that_another_zone_was_joined_to_is_another_origin() -> None:
    old, new = inventory(), inventory(zone_at=2)
    rendered = delta({1: "a"})
    history = facts(zone(), old, rendered, zone(2), new)
    assert of_chain(history, "vc-a-0")[1] == old


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (zone(), zone(2), ["~ serial 101 → 102"]),
        (zone(), zone(2, serial=101, present=False), ["~ gone from the zone"]),
        (zone(), zone(1, addresses=()), ["~ addresses 192.0.2.1 → -"]),
        (inventory(), inventory(2, (1,)), ["- cluster productionbb002 in qa-de-1a"]),
        (inventory(), inventory(2, (1, 2, 3)), ["+ cluster productionbb003 in qa-de-1a"]),
        (inventory(), inventory(2, (1,), (2,)), ["? cluster productionbb002 in qa-de-1a: NoPermission"]),
        (inventory(1, (1,), (2,)), inventory(2), ["+ cluster productionbb002 in qa-de-1a: known again"]),
        (delta({1: "a"}), delta({1: "a"}, inventory_at=2), []),
        (delta({1: "a"}), delta({1: "a"}, inputs="two"), ["~ the cells or the Secret"]),
        (delta({1: "a"}), delta({1: "a"}, suspended=(TEMPLATE,)), [f"~ template {TEMPLATE} is suspended"]),
    ],
)  # fmt: skip
def test_differences_of_statements(before: Statement, after: Statement, lines: list[str]) -> None:
    assert differences(before, after) == lines


def test_differences_of_an_edited_template_that_broke_one_cluster() -> None:
    before, after = delta({1: "a", 2: "b", 3: "c"}), delta({1: "A", 4: "d"}, templates=2, unknown=(2,))
    assert Indexes.between(before, after) == Indexes((object_of(4),), (object_of(1),), (object_of(2),), (object_of(3),))
    assert differences(before, after) == [
        f"~ template {TEMPLATE}",
        f"+ ConfigMap monsoon3/nova-compute-bb4 ({TEMPLATE}, cluster productionbb004 in qa-de-1a)",
        f"~ ConfigMap monsoon3/nova-compute-bb1 ({TEMPLATE}, cluster productionbb001 in qa-de-1a)",
        f"- ConfigMap monsoon3/nova-compute-bb3 ({TEMPLATE}, cluster productionbb003 in qa-de-1a)",
        "? ConfigMap monsoon3/nova-compute-bb2: left as it is",
        f"? {TEMPLATE} for cluster productionbb002 in qa-de-1a: line 3: no filter",
    ]
    assert f"+ {TEMPLATE} for cluster productionbb002 in qa-de-1a: known again" in differences(after, before)
    # Where digests are of another key only what they belong to can be compared.
    assert differences(delta({1: "a"}), delta({1: "A"}, templates=2), digests=False) == []


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        ({}, True),
        ({"since": BEGAN}, True),
        ({"since": BEGAN + timedelta(seconds=1)}, False),
        ({"until": BEGAN}, True),
        ({"until": BEGAN - timedelta(seconds=1)}, False),
        ({"vcenter": "vc-a-0"}, True),
        ({"vcenter": "VC-A-0.cc.qa-de-1.cloud.sap."}, True),
        ({"vcenter": "vc-a"}, False),
        ({"stage": Stage.COLLECTOR}, True),
        ({"stage": Stage.RENDERER}, False),
        ({"correlation": "c0ff"}, True),
        ({"correlation": "c1"}, False),
    ],
)
def test_a_selection_takes_what_is_meant(choice: dict[str, Any], taken: bool) -> None:
    assert Selection(**choice).takes(said(traced(zone(), "m", "c0ffee"))) is taken


def test_times_are_ages_or_iso_8601() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert moment("90s", now) == now - timedelta(seconds=90)
    assert moment("7d", now) == now - timedelta(days=7)
    assert moment("2026-03-01T14:05", now) == datetime(2026, 3, 1, 14, 5, tzinfo=UTC)
    assert moment("2026-03-01T14:05+01:00", now) == datetime(2026, 3, 1, 13, 5, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match="yesterday"):
        moment("yesterday", now)
