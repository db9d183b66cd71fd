"""When a vCenter that fails is tried again, and when one that refuses the account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vcenter_operator.collector.circuit import OPENS_AFTER, REFUSALS, Circuit, Rests, refused

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RESTS = Rests(first=30.0, later=600.0)


def test_the_circuit_opens_after_failures_in_a_row_and_says_so_in_one_text() -> None:
    circuit = Circuit(longest=60)
    assert [circuit.is_open for _ in range(OPENS_AFTER) if circuit.failed()] == [False] * (OPENS_AFTER - 1) + [True]
    said = circuit.describe()
    circuit.failed()
    assert circuit.describe() == said != ""


def test_delays_grow_to_the_longest_and_never_beyond() -> None:
    circuit = Circuit(longest=60)
    delays = [circuit.failed() for _ in range(50)]
    assert delays[0] <= 0.5
    assert all(45 <= delay <= 60 for delay in delays[10:])
    assert len(set(delays[10:])) > 10, "many vCenters that went down together are not tried together"


def test_only_a_session_that_outlasted_the_longest_delay_closes_it() -> None:
    circuit = Circuit(longest=60, failures=5)
    circuit.failed(lasted=59)
    assert circuit.is_open
    assert circuit.failed(lasted=60) <= 0.5
    assert not circuit.is_open


def test_each_refused_login_rests_and_the_third_in_a_row_and_each_later_one_for_longer() -> None:
    count = None
    for times in range(1, REFUSALS + 3):
        count = refused(count, "these", NOW)
        expected = RESTS.later if times >= REFUSALS else RESTS.first
        assert (count.times, RESTS.left(count, NOW)) == (times, expected)
    assert count is not None
    assert RESTS.left(count, NOW + timedelta(seconds=599)) == 1
    assert RESTS.left(count, NOW + timedelta(seconds=601)) == 0


def test_other_credentials_are_counted_from_one() -> None:
    count = refused(refused(refused(None, "these", NOW), "these", NOW), "these", NOW)
    assert refused(count, "others", NOW).times == 1


def test_a_clock_that_is_behind_does_not_rest_for_longer() -> None:
    count = refused(refused(refused(None, "these", NOW), "these", NOW), "these", NOW)
    assert RESTS.left(count, NOW - timedelta(days=1)) == RESTS.later
