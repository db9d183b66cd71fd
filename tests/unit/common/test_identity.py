"""Names that people and queues see can be read back, and a vCenter's partition is the same everywhere and always."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.identity import ObjectId, Revision, Unit, partition_of

text = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.builds(Unit, text, text, text))
def test_a_unit_is_read_back_whatever_its_names(unit: Unit) -> None:
    assert Unit.parse(str(unit)) == unit


def test_a_unit_is_readable() -> None:
    assert str(Unit("cluster", "qa-de-1a", "production bb001")) == "cluster/qa-de-1a/production bb001"
    assert str(Unit("datacenter", "qa-de-1a")) == "datacenter/qa-de-1a"
    assert str(Unit("cluster", "a/b", "c%2fd")) == "cluster/a%2Fb/c%252fd"


@given(st.builds(ObjectId, *[text.filter(lambda value: "/" not in value)] * 4))
def test_an_object_id_is_read_back(object_id: ObjectId) -> None:
    assert ObjectId.parse(str(object_id)) == object_id


@given(st.builds(Revision, st.integers(0), st.integers(0)))
def test_a_revision_is_read_back(revision: Revision) -> None:
    assert Revision.parse(str(revision)) == revision


@pytest.mark.parametrize(
    ("parse", "wrong"), [(Unit.parse, "a"), (Unit.parse, "a/b/c/d"), (ObjectId.parse, "a/b"), (Revision.parse, "1"),
                         (Revision.parse, "a.b")]
)  # fmt: skip
def test_anything_else_is_a_value_error(parse: object, wrong: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        parse(wrong)  # type: ignore[operator]


def test_partitions_never_move() -> None:
    """Changing these would put a vCenter into two partitions during an upgrade."""
    known = {"vc-a-0.cc.qa-de-1.cloud.sap": 0, "vc-b-0.cc.qa-de-1.cloud.sap": 0, "vc-c-1.cc.eu-de-2.cloud.sap": 5}
    assert {host: partition_of(host, 8) for host in known} == known


@pytest.mark.parametrize("domain", ["cc.qa-de-1.cloud.sap", "cc.eu-de-2.cloud.sap", "cc.region-xx-1.cloud.sap"])
def test_partitions_are_used_evenly(domain: str) -> None:
    """By names as there are: a power of two would have all of `vc-a-0` to `vc-a-7` in one partition."""
    partitions = Topology().partitions
    counts = Counter(
        partition_of(f"vc-{letter}-{digit}.{domain}", partitions) for letter in "abcdefghij" for digit in range(10)
    )
    assert len(counts) == partitions
    assert max(counts.values()) <= 2 * 100 / partitions
    assert len({partition_of(f"vc-a-{digit}.{domain}", partitions) for digit in range(8)}) > partitions / 3
