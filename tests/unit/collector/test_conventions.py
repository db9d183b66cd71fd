"""The conventions, as the contract with the templates states them."""

from __future__ import annotations

import os.path
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcenter_operator.collector.core import conventions
from vcenter_operator.collector.core.conventions import HAGROUP_REGEX, Convention
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import ClusterRole

CLUSTER, STORAGE = ClusterRole.PRODUCTION, ClusterRole.STORAGE
NAMES = st.text("eph-ab_1Hg", max_size=12)


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("productionbb001", (CLUSTER, "bb1")),
        ("productionbb100", (CLUSTER, "bb100")),
        ("productionbb000", (CLUSTER, "bb0")),
        ("productionbb1", (CLUSTER, "bb1")),
        ("productionbb001x", (CLUSTER, "bb001x")),
        ("production-swift", (CLUSTER, "-swift")),
        ("productionBB001", (CLUSTER, "BB001")),
        ("productiona%2fb", (CLUSTER, "a%2fb")),
        ("storagebb002", (STORAGE, "bb002")),
        ("storage-a", (STORAGE, "-a")),
        ("production", None),
        ("storage", None),
        ("Productionbb001", None),
        ("my-productionbb001", None),
        ("bb001", None),
        ("", None),
    ],
)
def test_the_name_of_a_cluster_tells_its_role_and_name(cluster: str, expected: tuple[ClusterRole, str] | None) -> None:
    assert Convention().name(cluster) == expected


@settings(deadline=None)
@given(st.from_regex(r"bb0*[0-9]{1,6}", fullmatch=True))
def test_templates_can_compute_the_number_of_a_building_block(block: str) -> None:
    found = Convention().name(f"production{block}")
    assert found is not None
    number = int(block.removeprefix("bb"))
    assert found.name == f"bb{number}"
    assert int(found.name.replace("bb", "")) == number


def test_the_deployed_operators_narrower_convention_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCENTER_OPERATOR_PRODUCTION_PATTERN", "production(bb[0-9]+)")
    convention = CollectorSettings.load().convention
    assert convention.name("productionbb007") == (CLUSTER, "bb7")
    assert convention.name("productionswift") is None
    assert convention.name("productionbb007-old") is None
    assert convention.name("storageswift") == (STORAGE, "swift")


@pytest.mark.parametrize(("pattern", "problem"), [("production(", "regular expression"), ("production.*", "group")])
def test_a_wrong_pattern_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, pattern: str, problem: str
) -> None:
    monkeypatch.setenv("VCENTER_OPERATOR_PRODUCTION_PATTERN", pattern)
    with pytest.raises(ConfigurationError, match=f"VCENTER_OPERATOR_PRODUCTION_PATTERN: .*{problem}"):
        CollectorSettings.load()


@pytest.mark.parametrize(
    ("datastores", "expected"),
    [
        (["eph-bb1-1", "eph-bb1-2", "nfs"], "^eph-bb1-.*"),
        (["eph-bb1-1"], "^eph-bb1-1.*"),
        (["eph1", "eph12"], "^eph1.*"),
        (["ephA", "ephB"], "^eph.*"),
        (["nfs", "Eph-1", "my-eph"], "^.*"),
        ([], "^.*"),
        (["eph.a(1", "eph.a(2"], "^eph.a(.*"),  # not escaped: the contract's bytes
    ],
)
def test_datastore_regex(datastores: list[str], expected: str) -> None:
    assert conventions.datastore_regex(datastores) == expected


@settings(deadline=None)
@given(st.lists(NAMES))
def test_datastore_regex_is_the_longest_common_prefix_of_the_ephemeral_ones(names: list[str]) -> None:
    pattern = conventions.datastore_regex(names)
    ephemeral = [name for name in names if name.startswith("eph")]
    assert pattern == f"^{os.path.commonprefix(ephemeral)}.*"  # noqa: RUF071 - of characters, as meant
    assert all(re.match(pattern, name) for name in ephemeral)
    assert pattern == conventions.datastore_regex(reversed(names))


@pytest.mark.parametrize(
    ("datastores", "applies"),
    [
        (["eph_1_hga", "eph_2_hgb"], True),
        (["eph_1_HGA", "eph_2_hgB"], True),
        (["eph_1_hga", "eph_2_hga"], False),
        (["eph_1_hga", "nfs_hgb"], False),
        (["eph_1_hga", "eph_2_hgc"], False),
        (["eph_1_hga", "eph_2_hgb_old"], False),
        ([], False),
    ],
)
def test_the_hagroup_pattern_is_set_where_both_groups_exist(datastores: list[str], applies: bool) -> None:
    assert conventions.datastore_hagroup_regex(datastores) == (HAGROUP_REGEX if applies else None)
    assert HAGROUP_REGEX == r".*_hg(?P<hagroup>[ab])$"


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (["VM Network", "br-Zwei", "br-eins"], ("br-zwei", "zwei")),
        (["br-", "br-x"], ("br-x", "x")),
        (["Br-a", "mybr-a"], (None, None)),
        (["br-a%2fB"], ("br-a%2fb", "a%2fb")),
        ([], (None, None)),
    ],
)
def test_bridge_and_physical_are_of_the_first_port_group_in_the_clusters_order(
    networks: list[str], expected: tuple[str | None, str | None]
) -> None:
    assert conventions.bridge(networks) == expected


def test_the_availability_zone_is_the_datacenter_in_lower_case() -> None:
    assert conventions.availability_zone("QA-DE-1A") == "qa-de-1a"
