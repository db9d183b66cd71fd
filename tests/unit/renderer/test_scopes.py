"""Which units there are, when they are unknown, and where the cells come from."""

from __future__ import annotations

import pytest

from tests.unit.renderer.region import CELLS, UNKNOWN, inventory, only
from vcenter_operator.common.identity import Unit
from vcenter_operator.common.messages import ClusterRole, UnknownCluster
from vcenter_operator.renderer.core.cells import Cells, CellsUnavailable, parse_cells
from vcenter_operator.renderer.core.scopes import scopes_of

BB1, BB2, BB3 = (
    Unit("cluster", zone, f"productionbb00{number}")
    for zone, number in (("qa-de-1a", 1), ("qa-de-1b", 2), ("qa-de-1b", 3))
)
ZONE_A, ZONE_B = Unit("datacenter", "qa-de-1a"), Unit("datacenter", "qa-de-1b")
STORAGE = Unit("storage", "qa-de-1a", "storage0")


def test_clusters_come_first_then_datacenters_then_storage() -> None:
    scopes = scopes_of(inventory())
    assert list(scopes.known) == [BB1, BB2, ZONE_A, ZONE_B, STORAGE]
    assert scopes.unknown == ()
    reordered = inventory(clusters=tuple(reversed(inventory().clusters)))
    assert list(scopes_of(reordered).known) == list(scopes.known)


def test_a_zone_with_a_known_and_an_unknown_cluster_is_rendered() -> None:
    scopes = scopes_of(inventory(unknown=UNKNOWN))
    assert ZONE_B in scopes.known
    assert [each.unit for each in scopes.unknown] == [BB3]
    assert set(scopes.all) == {BB1, BB2, BB3, ZONE_A, ZONE_B, STORAGE}


def test_a_zone_of_unknown_clusters_alone_is_unknown() -> None:
    scopes = scopes_of(inventory(clusters=only("productionbb001"), unknown=UNKNOWN))
    assert list(scopes.known) == [BB1, ZONE_A]
    assert {each.unit: each.template for each in scopes.unknown} == {BB3: None, ZONE_B: None}
    assert all("the datastores could not be read" in each.reason for each in scopes.unknown)


def test_storage_clusters_alone_make_no_datacenter() -> None:
    unknown = UnknownCluster(
        moid="x", role=ClusterRole.STORAGE, cluster_name="storage1", availability_zone="qa-de-1b", reason="unread"
    )
    scopes = scopes_of(inventory(clusters=only("storage0"), unknown=(unknown,)))
    assert list(scopes.known) == [STORAGE]
    assert [each.unit for each in scopes.unknown] == [Unit("storage", "qa-de-1b", "storage1")]


@pytest.mark.parametrize("data", [None, {}, {"other": "x"}, {"cells": None}])
def test_malformed_cells_are_refused_whole(data: object) -> None:
    malformed = {"metadata": {"name": "bad", "namespace": "monsoon3"}, "data": data}
    with pytest.raises(CellsUnavailable, match="ConfigMap monsoon3/bad"):
        parse_cells([*CELLS, malformed])


def test_no_cells_are_refused() -> None:
    with pytest.raises(CellsUnavailable, match="no ConfigMap with the labels system=openstack"):
        parse_cells([])


def test_cells_are_a_set_in_order() -> None:
    cells = Cells({f"cell{number}" for number in range(50)})
    assert list(cells) == sorted(cells)
    assert isinstance(cells, set)
    assert repr(Cells({"b", "a"})) == "{'a', 'b'}"
    assert repr(Cells()) == "set()"
