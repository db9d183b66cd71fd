"""Age: what makes one statement newer than another, and what a repeat keeps."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcenter_operator.common.identity import ObjectId, Revision, Unit
from vcenter_operator.common.messages import DnsChange, Inventory, Provenance, Trace, Unknown, ZoneSource

revisions = st.builds(Revision, st.integers(0, 3), st.integers(0, 3))
zones = st.builds(ZoneSource, revision=revisions, serial=st.just(1))
provenances = st.builds(
    Provenance, zone=zones, inventory=revisions, templates=st.integers(0, 2), cells=st.integers(0, 2),
    config=st.integers(0, 2),
)  # fmt: skip


@given(provenances, provenances)
def test_a_provenance_is_older_if_any_part_is(one: Provenance, other: Provenance) -> None:
    parts = [(p.zone.revision, p.inventory, p.templates, p.cells, p.config) for p in (one, other)]
    assert one.older_than(other) == any(mine < theirs for mine, theirs in zip(*parts, strict=True))
    assert not one.older_than(one)


def test_the_epoch_counts_before_the_sequence() -> None:
    def change(epoch: int, sequence: int) -> DnsChange:
        return DnsChange(host="h", present=True, revision=Revision(epoch, sequence), serial=1)

    ages = [(1, 1), (1, 9), (2, 1), (10, 0)]
    for one, other in product(ages, ages):
        assert change(*one).older_than(change(*other)) == (one < other)


def test_an_inventory_of_an_older_zone_is_older() -> None:
    def inventory(own: int, zone: int) -> Inventory:
        source = ZoneSource(revision=Revision(1, zone), serial=1)
        return Inventory(host="h", present=True, revision=Revision(1, own), zone=source)

    assert inventory(2, 1).older_than(inventory(1, 2))
    assert inventory(1, 2).older_than(inventory(2, 1))
    assert not inventory(2, 2).older_than(inventory(2, 1))
    with pytest.raises(ValueError, match="zip"):
        inventory(1, 1).older_than(DnsChange(host="h", present=True, revision=Revision(1, 1), serial=1))  # type: ignore[arg-type]


def test_a_repeat_is_as_old_as_what_it_repeats_and_says_what_caused_it() -> None:
    trace = Trace(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    first = DnsChange(host="h", present=True, revision=Revision(1, 1), serial=1, trace=trace)
    repeat = first.repeated()
    assert repeat.age == first.age
    assert repeat.model_dump(exclude={"trace"}) == first.model_dump(exclude={"trace"})
    assert repeat.trace.message_id != trace.message_id
    assert repeat.trace.causation_id == trace.message_id
    assert (repeat.trace.correlation_id, repeat.trace.traceparent) == (trace.correlation_id, None)


def test_unknown_covers_what_it_names_and_none_is_any() -> None:
    unit, other = Unit("cluster", "az", "bb1"), Unit("cluster", "az", "bb2")
    assert Unknown(template="ns/a", unit=unit, reason="").covers("ns/a", unit)
    assert not Unknown(template="ns/a", unit=unit, reason="").covers("ns/b", unit)
    assert not Unknown(template="ns/a", unit=unit, reason="").covers("ns/a", other)
    assert Unknown(template="ns/a", unit=None, reason="").covers("ns/a", other)
    assert Unknown(template=None, unit=unit, reason="").covers("ns/b", unit)
    assert not Unknown(template=None, unit=unit, reason="").covers("ns/b", other)


def test_an_object_is_the_same_in_every_version() -> None:
    assert str(ObjectId("apps", "Deployment", "ns", "nova")) == "apps/Deployment/ns/nova"
