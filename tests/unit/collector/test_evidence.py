"""Known, unknown or gone: nothing is gone without evidence, and a half-read cluster stays exactly as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcenter_operator.collector.core.conventions import Convention
from vcenter_operator.collector.core.evidence import Conclusion, conclude, to_ask
from vcenter_operator.collector.core.model import (
    ABSENT,
    Answer,
    Member,
    Members,
    Reference,
    SeenCluster,
    Snapshot,
    Unreadable,
    cluster_reference,
)
from vcenter_operator.common.identity import Unit
from vcenter_operator.common.messages import ClusterRole
from vcenter_operator.common.record import RecordedCluster

NO_RIGHT = Unreadable("NoPermission")
FAULT = Unreadable("RuntimeFault")


def members(kind: str, *names: str | Unreadable) -> tuple[Member, ...]:
    return tuple(Member(Reference(kind, f"{kind}-{i}-{name}"), name) for i, name in enumerate(names))


DATASTORES = members("Datastore", "eph-1_hga", "eph-2_hgb")
NETWORKS = members("Network", "VM Network", "br-Phys")


def seen(
    moid: str = "domain-c1",
    name: str | Unreadable = "productionbb001",
    datacenter: str | Unreadable = "QA-DE-1A",
    datastores: Members = DATASTORES,
    networks: Members = NETWORKS,
) -> SeenCluster:
    return SeenCluster(moid, name, datacenter, datastores, networks)


def recorded(moid: str = "domain-c1", name: str = "productionbb001", zone: str = "qa-de-1a") -> RecordedCluster:
    role = ClusterRole.STORAGE if name.startswith("storage") else ClusterRole.PRODUCTION
    return RecordedCluster(moid=moid, role=role, cluster_name=name, availability_zone=zone)


def identities(conclusion: Conclusion) -> tuple[RecordedCluster, ...]:
    """What is recorded, without what the statements rest on."""
    return tuple(entry.model_copy(update={"members": ()}) for entry in conclusion.recorded)


def reading(
    *clusters: SeenCluster,
    record: Sequence[RecordedCluster] = (),
    answers: Mapping[Reference, Answer] | None = None,
) -> Conclusion:
    return conclude(Convention(), record, Snapshot(clusters), answers or {})


def names(conclusion: Conclusion) -> tuple[list[str], list[str], list[str]]:
    """Names of the known, the unknown and the gone."""
    return (
        [cluster.cluster_name for cluster in conclusion.clusters],
        [cluster.cluster_name for cluster in conclusion.unknown],
        [cluster.cluster_name for cluster in conclusion.gone],
    )


def test_everything_about_a_cluster_that_was_read() -> None:
    conclusion = reading(seen(), seen("domain-c2", "storagebb2", networks=()), seen("domain-c3", "management"))
    production, storage = conclusion.clusters
    assert production.model_dump() == {
        "moid": "domain-c1",
        "role": ClusterRole.PRODUCTION,
        "cluster_name": "productionbb001",
        "name": "bb1",
        "availability_zone": "qa-de-1a",
        "datastore_regex": "^eph-.*",
        "datastore_hagroup_regex": r".*_hg(?P<hagroup>[ab])$",
        "bridge": "br-phys",
        "physical": "phys",
    }
    assert (storage.role, storage.name, storage.bridge) == (ClusterRole.STORAGE, "bb2", None)
    assert identities(conclusion) == (recorded(), recorded("domain-c2", "storagebb2"))
    assert not conclusion.unknown


@pytest.mark.parametrize(
    "half_read",
    [
        seen(datastores=FAULT),
        seen(datastores=members("Datastore", "eph-1", FAULT)),
        seen(networks=FAULT),
        seen(networks=members("Network", FAULT, "br-a")),
    ],
)
def test_any_attribute_that_cannot_be_read_makes_the_whole_cluster_unknown(half_read: SeenCluster) -> None:
    conclusion = reading(half_read, seen("domain-c2", "productionbb002"))
    assert names(conclusion) == (["productionbb002"], ["productionbb001"], [])
    assert "RuntimeFault" in conclusion.unknown[0].reason
    assert identities(conclusion) == (recorded(), recorded("domain-c2", "productionbb002"))


@pytest.mark.parametrize("half_read", [seen(name=FAULT), seen(datacenter=FAULT)])
def test_a_cluster_that_cannot_be_placed_stays_as_recorded(half_read: SeenCluster) -> None:
    assert names(reading(half_read, record=[recorded()])) == ([], ["productionbb001"], [])
    never_stated = reading(half_read)
    assert names(never_stated) == ([], [], [])
    assert "domain-c1" in never_stated.unplaced[0]
    assert never_stated.partial is not None, "it may have been stated, if the record was lost"
    assert never_stated.unplaced[0] in never_stated.partial


@pytest.mark.parametrize(
    ("answer", "is_gone"),
    [
        (ABSENT, True),
        ("retired", True),
        ("production", True),
        ("productionbb001", False),
        ("productionbb009", False),
        (NO_RIGHT, False),
        (None, False),
    ],
)
def test_a_recorded_cluster_that_is_not_listed_is_gone_only_with_evidence(answer: Answer | None, is_gone: bool) -> None:
    record = [recorded(), recorded("domain-c2", "productionbb002")]
    snapshot = Snapshot((seen("domain-c2", "productionbb002"),))
    assert to_ask(record, snapshot) == [cluster_reference("domain-c1")]
    answers = {} if answer is None else {cluster_reference("domain-c1"): answer}
    conclusion = conclude(Convention(), record, snapshot, answers)
    gone, left = (["productionbb001"], []) if is_gone else ([], ["productionbb001"])
    assert names(conclusion) == (["productionbb002"], left, gone)
    assert (recorded() in conclusion.recorded) is not is_gone


def test_an_account_that_lost_its_rights_makes_everything_unknown() -> None:
    record = [recorded(f"domain-c{i}", f"productionbb00{i}") for i in range(5)]
    answers: dict[Reference, Answer] = dict.fromkeys(to_ask(record, Snapshot()), NO_RIGHT)
    conclusion = reading(record=record, answers=answers)
    assert not conclusion.clusters
    assert not conclusion.gone
    assert [cluster.moid for cluster in conclusion.unknown] == [cluster.moid for cluster in record]
    assert list(conclusion.recorded) == record


def test_a_listed_cluster_renamed_out_of_the_convention_is_gone() -> None:
    conclusion = reading(seen(name="retired"), record=[recorded()])
    assert names(conclusion) == ([], [], ["productionbb001"])
    assert not conclusion.recorded


def test_a_cluster_renamed_within_the_convention_is_known_under_its_new_name() -> None:
    conclusion = reading(seen(name="productionbb002"), record=[recorded()])
    assert names(conclusion) == (["productionbb002"], [], [])
    assert identities(conclusion) == (recorded(name="productionbb002"),)


def test_a_renamed_cluster_that_cannot_be_read_keeps_what_it_had_under_its_old_name() -> None:
    conclusion = reading(seen(name="productionbb002", datastores=FAULT), record=[recorded()])
    assert names(conclusion) == ([], ["productionbb001", "productionbb002"], [])
    assert conclusion.recorded == (recorded(), recorded(name="productionbb002"))
    # Once it can be read it is what it is, and nothing else.
    assert identities(reading(seen(name="productionbb002"), record=conclusion.recorded)) == (
        recorded(name="productionbb002"),
    )


def test_names_that_were_swapped_while_one_is_unreadable_are_not_mixed_up() -> None:
    record = [recorded("domain-c1", "productionbb001"), recorded("domain-c2", "productionbb002")]
    conclusion = reading(
        seen("domain-c1", "productionbb002", datastores=FAULT), seen("domain-c2", "productionbb001"), record=record
    )
    assert [(cluster.moid, cluster.cluster_name) for cluster in conclusion.clusters] == [
        ("domain-c2", "productionbb001")
    ]
    assert names(conclusion)[1] == ["productionbb002"]


def test_two_clusters_of_one_name_in_one_availability_zone_are_unknown() -> None:
    conclusion = reading(seen("domain-c1"), seen("domain-c2"), seen("domain-c3", datacenter="other"))
    assert [cluster.availability_zone for cluster in conclusion.clusters] == ["other"]
    (doubted,) = conclusion.unknown
    assert "domain-c1, domain-c2" in doubted.reason
    assert len(conclusion.recorded) == 3


def test_a_cluster_made_anew_under_the_same_name_is_known() -> None:
    conclusion = reading(seen("domain-c2"), record=[recorded()], answers={cluster_reference("domain-c1"): ABSENT})
    assert names(conclusion) == (["productionbb001"], [], ["productionbb001"])
    assert identities(conclusion) == (recorded("domain-c2"),)


@pytest.mark.parametrize(("answer", "known"), [(ABSENT, True), ("eph-2", True), (NO_RIGHT, False), (None, False)])
def test_a_datastore_that_is_listed_no_more_is_off_the_cluster_only_with_evidence(
    answer: Answer | None, known: bool
) -> None:
    before = reading(seen(datastores=members("Datastore", "eph-1", "eph-2")))
    after = Snapshot((seen(datastores=members("Datastore", "eph-1")),))
    (hidden,) = to_ask(before.recorded, after)
    answers = {} if answer is None else {hidden: answer}
    conclusion = conclude(Convention(), before.recorded, after, answers)
    assert bool(conclusion.clusters) is known
    assert bool(conclusion.unknown) is not known
    # What is hidden is asked for again at the next reading, and what is off is forgotten.
    assert to_ask(conclusion.recorded, after) == ([] if known else [hidden])


def test_a_list_that_cannot_be_read_once_takes_nothing_from_what_was_listed() -> None:
    before = reading(seen())
    half_read = Snapshot((seen(datastores=FAULT),))
    assert to_ask(before.recorded, half_read) == []
    assert conclude(Convention(), before.recorded, half_read, {}).recorded == before.recorded


def test_what_decides_nothing_is_neither_recorded_nor_asked_for() -> None:
    """Segments of tenants come and go all day among hundreds of networks."""
    many = members("Network", "VM Network", "br-Phys", "br-later", *(f"segment-{i}" for i in range(300)))
    before = reading(seen(datastores=members("Datastore", "eph-1", "nfs-1"), networks=many))
    assert before.recorded[0].members == ("Datastore Datastore-0-eph-1", "Network Network-1-br-Phys")
    after = Snapshot((seen(datastores=members("Datastore", "eph-1"), networks=many[:2]),))
    assert to_ask(before.recorded, after) == []
    assert conclude(Convention(), before.recorded, after, {}).clusters == before.clusters


@pytest.mark.parametrize("name", ["productionbb001", "productionbb002"])
def test_a_cluster_that_was_renamed_while_a_datastore_of_it_was_hidden_keeps_what_it_had(name: str) -> None:
    before = reading(seen())
    after = Snapshot((seen(name=name, datastores=DATASTORES[:1]),))
    answers: dict[Reference, Answer] = dict.fromkeys(to_ask(before.recorded, after), NO_RIGHT)
    conclusion = conclude(Convention(), before.recorded, after, answers)
    assert names(conclusion) == ([], sorted({"productionbb001", name}), [])
    assert set(before.recorded) <= set(conclusion.recorded)


def test_a_cluster_that_was_moved_is_another_unit_and_nothing_is_left_of_the_old_one() -> None:
    before = reading(seen())
    after = reading(seen(datacenter="QA-DE-1B"), record=before.recorded)
    assert [(cluster.moid, cluster.availability_zone) for cluster in after.clusters] == [("domain-c1", "qa-de-1b")]
    assert not after.unknown
    assert [entry.availability_zone for entry in after.recorded] == ["qa-de-1b"]


@pytest.mark.parametrize(
    ("there", "units"),
    [
        (seen(datacenter="QA-DE-1B", datastores=FAULT), ["qa-de-1a", "qa-de-1b"]),
        (seen(datacenter=FAULT), ["qa-de-1a"]),
        (seen(name=FAULT, datacenter="QA-DE-1B"), ["qa-de-1a"]),
    ],
)
def test_a_cluster_that_was_moved_and_cannot_be_read_leaves_both_units_as_they_are(
    there: SeenCluster, units: list[str]
) -> None:
    before = reading(seen())
    after = reading(there, record=before.recorded)
    assert [cluster.availability_zone for cluster in after.unknown] == units
    assert (after.clusters, after.gone) == ((), ())
    assert [entry.availability_zone for entry in after.recorded] == units
    assert set(before.recorded) <= set(after.recorded)


def test_a_cluster_that_moves_to_where_its_name_is_taken_makes_both_unknown_and_so_does_the_unit_it_left() -> None:
    before = reading(seen(), seen("domain-c2", datacenter="QA-DE-1B"))
    assert [cluster.availability_zone for cluster in before.clusters] == ["qa-de-1a", "qa-de-1b"]
    during = reading(seen(), seen("domain-c2"), record=before.recorded)
    assert during.clusters == ()
    assert [cluster.availability_zone for cluster in during.unknown] == ["qa-de-1a", "qa-de-1b"]
    # One is renamed: both are known again, and nothing is left of what the other one was.
    after = reading(seen(), seen("domain-c2", "productionbb002"), record=during.recorded)
    assert names(after) == (["productionbb001", "productionbb002"], [], [])
    assert {entry.availability_zone for entry in after.recorded} == {"qa-de-1a"}


@pytest.mark.parametrize(
    ("answer", "other", "known"),
    [
        (NO_RIGHT, (), []),
        (None, (), []),
        ("productionbb001", (), []),
        ("productionbb002", (), ["domain-c2"]),
        (ABSENT, (), ["domain-c2"]),
        (None, (seen(datastores=FAULT),), []),
        (None, (seen(datacenter=FAULT),), []),
        (None, (seen(name=FAULT),), []),
        (None, (seen(name="productionbb003", datacenter=FAULT),), ["domain-c2"]),
        (None, (seen(datacenter="QA-DE-1B", datastores=FAULT),), ["domain-c2"]),
    ],
)
def test_one_that_bears_the_name_of_another_that_cannot_be_read_is_not_taken_for_it(
    answer: Answer | None, other: tuple[SeenCluster, ...], known: list[str]
) -> None:
    before = reading(seen())
    namesake = seen("domain-c2", networks=members("Network", "br-other"))
    answers = {} if answer is None else {cluster_reference("domain-c1"): answer}
    after = reading(namesake, *other, record=before.recorded, answers=answers)
    assert [cluster.moid for cluster in after.clusters] == known
    stated = {cluster.unit for cluster in after.clusters} | {cluster.unit for cluster in after.unknown}
    assert before.clusters[0].unit in stated


def test_datacenters_whose_names_differ_in_case_alone_are_one_availability_zone() -> None:
    clusters = (
        seen("domain-c1", "productionbb001", "QA-DE-1A"),
        seen("domain-c2", "productionbb002", "qa-de-1a"),
        seen("domain-c3", "productionbb003", "Qa-De-1a"),
        seen("domain-c4", "productionbb003", "qA-dE-1a"),
    )
    conclusion = reading(*clusters)
    assert names(conclusion) == (["productionbb001", "productionbb002"], ["productionbb003"], [])
    assert {cluster.availability_zone for cluster in conclusion.clusters} == {"qa-de-1a"}
    assert {cluster.availability_zone for cluster in conclusion.unknown} == {"qa-de-1a"}


def test_names_are_taken_as_they_are_written() -> None:
    """Escapes stay (`%2f`), and what looks alike (composed, decomposed) is not the same."""
    written = ["production%2f\u00e9", "production%2fe\u0301", "production\u202e\U0001f680", "production%252f"]
    conclusion = reading(*(seen(f"domain-c{i}", name, f"DC-{name}") for i, name in enumerate(written)))
    assert {cluster.cluster_name for cluster in conclusion.clusters} == set(written)
    assert {cluster.name for cluster in conclusion.clusters} == {name.removeprefix("production") for name in written}
    assert {cluster.availability_zone for cluster in conclusion.clusters} == {f"dc-{name}" for name in written}
    assert len({str(cluster.unit) for cluster in conclusion.clusters}) == len(written)
    assert {Unit.parse(str(cluster.unit)) for cluster in conclusion.clusters} == {
        cluster.unit for cluster in conclusion.clusters
    }


SOME = st.sampled_from
CLUSTERS = st.builds(
    seen,
    moid=SOME([f"domain-c{i}" for i in range(6)]),
    name=SOME(["productionbb1", "productionbb2", "storagea", "retired", FAULT]),
    datacenter=SOME(["A", "b", FAULT]),
    datastores=SOME([members("Datastore", "eph-1"), members("Datastore", FAULT), FAULT]),
    networks=SOME([members("Network", "br-a"), FAULT]),
)
RECORDED = st.builds(
    recorded,
    moid=SOME([f"domain-c{i}" for i in range(6)]),
    name=SOME(["productionbb1", "productionbb2", "storagea"]),
    zone=SOME(["a", "b"]),
)
ANSWERS = st.dictionaries(
    SOME([cluster_reference(f"domain-c{i}") for i in range(6)]),
    SOME([ABSENT, "retired", "productionbb1", NO_RIGHT]),
)


@settings(deadline=None)
@given(st.lists(CLUSTERS, unique_by=lambda c: c.moid), st.lists(RECORDED), ANSWERS, st.randoms())
def test_whatever_is_read_nothing_recorded_is_lost_without_evidence(
    clusters: list[SeenCluster],
    record: list[RecordedCluster],
    answers: dict[Reference, Answer],
    random: st.DataObject,
) -> None:
    conclusion = reading(*clusters, record=record, answers=answers)
    known, unknown = (
        {cluster.unit for cluster in conclusion.clusters},
        {cluster.unit for cluster in conclusion.unknown},
    )
    readable = {cluster.moid: cluster.name for cluster in clusters}
    for entry in record:
        unit = Unit(entry.role.value, entry.availability_zone, entry.cluster_name)
        if unit in known | unknown:
            continue
        answer: Answer | None = readable.get(entry.moid, answers.get(cluster_reference(entry.moid)))
        out = answer is ABSENT or answer == "retired"
        moved = any(cluster.moid == entry.moid for cluster in conclusion.clusters)
        assert out or moved, f"{entry} is lost"
    # What is stated is remembered, and known and unknown exclude each other.
    remembered = {entry.moid for entry in conclusion.recorded}
    assert {cluster.moid for cluster in conclusion.clusters} <= remembered
    assert {cluster.moid for cluster in conclusion.unknown} <= remembered
    assert not known & unknown
    # Equal content compares equal, however the vCenter orders it.
    random.shuffle(clusters)  # type: ignore[attr-defined]
    random.shuffle(record)  # type: ignore[attr-defined]
    assert reading(*clusters, record=record, answers=answers) == conclusion


def test_what_was_recorded_in_another_instance_proves_nothing_in_this_one() -> None:
    """A vCenter set up anew under the same name counts its managed objects from the beginning."""
    record = [
        recorded(f"domain-c{number}", f"productionbb00{number}").model_copy(update={"instance": "old"})
        for number in (1, 2, 3)
    ]
    # c1 is something else there, c2 is there under another id, c3 is not there.
    clusters = (seen("domain-c1", "management"), seen("domain-c9", "productionbb002"))
    there = Snapshot(clusters, "new")
    assert to_ask(record, there) == [], "no question about ids that mean something else there"
    answers: dict[Reference, Answer] = {cluster_reference("domain-c3"): ABSENT}
    conclusion = conclude(Convention(), record, there, answers)
    assert conclusion.gone == ()
    assert [cluster.cluster_name for cluster in conclusion.clusters] == ["productionbb002"]
    assert [cluster.cluster_name for cluster in conclusion.unknown] == ["productionbb001", "productionbb003"]
    assert {(entry.cluster_name, entry.moid, entry.instance) for entry in conclusion.recorded} == {
        ("productionbb001", "domain-c1", "old"),
        ("productionbb002", "domain-c9", "new"),
        ("productionbb003", "domain-c3", "old"),
    }
    # Back at the old one, it is evidence again.
    again = conclude(Convention(), conclusion.recorded, Snapshot((seen("domain-c1", "management"),), "old"), answers)
    assert [entry.cluster_name for entry in again.gone] == ["productionbb001", "productionbb003"]


@pytest.mark.parametrize("instance", [None, "this"])
def test_where_the_instance_is_not_known_the_ids_count(instance: str | None) -> None:
    record = [recorded().model_copy(update={"instance": instance})]
    conclusion = conclude(Convention(), record, Snapshot((seen(name="management"),), "this"), {})
    assert conclusion.gone == tuple(record)
