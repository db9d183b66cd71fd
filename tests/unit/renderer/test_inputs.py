"""Templates, cells and Secret together: what counts as a change, and what a fresh look means."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.renderer.conftest import CELLS_AS_LISTED, FakeConfiguration, FakeWatched, becomes, unreachable
from tests.unit.renderer.region import configuration, resource
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.messages import Rollout, Step
from vcenter_operator.renderer.inputs import WatchedInputs


def watched() -> tuple[FakeWatched, FakeWatched, FakeConfiguration, WatchedInputs]:
    templates, cells = FakeWatched([resource("a", "x")]), FakeWatched(CELLS_AS_LISTED)
    secret = FakeConfiguration(configuration())
    return templates, cells, secret, WatchedInputs(templates, cells, secret)


async def changed(inputs: WatchedInputs) -> bool:
    try:
        await asyncio.wait_for(inputs.changed(), 0.05)
    except TimeoutError:
        return False
    return True


async def test_a_position_alone_is_no_change_but_is_known() -> None:
    templates, _, _, inputs = watched()
    await inputs.look_afresh()
    assert await changed(inputs)
    before = inputs.current
    templates.moved()
    await inputs.look_afresh()
    assert not await changed(inputs)
    after = inputs.current
    assert before is not None
    assert after is not None
    assert after.templates is before.templates
    assert after.templates_at == before.templates_at + 10
    assert after.name == before.name


async def test_the_name_of_cells_and_secret_changes_with_their_content_alone() -> None:
    """A label that somebody puts on them is no edit: what an inventory loses then still counts as inferred."""
    _, cells, secret, inputs = watched()

    async def name() -> str:
        await inputs.look_afresh()
        assert inputs.current is not None
        return inputs.current.name

    first = await name()
    secret.configuration = configuration(2)
    cells.hold({**CELLS_AS_LISTED[0], "metadata": CELLS_AS_LISTED[0]["metadata"] | {"resourceVersion": "77"}})
    assert await name() == first
    names = {first}
    for number, changed_secret in enumerate(({"tsig_key": "c2VjcmV0"}, {"password": "another"}, {"mine": "x"})):
        secret.configuration = configuration(3 + number, **changed_secret)
        names.add(await name())
    cells.hold({**CELLS_AS_LISTED[0], "data": {"cells": "cell3"}})
    assert len(names | {await name()}) == 5


async def test_nothing_is_known_before_a_fresh_look_succeeded() -> None:
    templates, cells, _, inputs = watched()
    following = asyncio.create_task(inputs.follow())
    try:
        templates.hold(resource("a", "x"))
        cells.hold(*CELLS_AS_LISTED)
        cells.away = unreachable()
        with pytest.raises(TransientError):
            await inputs.look_afresh()
        assert not await changed(inputs)
        assert inputs.current is None
        cells.away = None
        await inputs.look_afresh()
        assert inputs.current is not None
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_looks_that_are_asked_for_together_are_one_more_at_most() -> None:
    """Many partitions are taken at once at a start."""
    templates, _, _, inputs = watched()
    await asyncio.gather(*(inputs.look_afresh() for _ in range(8)))
    assert templates.fresh_lists <= 2
    before = templates.fresh_lists
    await inputs.look_afresh()
    assert templates.fresh_lists == before + 1


async def test_an_older_secret_is_not_gone_back_to() -> None:
    _, _, secret, inputs = watched()
    secret.configuration = configuration(9)
    await inputs.look_afresh()
    following = asyncio.create_task(inputs.follow())
    try:
        secret.becomes(configuration(3, other="x"))
        secret.becomes(configuration(10, other="y"))
        await becomes(lambda: inputs.current and inputs.current.configuration.version == 10, "followed")
        secret.becomes(configuration(4, other="z"))
        assert not await changed(inputs) or (inputs.current and inputs.current.configuration.version == 10)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_a_fresh_look_does_not_take_the_watchs_word_for_the_secret() -> None:
    """The last owner may have seen a newer one, and what is made from an older one is dropped until the next look."""
    _, _, secret, inputs = watched()
    secret.unseen = configuration(9)
    await inputs.look_afresh()
    assert inputs.current is not None
    assert inputs.current.configuration.version == 9


async def test_suspending_a_template_is_a_change_but_no_edit() -> None:
    """By annotation: the generation stays, and with it what deletions are told from."""
    templates, _, _, inputs = watched()
    plain = resource("a", "x")

    async def said(suspend: str) -> tuple[str, ...]:
        metadata = {**plain["metadata"], "annotations": {"vcenter-operator.stable.sap.cc/suspend": suspend}}
        templates.hold({**plain, "metadata": metadata})
        await inputs.look_afresh()
        assert await changed(inputs)
        assert inputs.current is not None
        assert inputs.current.templates.versions == versions
        return inputs.current.suspended

    templates.hold(plain)
    await inputs.look_afresh()
    assert await changed(inputs)
    assert inputs.current is not None
    versions = inputs.current.templates.versions
    assert inputs.current.suspended == ()
    assert await said("true") == ("monsoon3/a",)
    assert await said("false") == ()
    assert await said("") == ("monsoon3/a",)


async def test_how_far_a_rollout_is_counts_and_not_why_it_does_not_go_on() -> None:
    templates, cells, secret, _ = watched()
    inputs = WatchedInputs(templates, cells, secret, rolls_out=True)
    plain = resource("a", "x")
    plain["options"]["rollout"] = "canary"

    async def says(**rollout: Any) -> bool:
        templates.hold({**plain, "status": {"rollout": {"version": version, **rollout}}})
        await inputs.look_afresh()
        return await changed(inputs)

    templates.hold(plain)
    await inputs.look_afresh()
    assert await changed(inputs)
    assert inputs.current is not None
    (version,) = inputs.current.templates.rollouts.values()
    assert inputs.current.rollouts("vc-a") == {"monsoon3/a": Rollout(version=version, step=Step.CHECK)}
    assert await says(phase="Canary", canary="vc-a")
    assert inputs.current.rollouts("vc-a")["monsoon3/a"].step is Step.CANARY
    assert inputs.current.rollouts("vc-b")["monsoon3/a"].step is Step.CHECK
    assert not await says(phase="Canary", canary="vc-a", reason="waits")
    assert await says(phase="Done", canary="vc-a")
    assert inputs.current.rollouts("vc-b")["monsoon3/a"].step is Step.ALL
