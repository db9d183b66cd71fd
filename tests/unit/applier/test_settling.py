"""What is an edit and what is a loss, over several statements while something fails, waits or is withheld."""

from __future__ import annotations

import pytest

from tests.unit.applier.given import (
    CINDER,
    HOST,
    NOVA,
    NOW,
    TEMPLATES,
    cluster,
    delta,
    deployment,
    entry,
    existing,
    owned,
    provenance,
    secret,
)
from vcenter_operator.applier.core.budget import Budget
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.decisions import Memory, Plan, Policy
from vcenter_operator.applier.core.outcome import Failure, Outcome
from vcenter_operator.applier.core.plan import plan
from vcenter_operator.applier.core.settling import section, without_a_plan
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta
from vcenter_operator.common.record.document import section_status
from vcenter_operator.common.record.port import Applied

AGENTS = {number: deployment(f"agent-bb{number}") for number in range(1, 10)}
THERE = existing(*(owned(agent, unit=cluster(number)) for number, agent in AGENTS.items()))
EDITED = {**TEMPLATES, NOVA: 2}
FORBIDDEN = Failure(secret("x"), CINDER, "403 Forbidden", permanent=False)


def yields(*numbers: int, templates: dict[str, int] = TEMPLATES, inputs: str = "i1") -> ManifestDelta:
    """What the templates yield for these clusters, where all nine exist."""
    index = {AGENTS[number]: entry(unit=cluster(number)) for number in numbers}
    return delta(index, units=[cluster(number) for number in AGENTS], templates=templates, inputs=inputs)


def planned(applied: Applied, stated: ManifestDelta) -> Plan:
    memory = Memory(
        applied.settled_templates, applied.settled_inputs, frozenset(applied.declared), frozenset(applied.held)
    )
    return plan(THERE, stated, memory, Policy(), NOW)


def concluded(applied: Applied, stated: ManifestDelta, outcome: Outcome) -> Applied:
    made = planned(applied, stated)
    return section(applied, stated, made, outcome, gone=(), owned=len(THERE), budget=Budget(), now=NOW)


@pytest.fixture
def settled() -> Applied:
    return Applied(acted_on=provenance(), settled_templates=dict(TEMPLATES), settled_inputs="i1")


@pytest.mark.parametrize("outcome", [Outcome(failed=(FORBIDDEN,)), Outcome(interrupted="away"), Outcome(frozen="f")])
@pytest.mark.parametrize("change", [{"templates": EDITED}, {"inputs": "i2"}])
def test_a_loss_after_an_edit_is_held_though_something_fails_since(
    settled: Applied, outcome: Outcome, change: dict[str, object]
) -> None:
    after = concluded(settled, yields(*AGENTS, **change), outcome)  # type: ignore[arg-type]
    loss = planned(after, yields(1, **change))  # type: ignore[arg-type]
    assert (len(loss.held), loss.deletes) == (8, ())


def test_what_an_edit_asks_to_go_stays_declared_until_it_is_gone_and_nothing_else_does(settled: Applied) -> None:
    edit = yields(*range(1, 5), templates=EDITED)
    assert [removal.inferred for removal in planned(settled, edit).deletes] == [False] * 5

    failing = concluded(settled, edit, Outcome(interrupted="the API server is away"))
    assert set(failing.declared) == {AGENTS[number] for number in range(5, 10)}
    again = planned(failing, edit)
    assert {removal.id: removal.inferred for removal in again.deletes} == dict.fromkeys(failing.declared, False)

    lost = planned(failing, yields(templates=EDITED))
    assert {removal.id for removal in lost.deletes} == set(failing.declared)
    assert {removal.id for removal in lost.held} == {AGENTS[number] for number in range(1, 5)}

    done = concluded(failing, edit, Outcome(deleted=failing.declared))
    assert done.declared == ()


def test_what_is_wanted_again_is_not_declared_any_more(settled: Applied) -> None:
    edit = yields(*range(1, 5), templates=EDITED)
    failing = concluded(settled, edit, Outcome(interrupted="the API server is away"))
    wanted: tuple[ObjectId, ...] = concluded(failing, yields(*AGENTS, templates=EDITED), Outcome()).declared
    assert wanted == ()


def test_what_is_held_is_still_held_where_nobody_can_say_what_there_is(settled: Applied) -> None:
    held = concluded(settled, yields(1), Outcome())
    assert len(held.held) == 8

    broken = without_a_plan(held, Outcome(interrupted="deployments cannot be listed: Forbidden"))

    assert {each.type: (each.status, each.reason) for each in broken.conditions} == {
        "Applied": ("False", "Retrying"),
        "DeletionHeld": ("True", "BeyondBudget"),
    }
    assert (broken.held, broken.held_plan) == (held.held, held.held_plan)


def test_nothing_is_shown_as_held_of_a_vcenter_that_keeps_all_since_it_is_gone(settled: Applied) -> None:
    held = concluded(settled, yields(1), Outcome())
    gone = concluded(held, delta({}, present=False), Outcome())
    assert section_status({}, held, NOW)["applier"]["heldCount"] == 8
    assert section_status({}, gone, NOW)["applier"]["heldCount"] == 0
    assert gone.held, "and none of it is declared when it is back"


def test_the_word_that_releases_is_shown_however_long_the_names_are() -> None:
    long = [deployment("n" * 240 + str(number)) for number in range(5)]
    there = existing(*(owned(each, unit=cluster(number)) for number, each in enumerate(long)))
    held = plan(there, delta({}, units=[cluster(9)]), Memory(dict(TEMPLATES), "i1"), Policy(), NOW)
    assert f"approve {HOST} --plan {held.held_plan}" in conditions(held, Outcome())[1].message
