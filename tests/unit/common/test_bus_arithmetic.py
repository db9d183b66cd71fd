"""The numbers behind the bus: delays and their steps, fair shares, and how long an ownership may be relied on."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcenter_operator.common.bus import Ownership, Topology
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint
from vcenter_operator.common.bus.sharing import fair_share
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import OwnershipLost
from vcenter_operator.common.messages import Stage

delays = st.builds(RetryDelays, first=st.floats(0.01, 10), longest=st.floats(10, 3600))


def test_the_default_delays() -> None:
    assert RetryDelays().steps == (0.5, 1, 2, 4, 8, 16, 32, 60)
    assert RetryDelays(first=1, longest=1).steps == (1,)


@given(delays, st.integers(1, 10_000))
def test_a_delay_grows_with_jitter_and_has_a_step_that_it_is_rounded_up_to(of: RetryDelays, attempts: int) -> None:
    delay = of.after(attempts)
    longest = of.steps[min(attempts, len(of.steps)) - 1]
    assert 0.74 * longest <= delay <= longest
    assert of.step(delay) in of.steps
    assert delay <= of.step(delay) <= longest


def test_a_delay_beyond_all_steps_is_cut() -> None:
    assert RetryDelays().step(7200) == 60


@given(st.integers(1, 256), st.integers(0, 300))
def test_shares_cover_all_and_none_exceeds_its_part_by_more_than_one(partitions: int, members: int) -> None:
    share = fair_share(partitions, members)
    assert share * max(1, members) >= partitions
    assert (share - 1) * max(1, members) < partitions


def test_discovery_has_one_partition_and_the_others_have_p() -> None:
    topology = Topology(partitions=6)
    assert [topology.partitions_of(stage) for stage in Stage] == [1, 6, 6, 6]
    assert topology.partition(Stage.DISCOVERY, "vc-a-0.example.test") == 0


def test_an_ownership_expires_without_a_word_and_is_renewed_by_what_was_asked() -> None:
    ownership = Ownership(Stage.APPLIER, 3, epoch=7, valid_for=10.0, confirmed_at=time.monotonic() - 11)
    with pytest.raises(OwnershipLost, match=r"partition 3 of applier is no longer owned \(epoch 7\)"):
        ownership.verify()
    ownership.renew(time.monotonic() - 5)
    ownership.verify()
    ownership.renew(time.monotonic() - 60)
    assert ownership.held, "an older answer takes nothing back"
    ownership.end()
    ownership.renew()
    assert not ownership.held


@given(st.integers(1, 300))
def test_an_ownership_expires_before_the_broker_gives_the_lock_away(heartbeat: int) -> None:
    """The broker closes a silent connection two to three of its heartbeats after the last sign."""
    endpoint = Endpoint.parse("amqp://broker/", heartbeat, None)
    assert endpoint.valid_for < 2 * endpoint.heartbeat
    assert endpoint.url.query["heartbeat"] == str(endpoint.heartbeat)
    if heartbeat > 1:
        assert 3 * endpoint.heartbeat <= 2 * heartbeat, "settings promise twice the time"
