"""What is stated anew when the zone changed, and with which revision."""

from hypothesis import given
from hypothesis import strategies as st

from vcenter_operator.common.identity import Revision
from vcenter_operator.discovery.core.changes import GONE, Revisions, Sighting, changes

HOSTS = st.sampled_from(["vc-a-0", "vc-b-0", "vc-c-0", "vc-d-0"])
ADDRESSES = st.sampled_from([(), ("10.0.0.1",), ("10.0.0.2",), ("10.0.0.1", "10.0.0.2")])
ZONES = st.dictionaries(HOSTS, ADDRESSES)


@given(st.lists(ZONES, min_size=1), st.sets(HOSTS))
def test_after_any_history_what_was_stated_is_the_last_zone_and_all_else_that_was_ever_seen_is_gone(
    history: list[dict[str, tuple[str, ...]]], remembered: set[str]
) -> None:
    stated: dict[str, Sighting] = {}
    for zone in history:
        stated |= changes(stated, zone, remembered)
        assert changes(stated, zone, remembered) == {}
    last = history[-1]
    assert {host: s.addresses for host, s in stated.items() if s.present} == last
    ever = remembered.union(*history)
    assert {host for host, s in stated.items() if not s.present} == ever - last.keys()


@given(ZONES, ZONES)
def test_only_what_differs_is_stated(before: dict[str, tuple[str, ...]], after: dict[str, tuple[str, ...]]) -> None:
    stated = changes({}, before, ())
    fresh = changes(stated, after, ())
    assert fresh.keys() == {host for host in before.keys() | after.keys() if before.get(host) != after.get(host)}


def test_remembered_and_never_seen_again_is_gone_at_the_first_zone() -> None:
    assert changes({}, {"vc-a-0": ()}, ["vc-a-0", "vc-b-0"]) == {"vc-a-0": Sighting(True), "vc-b-0": GONE}


def test_revisions_count_up_from_one_within_the_epoch() -> None:
    revisions = Revisions(7)
    assert [revisions.mint(), revisions.mint()] == [Revision(7, 1), Revision(7, 2)]
