"""An older serial is a server that lags behind, until nothing else has been seen for long and often enough."""

from __future__ import annotations

from vcenter_operator.discovery.core.lineage import LOOKS, Lineage, Standing

S = Standing


def known(serial: int, patience: float = 60.0) -> Lineage:
    made = Lineage(patience=patience)
    made.accept(serial)
    return made


def test_nothing_is_known_at_first_and_anything_is_newer() -> None:
    assert Lineage(patience=60).weigh(7, 0.0) is S.NEWER


def test_same_newer_and_older() -> None:
    lineage = known(10)
    assert [lineage.weigh(serial, 0.0) for serial in (10, 11, 9)] == [S.SAME, S.NEWER, S.BEHIND]


def test_serials_wrap_around_and_two_without_order_are_not_newer() -> None:
    lineage = known(2**32 - 1)
    assert lineage.weigh(3, 0.0) is S.NEWER
    lineage.accept(3)
    assert lineage.weigh(2**32 - 1, 0.0) is S.BEHIND
    assert lineage.weigh(3 + 2**31, 0.0) is S.BEHIND


def test_only_older_ones_for_long_and_often_enough_are_a_set_back() -> None:
    lineage = known(10)
    standings = [lineage.weigh(4 + number % 3, number * 60 / (LOOKS - 1)) for number in range(LOOKS)]
    assert standings == [S.BEHIND] * (LOOKS - 1) + [S.SET_BACK]


def test_long_is_not_enough_nor_is_often() -> None:
    rarely, often = known(10), known(10)
    assert {rarely.weigh(4, number * 60.0) for number in range(LOOKS - 1)} == {S.BEHIND}
    assert {often.weigh(4, number * 0.1) for number in range(LOOKS * 10)} == {S.BEHIND}


def test_one_look_at_the_newest_ends_the_doubt() -> None:
    lineage = known(10)
    for number in range(10 * LOOKS):
        serial = 10 if number % (LOOKS - 1) == 0 else 9
        assert lineage.weigh(serial, number * 30.0) in (S.SAME, S.BEHIND)
    assert lineage.doubted


def test_after_a_set_back_serials_go_on_from_there() -> None:
    lineage = known(10)
    lineage.accept(4)
    assert not lineage.doubted
    assert [lineage.weigh(serial, 0.0) for serial in (4, 5, 3)] == [S.SAME, S.NEWER, S.BEHIND]


def test_without_patience_an_older_one_is_a_set_back_at_once() -> None:
    assert known(10, patience=0).weigh(9, 0.0) is S.SET_BACK


def test_what_was_recorded_counts_as_known() -> None:
    lineage = Lineage(patience=60)
    lineage.remember([5, 9, 7])
    assert lineage.newest == 9
    assert lineage.weigh(8, 0.0) is S.BEHIND
