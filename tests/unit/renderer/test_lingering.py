"""A template that went may be back in a moment, and no template at all is no evidence."""

from __future__ import annotations

import asyncio

from tests.unit.renderer.conftest import CELLS_AS_LISTED, FakeConfiguration, FakeWatched, becomes
from tests.unit.renderer.region import configuration, resource
from vcenter_operator.renderer.core.lingering import Lingering
from vcenter_operator.renderer.core.templates import TemplateSet
from vcenter_operator.renderer.inputs import WatchedInputs

A, B = resource("a", "x"), resource("b", "y")
BOTH, ONE, NONE = TemplateSet.of([A, B]), TemplateSet.of([A]), TemplateSet.of([])


def usable(templates: TemplateSet | None) -> dict[str, bool]:
    return {each.name: each.problem is None for each in (templates or {}).values()}


def test_one_that_went_is_unknown_for_a_while_then_gone() -> None:
    lingering = Lingering(10.0)
    assert lingering.seen(BOTH, 0.0) == (BOTH, None)
    believed = lingering.seen(ONE, 5.0)
    assert (usable(believed.templates), believed.until) == ({"a": True, "b": False}, 15.0)
    assert lingering.seen(ONE, 14.9).templates is believed.templates, "the same as before: nothing changed"
    assert lingering.seen(ONE, 15.0) == (ONE, None)


def test_one_that_is_back_counts_at_once() -> None:
    lingering = Lingering(10.0)
    lingering.seen(BOTH, 0.0)
    lingering.seen(ONE, 5.0)
    assert lingering.seen(BOTH, 6.0) == (BOTH, None)
    assert lingering.seen(ONE, 14.0).until == 24.0, "the time begins anew"


def test_none_at_all_is_no_evidence_and_they_come_back_one_by_one() -> None:
    lingering = Lingering(10.0)
    lingering.seen(BOTH, 0.0)
    assert lingering.seen(NONE, 5.0) == (None, None)
    assert lingering.seen(NONE, 9999.0) == (None, None)
    assert lingering.seen(ONE, 10000.0) == (None, 10010.0)
    assert lingering.seen(BOTH, 10001.0) == (None, 10010.0)
    assert lingering.seen(BOTH, 10010.0) == (BOTH, None)


def test_a_region_that_has_its_first_template_waits_but_a_restart_does_not() -> None:
    assert Lingering(10.0).seen(BOTH, 0.0) == (BOTH, None)
    first = Lingering(10.0)
    assert first.seen(NONE, 0.0).templates is None
    assert first.seen(ONE, 1.0).templates is None
    assert first.seen(ONE, 11.0).templates == ONE


def test_one_that_went_before_the_first_look_counts_from_that_look() -> None:
    """Who starts while a template is being replaced would take it for deleted."""
    lingering = Lingering(10.0)
    lingering.seen(ONE, 5.0)
    assert lingering.recall({"monsoon3/a": 1, "monsoon3/b": 7}, 6.0)
    believed = lingering.seen(ONE, 6.0)
    assert (usable(believed.templates), believed.until) == ({"a": True, "b": False}, 15.0)
    assert believed.templates is not None
    assert believed.templates.versions["monsoon3/b"] == 7
    assert not lingering.recall({"monsoon3/b": 7}, 7.0), "known already: nothing changed"
    assert lingering.seen(BOTH, 8.0) == (BOTH, None)
    assert lingering.seen(ONE, 9.0).until == 19.0


def test_what_is_recalled_late_has_been_gone_for_long_enough() -> None:
    lingering = Lingering(10.0)
    assert not lingering.recall({"monsoon3/b": 7}, 0.0), "nothing was seen yet"
    lingering.seen(ONE, 5.0)
    assert lingering.recalls(14.9)
    assert not lingering.recalls(15.0)
    assert not lingering.recall({"monsoon3/b": 7}, 15.0)
    assert lingering.seen(ONE, 15.0) == (ONE, None)


async def test_time_alone_makes_it_gone() -> None:
    templates, cells = FakeWatched([A, B]), FakeWatched(CELLS_AS_LISTED)
    inputs = WatchedInputs(templates, cells, FakeConfiguration(configuration()), grace=0.2)
    following = asyncio.create_task(inputs.follow())
    try:
        await inputs.look_afresh()
        templates.hold(A)
        await becomes(lambda: inputs.current and usable(inputs.current.templates) == {"a": True, "b": False}, "unknown")
        await becomes(lambda: inputs.current and usable(inputs.current.templates) == {"a": True}, "gone")
        templates.hold()
        await becomes(lambda: inputs.current and not inputs.current.complete, "nothing may be rendered")
        templates.hold(A, B)
        await becomes(lambda: inputs.current and inputs.current.complete, "all is well again")
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
