"""What became of a delta, and whether a parked statement is still the newest: by record, objects and archive."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.command.statements import HOST, because_of, delta, inventory, object_of, said, zone
from vcenter_operator.command.messages.applied import Acted, Became, acted_by, concerned, standing
from vcenter_operator.command.messages.model import facts_of
from vcenter_operator.command.messages.replay import compare, exit_code, stages_in_a_row, with_bodies
from vcenter_operator.command.messages.replaying import Replayed
from vcenter_operator.command.messages.superseding import superseded
from vcenter_operator.common import labels
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import ManifestDelta, Stage, Statement
from vcenter_operator.common.record.port import Applied, Collected, Discovered, Record

NOW = delta({1: "a"}, templates=5)


def record(**sections: Any) -> Record:
    return Record(host=HOST, version="1", **sections)


def discovered(revision: Revision) -> Record:
    return record(discovered=Discovered(present=True, serial=1, revision=revision))


def acted_on(stated: ManifestDelta) -> Record:
    return record(applied=Applied(acted_on=stated.provenance))


def live(digest: str, revision: str = "3.1") -> dict[str, Any]:
    return {
        "metadata": {
            "annotations": {labels.DIGEST: digest, labels.REVISION: revision},
            "managedFields": [
                {"manager": "kubectl", "operation": "Apply", "time": "2026-03-02T00:00:00Z"},
                {"manager": "vcenter-operator", "operation": "Apply", "time": "2026-03-01T14:00:05Z"},
            ],
        }
    }


@pytest.mark.parametrize(
    ("known", "acted"),
    [
        (None, Acted.NOT_YET),
        (record(), Acted.NOT_YET),
        (acted_on(delta({}, templates=4)), Acted.NOT_YET),
        (acted_on(NOW), Acted.ON_THIS),
        (acted_on(delta({}, templates=6)), Acted.ON_NEWER),
        (acted_on(delta({}, templates=5, inventory_at=2)), Acted.ON_NEWER),
    ],
)
def test_how_far_the_applier_is(known: Record | None, acted: Acted) -> None:
    assert acted_by(known, NOW) is acted


def test_what_a_delta_is_about_is_what_it_changed() -> None:
    before, after = delta({1: "a", 2: "b", 3: "c"}), delta({1: "A", 4: "d"}, unknown=(2,))
    assert concerned(after, before) == {
        object_of(4): Became.CREATED,
        object_of(1): Became.CHANGED,
        object_of(3): Became.GONE,
        object_of(2): Became.LEFT,
    }
    assert concerned(after, None).keys() == {object_of(1), object_of(4)}


def test_an_object_tells_who_changed_it_last_and_whether_it_is_as_stated() -> None:
    one = standing(object_of(1), Became.CHANGED, live("a"), NOW)
    assert (one.exists, one.revision, one.as_stated) == (True, "3.1", True)
    assert one.at == datetime(2026, 3, 1, 14, 0, 5, tzinfo=UTC)
    assert standing(object_of(1), Became.CHANGED, live("other"), NOW).as_stated is False
    assert standing(object_of(1), Became.CHANGED, None, NOW).exists is False
    assert standing(object_of(3), Became.GONE, None, NOW).as_stated is True
    assert standing(object_of(3), Became.GONE, live("c"), NOW).as_stated is False
    assert standing(object_of(2), Became.LEFT, live("b"), NOW).as_stated is None


@pytest.mark.parametrize(
    ("parked", "known", "others", "says"),
    [
        (zone(2), discovered(Revision(1, 2)), [], None),
        (zone(2), discovered(Revision(2, 1)), [], "zone revision 2.1"),
        (inventory(2), record(collected=Collected(revision=Revision(3, 3))), [], "inventory 3.3"),
        (NOW, acted_on(NOW), [], None),
        (NOW, acted_on(delta({}, templates=6)), [], "templates at 6"),
        (NOW, None, [NOW.repeated(), delta({}, templates=4)], None),
        (NOW, None, [delta({}, templates=6)], "a newer one was stated"),
        (NOW, None, [delta({}, templates=6, host="vc-b-0"), inventory(9)], None),
        (inventory(1), None, [inventory(1, zone_at=2)], "revision 3.1"),
    ],
)  # fmt: skip
def test_a_parked_statement_is_superseded_by_what_is_newer_in_any_part(
    parked: Statement, known: Record | None, others: list[Statement], says: str | None
) -> None:
    found = superseded(parked, known, [said(other) for other in others])
    assert found is None if says is None else says in (found or "")


def test_stages_are_run_in_a_row() -> None:
    assert stages_in_a_row([], offline=True) == (Stage.RENDERER,)
    assert stages_in_a_row([Stage.APPLIER, Stage.RENDERER], offline=True) == (Stage.RENDERER, Stage.APPLIER)
    for stages, offline in (
        ([Stage.COLLECTOR, Stage.APPLIER], False),
        ([Stage.COLLECTOR], True),
        ([Stage.DISCOVERY], False),
    ):
        with pytest.raises(ConfigurationError):
            stages_in_a_row(stages, offline=offline)


def test_a_delta_is_replayed_with_the_manifests_that_earlier_ones_brought() -> None:
    first = delta({1: "a", 2: "b"}, manifests={object_of(1): b"one", object_of(2): b"two"})
    second = delta({1: "a", 2: "B"}, templates=2)
    _, found = with_bodies([first, second])
    assert isinstance(found, ManifestDelta)
    assert found.manifests == {object_of(1): b"one"}


def test_what_a_stage_says_is_compared_with_the_last_that_was_said_of_the_same_origin() -> None:
    given, other = inventory(), inventory(2)
    before, broken = because_of(given, delta({1: "a"})), delta({}, templates=2, unknown=(1,))
    facts = facts_of(said(each, number) for number, each in enumerate([given, before, broken, other]))

    def replayed(now: Statement, *, failed: bool = False) -> Replayed:
        return Replayed(Stage.RENDERER, given, (now,), None, None, failed)

    (same,) = compare([replayed(delta({}, templates=9, unknown=(1,)))], facts, digests=False)
    assert (same.recorded, same.differences) == (facts[2].entry, [])
    assert same.entry == facts[0].entry
    (mended,) = compare([replayed(delta({1: "x"}, templates=9))], facts, digests=False)
    assert any("known again" in line for line in mended.differences)
    (new,) = compare([replayed(delta({}, inventory_at=2))], facts, digests=False)
    assert new.recorded is None
    assert [exit_code([one]) for one in (same, mended, new)] == [0, 1, 0]
    (failed,) = compare([replayed(broken, failed=True)], facts, digests=False)
    assert exit_code([same, failed]) == 2
