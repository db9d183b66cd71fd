"""How far a template goes: step by step, and never wider than what was seen to work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.renderer.region import resource
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import Provenance, Step, ZoneSource
from vcenter_operator.common.record.port import OK, Applied, Collected, Condition, Discovered, Record, RolledOut
from vcenter_operator.common.record.port import Rendered as RenderedSection
from vcenter_operator.renderer.core.rollout import Decision, Phase, Progress, decide, decided, progress_of
from vcenter_operator.renderer.core.templates import TemplateSet, parse_template

V = 7
FIRST = Revision(1, 1)
MADE_FROM = Provenance(zone=ZoneSource(revision=FIRST, serial=1), inventory=FIRST, templates=1, cells=1, config=1)
A = Progress("vc-a", checked=OK, changes=3, deployments=1)
B = Progress("vc-b", checked=OK, changes=3, deployments=1)
UNSEEN = Progress("vc-c")


def step(known: Decision | None, *vcenters: Progress, version: int = V, **more: Any) -> Decision:
    return decide(known, version, vcenters, **{"released": False, **more})


def at(phase: Phase, canary: str | None = "vc-a", reason: str = "") -> Decision:
    return Decision(V, phase, canary, reason)


def test_it_goes_from_check_to_canary_to_all() -> None:
    began = step(None, UNSEEN)
    assert (began.phase, began.reason) == (Phase.DRY_RUN, "dry run: waits for vc-c")
    led = step(began, B, A)
    assert led == at(Phase.CANARY)
    waiting = step(led, A, B)
    assert waiting == at(Phase.CANARY, reason="waits for the Deployments of vc-a")
    wide = step(waiting, replace(A, applied=OK), B)
    assert wide == at(Phase.WIDE)
    spreading = step(wide, replace(A, applied=OK), B)
    assert spreading == at(Phase.WIDE, reason="waits for vc-b")
    assert step(spreading, replace(A, applied=OK), replace(B, applied=OK)) == at(Phase.DONE)


def test_the_dry_run_waits_for_those_that_are_connected_and_rendered_alone() -> None:
    away, gone = replace(UNSEEN, awaited=False), replace(UNSEEN, awaited=False, present=False)
    assert step(None, A, away, gone).phase is Phase.CANARY
    assert step(None, A, UNSEEN).reason == "dry run: waits for vc-c"
    assert step(None, away).reason == "dry run: waits for a vCenter"
    many = [Progress(f"vc-{number}") for number in range(5)]
    assert step(None, *many).reason == "dry run: waits for vc-0, vc-1, vc-2 and 2 more"


def test_a_refusal_pauses_it_also_where_nobody_waits_for_it() -> None:
    refused = replace(B, awaited=False, checked="Deployment x: invalid")
    assert step(None, A, UNSEEN, refused) == at(Phase.PAUSED, None, "vc-b: Deployment x: invalid")


@pytest.mark.parametrize(
    ("vcenters", "canary"),
    [
        ([replace(A, deployments=0), B], "vc-b"),
        ([replace(A, awaited=False), B], "vc-b"),
        ([replace(A, changes=0, deployments=0), replace(B, deployments=0)], "vc-b"),
        ([replace(A, awaited=False)], "vc-a"),
    ],
)
def test_the_canary_is_one_that_shows_something(vcenters: list[Progress], canary: str) -> None:
    assert step(None, *vcenters).canary == canary


def test_what_changes_nothing_needs_no_canary() -> None:
    assert step(None, replace(A, changes=0, deployments=0)) == at(Phase.WIDE, None)


@pytest.mark.parametrize(
    ("canary", "reason"),
    [
        (replace(A, applied="Deployment x: ProgressDeadlineExceeded"), "vc-a: Deployment x: ProgressDeadlineExceeded"),
        (replace(A, present=False), "vc-a: is gone"),
    ],
)
def test_a_canary_that_fails_pauses_it(canary: Progress, reason: str) -> None:
    assert step(at(Phase.CANARY), canary, B) == at(Phase.PAUSED, reason=reason)


def test_paused_ends_by_an_edit_or_a_word() -> None:
    paused = at(Phase.PAUSED, reason="vc-a: fails")
    assert step(paused, replace(A, applied=OK), replace(B, applied=OK)) == paused
    assert step(paused, A, B, released=True) == at(Phase.WIDE)
    edited = step(paused, UNSEEN, version=8)
    assert (edited.version, edited.phase, edited.canary) == (8, Phase.DRY_RUN, None)


def test_what_fails_when_it_is_everywhere_stops_nothing() -> None:
    failing = [replace(A, applied=OK), replace(B, applied="Deployment x: invalid")]
    assert step(at(Phase.WIDE), *failing) == at(Phase.WIDE, reason="vc-b: Deployment x: invalid")


def test_a_suspended_template_stands_still() -> None:
    assert step(None, A, suspended=True).reason == "the template is suspended"
    assert step(at(Phase.CANARY), replace(A, applied=OK), suspended=True, released=True).phase is Phase.CANARY
    assert step(at(Phase.DONE), A, suspended=True) == at(Phase.DONE)


@pytest.mark.parametrize("phase", Phase)
def test_who_may_go_how_far(phase: Phase) -> None:
    far = {Phase.WIDE: (Step.ALL, Step.ALL), Phase.DONE: (Step.ALL, Step.ALL)}
    decision = at(phase)
    assert (decision.step("vc-a", V), decision.step("vc-b", V)) == far.get(phase, (Step.CANARY, Step.CHECK))
    assert decision.step("vc-a", V + 1) is Step.CHECK


said = st.sampled_from([None, OK, "refused"])
progress = st.builds(
    Progress,
    st.sampled_from(["vc-a", "vc-b", "vc-c"]),
    awaited=st.booleans(),
    present=st.booleans(),
    checked=said,
    changes=st.integers(0, 2),
    deployments=st.integers(0, 2),
    applied=said,
)
regions = st.lists(progress, max_size=3, unique_by=lambda one: one.host)
events = st.tuples(regions, st.integers(1, 2), st.booleans(), st.booleans())


@given(st.lists(events, max_size=12))
def test_it_never_goes_wider_than_what_was_seen_to_work(happened: list[tuple[list[Progress], int, bool, bool]]) -> None:
    known: Decision | None = None
    for vcenters, version, released, suspended in happened:
        now = decide(known, version, vcenters, released=released, suspended=suspended)
        assert now.version == version
        same = known is not None and known.version == version
        before = known.phase if known is not None and same else Phase.DRY_RUN
        there = {one.host: one for one in vcenters if one.present}
        if now.phase in (Phase.WIDE, Phase.DONE) and before not in (Phase.WIDE, Phase.DONE):
            nothing_changes = before is Phase.DRY_RUN and not any(
                one.checked == OK and one.changes for one in there.values()
            )
            canary = there.get(now.canary or "")
            available = before is Phase.CANARY and canary is not None and canary.applied == OK
            assert released or nothing_changes or available
        if now.phase is Phase.CANARY and before is not Phase.CANARY:
            assert all(one.checked == OK for one in there.values() if one.awaited or one.checked)
        if before is Phase.PAUSED and not released:
            assert now == known
        if now.phase is Phase.PAUSED and before is not Phase.PAUSED:
            assert now.reason
        known = now


@given(st.lists(regions, max_size=8))
def test_what_is_decided_survives_the_status(happened: list[list[Progress]]) -> None:
    known: Decision | None = None
    for vcenters in happened:
        known = decide(known, V, vcenters, released=False)
        assert decided({"status": {"rollout": known.as_status()}}) == known


@pytest.mark.parametrize("status", [None, {}, {"rollout": None}, {"rollout": {"version": "7", "phase": "Done"}},
                                    {"rollout": {"version": 7, "phase": "Somehow"}}])  # fmt: skip
def test_a_status_that_cannot_be_read_is_none(status: Any) -> None:
    assert decided({"status": status}) is None


def record(connected: str = "True", rendered: str = "True", *, present: bool = True, version: int = V) -> Record:
    def says(kind: str, status: str) -> tuple[Condition, ...]:
        return (Condition.model_validate({"type": kind, "status": status, "reason": "Because"}),)

    noted = RolledOut(version=version, checked=OK, changes=3, deployments=1)
    applied = Applied(acted_on=MADE_FROM, rollouts={"monsoon3/nova": noted})
    return Record(
        host="vc-a",
        version="1",
        discovered=Discovered(present=present, serial=1, revision=FIRST),
        collected=Collected(revision=FIRST, conditions=says("Connected", connected)),
        rendered=RenderedSection(conditions=says("Rendered", rendered)),
        applied=applied,
    )


def test_a_record_says_how_far_its_vcenter_is() -> None:
    assert progress_of(record(), "monsoon3/nova", V) == A
    assert progress_of(record(version=6), "monsoon3/nova", V) == Progress("vc-a")
    assert progress_of(record(), "monsoon3/other", V) == Progress("vc-a")
    assert not progress_of(record(connected="False"), "monsoon3/nova", V).awaited
    assert not progress_of(record(rendered="Unknown"), "monsoon3/nova", V).awaited
    assert not progress_of(record(present=False), "monsoon3/nova", V).present


def rolled(name: str, generation: int = 1, scope: str = "cluster", rollout: Any = "canary") -> dict[str, Any]:
    made = resource(name, "", scope=scope)
    made["metadata"] |= {"uid": name, "generation": generation}
    made["options"]["rollout"] = rollout
    return made


@pytest.mark.parametrize("value", [None, "", "Canary", "canarie", True, 1])
def test_a_typo_does_not_mean_no_rollout(value: Any) -> None:
    template = parse_template(rolled("nova", rollout=value))
    assert template.problem == "options.rollout can only be 'canary'"


def test_an_edit_of_it_or_of_a_library_is_another_version() -> None:
    def version(*resources: dict[str, Any]) -> int:
        return TemplateSet.of(resources).rollouts["monsoon3/nova"]

    library, plain = rolled("library", scope="jinja2"), resource("cinder", "")
    first = version(rolled("nova"), library)
    assert version(rolled("nova"), library, plain) == first
    assert version(rolled("nova", generation=2), library) != first
    assert version(rolled("nova"), rolled("library", generation=2, scope="jinja2")) != first
    assert TemplateSet.of([library, plain]).rollouts == {}
