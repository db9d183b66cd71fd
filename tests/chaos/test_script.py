"""The script of a run: nothing but the seed decides it."""

from __future__ import annotations

import pytest

from tests.chaos.script import NIGHTLY, SHORT, Script, Size, script
from tests.chaos.world import Template, VCenter, World


def play(seed: int, size: Size) -> Script:
    vcenters = {
        "vc-a-0": VCenter.as_built("QA-DE-1A", 10, 11),
        "vc-b-0": VCenter.as_built("QA-DE-1B", 20, listed=False),
        "vc-q-0": VCenter.as_built("QA-DE-1E", 40, quiet=True),
    }
    world = World(vcenters, {"nova": Template("cluster", "EDITION"), "note": Template("cluster", "", passing=True)})
    world.begin()
    return script(seed, size, world)


def told(script: Script) -> list[tuple[float, str]]:
    return [(step.pause, step.text) for step in script.steps]


@pytest.mark.parametrize("size", [SHORT, NIGHTLY])
def test_the_same_seed_has_the_same_script_and_another_has_another(size: Size) -> None:
    assert told(play(7, size)) == told(play(7, size))
    assert told(play(7, size)) != told(play(8, size))


@pytest.mark.parametrize("seed", range(50))
def test_every_fault_is_over_and_the_end_is_determined(seed: int) -> None:
    script = play(seed, SHORT)
    struck = [step.text.removeprefix("! ") for step in script.steps if step.text.startswith("! ")]
    over = [step.text.removeprefix("  over: ") for step in script.steps if step.text.startswith("  over: ")]
    assert sorted(struck) == sorted(over)
    assert len(set(struck)) == len(struck) == 32
    assert not any(template.broken for template in script.end.templates.values())
    assert all(vcenter.listed or vcenter.quiet for vcenter in script.end.vcenters.values())
    assert all(vcenter.clusters for vcenter in script.end.vcenters.values())


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_changed_in_a_server_that_is_away(seed: int) -> None:
    away: set[str] = set()
    for step in play(seed, SHORT).steps:
        if step.text.startswith("! "):
            away.add(step.text.split()[1])
        elif step.text.startswith("  over: "):
            away.discard(step.text.split()[1])
        elif step.text.startswith("  template"):
            assert "kubernetes" not in away
        elif step.text.startswith("  zone"):
            assert "zone" not in away
        else:
            assert not [name for name in away if name in step.text]
