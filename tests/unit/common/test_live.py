"""What a live view makes of lists, events and own writes that come in whatever order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.kubernetes.api import Listing, Resource
from vcenter_operator.common.kubernetes.live import LiveView

One = tuple[str, int]


class View(LiveView[str, One]):
    """Name and version, and a list of what changed."""

    def __init__(self) -> None:
        super().__init__(cast(ApiClient, None), Resource("", "v1", "things"))
        self.told: list[tuple[One | None, One | None, bool]] = []

    def reduced(self, item: Mapping[str, Any]) -> One:
        return item["metadata"]["name"], int(item["metadata"]["resourceVersion"])

    def key(self, one: One) -> str:
        return one[0]

    def version(self, one: One) -> int:
        return one[1]

    def changed(self, before: One | None, after: One | None, *, own: bool) -> None:
        self.told.append((before, after, own))

    def shows(self) -> dict[str, int]:
        return {name: version for name, (_, version) in self.items.items()}


def item(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def view(*items: tuple[str, int], at: int = 10) -> View:
    made = View()
    made.listed(Listing([made.kept(item(*one)) for one in items], at), anyhow=True)
    made.told.clear()
    return made


def test_an_event_from_before_an_own_write_undoes_nothing() -> None:
    made = view(("a", 5))
    made.wrote(("a", 20))
    made.happened("MODIFIED", item("a", 15))
    assert (made.shows(), made.told) == ({"a": 20}, [(("a", 5), ("a", 20), True)])
    made.happened("MODIFIED", item("a", 20))
    assert len(made.told) == 1, "and its own is no news"
    made.happened("MODIFIED", item("a", 21))
    assert made.told[1:] == [(("a", 20), ("a", 21), False)]


def test_an_answer_that_is_late_undoes_no_event() -> None:
    made = view(("a", 5))
    made.happened("MODIFIED", item("a", 21))
    made.wrote(("a", 20))
    assert made.shows() == {"a": 21}


def test_what_was_deleted_here_does_not_come_back_with_an_old_event_or_list() -> None:
    made = view(("a", 5))
    made.wrote(("a", 12))
    made.deleted(("a", 12))
    made.happened("MODIFIED", item("a", 12))
    made.listed(Listing([("a", 12)], 13), anyhow=False)
    assert made.shows() == {}
    made.happened("DELETED", item("a", 14))
    made.wrote(("a", 16))
    assert made.shows() == {"a": 16}, "one that is made anew is another"


def test_the_end_of_an_earlier_object_does_not_end_its_successor() -> None:
    made = view(("a", 5))
    made.wrote(("a", 20))
    made.happened("DELETED", item("a", 15))
    assert made.shows() == {"a": 20}
    made.happened("DELETED", item("a", 21))
    assert made.shows() == {}


def test_a_list_replaces_all_but_what_was_written_since() -> None:
    made = view(("gone", 5), ("kept", 6), ("written", 7))
    made.wrote(("written", 20))
    made.wrote(("new", 21))
    made.listed(Listing([("kept", 6), ("written", 7), ("theirs", 9)], 15), anyhow=True)
    assert made.shows() == {"kept": 6, "written": 20, "new": 21, "theirs": 9}


def test_a_list_of_some_says_nothing_about_the_others() -> None:
    made = view(("a", 5), ("b", 6), ("c", 7))
    made.corrected([("a", 5), ("b", 6)], [("b", 6)], 12)
    assert made.shows() == {"b": 6, "c": 7}


def test_a_server_that_was_set_back_is_believed_at_the_next_list() -> None:
    made = view(("a", 50), ("b", 60), at=100)
    made.listed(Listing([("a", 4)], 9), anyhow=False)
    assert made.shows() == {"a": 50, "b": 60}, "a list that was under way is just old"
    made.listed(Listing([("a", 4)], 9), anyhow=True)
    assert (made.shows(), made.revision) == ({"a": 4}, 9)


def test_a_list_that_was_under_way_brings_nothing_back_that_ended_meanwhile() -> None:
    made = view(("a", 5), ("b", 6))
    made.happened("DELETED", item("a", 15))
    made.corrected([("b", 6)], [("a", 5), ("b", 6)], 12)
    assert made.shows() == {"b": 6}
    made.corrected([("b", 6)], [("b", 6), ("new", 18)], 19)
    assert made.shows() == {"b": 6, "new": 18}, "a list that is ahead of the watch brings what is new"


def test_a_late_answer_brings_nothing_back_that_ended_meanwhile() -> None:
    made = view(("a", 5))
    made.happened("MODIFIED", item("a", 20))
    made.happened("DELETED", item("a", 21))
    made.wrote(("a", 20))
    assert made.shows() == {}


def test_a_server_that_was_set_back_and_has_counted_on_is_believed_at_the_next_list() -> None:
    made = view(("a", 50), ("b", 60), at=100)
    made.wrote(("c", 130))
    made.listed(Listing([("a", 4), ("b", 110), ("c", 7)], 120), anyhow=True)
    assert made.shows() == {"a": 4, "b": 110, "c": 130}, "but what was written since the list stays"
