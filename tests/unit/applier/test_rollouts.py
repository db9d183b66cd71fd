"""What waits for a rollout, and what is noted of it: by pure functions, and by the stage on a folder."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.applier.given import (
    CINDER,
    HOST,
    NOVA,
    NOW,
    TEMPLATES,
    cluster,
    config_map,
    delta,
    deployment,
    entry,
    existing,
    manifest,
    owned,
    provenance,
    stated,
)
from tests.unit.applier.stage import Region, Watched, until
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.deciding import decide
from vcenter_operator.applier.core.decisions import Memory, Plan, Policy, Withheld
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.core.outcome import Failure, Outcome
from vcenter_operator.applier.core.rollouts import Checked, availability, noted, to_check
from vcenter_operator.applier.ports import Guard
from vcenter_operator.common.errors import PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta, Rollout, Step, Unknown
from vcenter_operator.common.record.orders import Orders, PolicyName
from vcenter_operator.common.record.port import OK, RolledOut

V = 7
NEW, CHANGED, GONE, OTHER = deployment("new"), deployment("changed"), config_map("gone"), deployment("other")
OBSERVED = existing(owned(CHANGED, digest="old"), owned(GONE), owned(OTHER, CINDER, digest="old"))
STATED = delta({NEW: entry(), CHANGED: entry(), OTHER: entry(CINDER)}, units=[cluster(1)])
ALL_OK: Checked = {NEW: ("d1", OK), CHANGED: ("d1", OK)}


def rolled(step: Step, version: int = V, of: ManifestDelta = STATED, **more: Any) -> ManifestDelta:
    return of.model_copy(update={"rollouts": {NOVA: Rollout(version=version, step=step)}, **more})


def planned(stated: ManifestDelta, orders: Orders | None = None) -> Plan:
    memory = Memory(settled_templates={**TEMPLATES, NOVA: 0})
    return decide(OBSERVED, stated, memory, Policy(), orders or Orders(), NOW)


def note(
    stated: ManifestDelta,
    checked: Checked = ALL_OK,
    before: RolledOut | None = None,
    orders: Orders | None = None,
    outcome: Outcome | None = None,
    available: str | None = None,
    plan: Plan | None = None,
) -> RolledOut:
    known = {NOVA: before} if before else None
    made = plan or planned(stated, orders)
    notes = noted(known, stated, made, outcome or Outcome(), checked, {NOVA: available})
    assert notes is not None
    assert notes.keys() == {NOVA}
    return notes[NOVA]


def test_until_its_turn_nothing_of_a_template_is_written_or_deleted() -> None:
    plan = planned(rolled(Step.CHECK))
    assert ([change.id for change in (*plan.creates, *plan.updates)], plan.deletes) == ([OTHER], ())
    assert {one.id: (one.by, one.action) for one in plan.withheld} == {
        NEW: (Withheld.ROLLING_OUT, "create"),
        CHANGED: (Withheld.ROLLING_OUT, "update"),
        GONE: (Withheld.ROLLING_OUT, "delete"),
    }
    assert {change.id for change in to_check(plan)} == {NEW, CHANGED}
    applied, _ = conditions(plan, Outcome())
    assert (applied.status, applied.reason) == ("False", "RollingOut")
    assert applied.message.startswith(
        f"template {NOVA} is rolled out, and not here yet: 1 to create, 1 to update, 1 to delete"
    )


@pytest.mark.parametrize("step", [Step.CANARY, Step.ALL])
def test_then_all_of_it_is(step: Step) -> None:
    assert planned(rolled(step)) == planned(STATED)


def test_without_a_rollout_nothing_is_noted() -> None:
    assert noted({NOVA: RolledOut(version=V)}, STATED, planned(STATED), Outcome(), {}, {}) is None


def test_a_check_is_noted_when_every_manifest_has_its_answer() -> None:
    waits = rolled(Step.CHECK)
    assert note(waits) == RolledOut(version=V, checked=OK, changes=3, deployments=2)
    assert note(waits, {NEW: ("d1", OK)}).checked is None
    assert note(waits, {**ALL_OK, NEW: ("d0", OK)}).checked is None, "another manifest was checked"
    refused = note(waits, {**ALL_OK, NEW: ("d1", "422: spec.replicas")})
    assert refused.checked == "Deployment monsoon3/new: 422: spec.replicas"
    assert note(rolled(Step.CHECK, of=STATED.model_copy(update={"manifests": {}}))).checked is None, "asked for"


def test_what_a_person_holds_back_is_not_what_the_rollout_holds_back() -> None:
    for orders in (Orders(suspended=True), Orders(policy=PolicyName.OBSERVE)):
        assert note(rolled(Step.CHECK), {}, orders=orders) == RolledOut(version=V, checked=OK)
        assert note(rolled(Step.CANARY), orders=orders, available=OK).applied is None


def test_of_a_template_that_is_suspended_or_fails_nothing_new_is_noted() -> None:
    known = RolledOut(version=V, checked=OK, changes=1)
    kept: list[dict[str, Any]] = [
        {"suspended": (NOVA,)},
        {"unknown": (Unknown(template=NOVA, unit=cluster(2), reason="line 3"),)},
        {"unknown": (Unknown(template=None, unit=None, reason="nothing can be rendered"),)},
    ]
    for more in kept:
        assert note(rolled(Step.CHECK, **more), {}, before=known) == known
        assert note(rolled(Step.CHECK, 8, **more), {}, before=known) == RolledOut(version=8)
    lost = (Unknown(template=None, unit=cluster(2), reason="cannot be read"),)
    assert note(rolled(Step.CHECK, unknown=lost)).checked == OK, "another cluster is no matter of the template"


def test_a_canary_is_done_when_all_is_written_and_available() -> None:
    known, done = RolledOut(version=V, checked=OK, changes=3, deployments=2), Plan(HOST)
    canary = rolled(Step.CANARY)
    assert note(canary, before=known, plan=done).applied is None
    assert note(canary, before=known, plan=done, available=OK) == known.model_copy(update={"applied": OK})
    assert note(canary, before=known, plan=done, available="too late").applied == "too late"
    interrupted = Outcome(interrupted="the partition was lost")
    assert note(canary, plan=done, outcome=interrupted, available=OK).applied is None
    for permanent, applied in ((True, "Deployment monsoon3/new: no"), (False, None)):
        failed = Outcome(failed=(Failure(NEW, NOVA, "no", permanent),))
        assert note(canary, plan=done, outcome=failed, available=OK).applied == applied
    others = Outcome(failed=(Failure(OTHER, CINDER, "no", permanent=True),))
    assert note(canary, plan=done, outcome=others, available=OK).applied == OK
    assert note(rolled(Step.ALL), plan=done).applied == OK, "whether it works was seen in the canary"


def shown(**status: Any) -> dict[str, Any]:
    done = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    return {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {**done, **status}}


TOO_LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, None),
        (shown(), OK),
        ({"metadata": {"generation": 1}, "spec": {"replicas": 0}, "status": {"observedGeneration": 1}}, OK),
        ({"metadata": {"generation": 1}, "spec": {}}, None),
        (shown(observedGeneration=1), None),
        (shown(updatedReplicas=1), None),
        (shown(availableReplicas=1), None),
        (shown(replicas=3), None),
        (shown(availableReplicas=1, conditions=[TOO_LATE]), "ProgressDeadlineExceeded: timed out"),
        (shown(observedGeneration=1, conditions=[TOO_LATE]), None),
        (shown(conditions=[{"type": "Progressing", "reason": "NewReplicaSetAvailable"}]), OK),
    ],
)
def test_a_deployment_is_available_as_kubectl_tells_it(found: dict[str, Any] | None, said: str | None) -> None:
    assert availability(found) == said


class Checking(Watched):
    """A folder whose server refuses what a test wants, and whose Deployments are as a test says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.checked: list[ObjectId] = []
        self.refusal: Exception | None = None
        self.shown: dict[ObjectId, Mapping[str, Any]] = {}
        self.reads = 0

    async def check(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> None:
        self.checked.append(object_id)
        if self.refusal is not None:
            raise self.refusal
        await super().check(host, object_id, manifest, current, guard)

    async def deployments(self, host: str, namespaces: Collection[str]) -> dict[ObjectId, Mapping[str, Any]]:
        self.reads += 1
        return dict(self.shown)


A, B = deployment("a"), deployment("b")
_templates = iter(range(2, 100))


def goes(step: Step, version: int = V, *, content: int = 1) -> ManifestDelta:
    """Both templates state a Deployment; one of them is rolled out."""
    made = stated(
        manifest(A, spec={"content": content}),
        manifest(B, template=CINDER, spec={"content": content}),
        made_from=provenance(templates=next(_templates)),
    )
    return rolled(step, version, of=made)


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return Region(tmp_path)


async def notes(region: Region) -> RolledOut | None:
    applied = await region.applied(HOST)
    return (applied.rollouts or {}).get(NOVA) if applied else None


async def noting(region: Region, **said: Any) -> None:
    """Waits until this is noted."""
    async with asyncio.timeout(10):
        while (known := await notes(region)) is None or not known.model_dump().items() >= said.items():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcenter_operator.applier.rollingout._READ_EVERY", 0.02)


async def test_step_by_step(region: Region) -> None:
    server = Checking(region.output)
    server.shown = {A: shown(availableReplicas=1)}
    async with region.applier(server, look_every=0.2, available_for=0.1):
        await region.state(goes(Step.CHECK))
        await noting(region, version=V, checked=OK, changes=1, deployments=1, applied=None)
        await region.shows(HOST, "RollingOut")
        assert (server.writes, server.checked, server.reads) == ([B], [A], 0), "the other template is written at once"
        await region.state(goes(Step.CHECK))
        await until(lambda: len(region.plans) > 1)
        assert server.checked == [A], "once is enough"

        await region.state(goes(Step.CANARY))
        await region.shows(HOST, "AsStated")
        assert server.writes == [B, A]
        await until(lambda: server.reads > 3, "it is read again and again")
        await noting(region, applied=None)
        server.shown = {A: shown(conditions=[TOO_LATE])}
        await noting(region, applied="Deployment monsoon3/a: ProgressDeadlineExceeded: timed out")
        server.shown = {A: shown()}
        before = server.reads
        await noting(region, applied=OK)
        assert server.reads >= before + 2, "available at two looks"

        await region.state(goes(Step.ALL))
        before = server.reads
        await until(lambda: region.plans[-1][1].empty and server.reads == before)
        await noting(region, version=V, checked=OK, changes=1, applied=OK)


async def test_a_refusal_is_noted_and_nothing_else_asked_until_the_manifest_changes(region: Region) -> None:
    server = Checking(region.output)
    server.refusal = PermanentError("422: spec.replicas")
    async with region.applier(server, look_every=0.2):
        await region.state(goes(Step.CHECK))
        await noting(region, checked="Deployment monsoon3/a: 422: spec.replicas")
        planned_then = len(region.plans)
        await region.state(goes(Step.CHECK))
        await until(lambda: len(region.plans) > planned_then)
        assert server.checked == [A]
        server.refusal = None
        await region.state(goes(Step.CHECK, 8, content=2))
        await noting(region, version=8, checked=OK)
    assert server.checked == [A, A]
    assert A not in server.writes


async def test_a_check_that_got_no_answer_is_made_again(region: Region) -> None:
    server = Checking(region.output)
    server.refusal = TransientError("the API server is away")
    async with region.applier(server):
        await region.state(goes(Step.CHECK))
        await until(lambda: len(server.checked) > 2)
        await noting(region, version=V, checked=None)
        server.refusal = None
        await noting(region, checked=OK)


async def test_what_a_new_owner_finds_noted_is_not_read_again(region: Region) -> None:
    server = Checking(region.output)
    server.shown = {A: shown()}
    async with region.applier(server, look_every=0.2, available_for=0.0):
        await region.state(goes(Step.CANARY))
        await noting(region, applied=OK)
    before = server.reads
    async with region.applier(server, look_every=0.2):
        await region.state(goes(Step.CANARY))
        await until(lambda: len(region.plans) > 1)
        await noting(region, applied=OK)
    assert server.reads == before


async def test_a_plain_template_costs_no_request_and_says_nothing(region: Region) -> None:
    server = Checking(region.output)
    plain = stated(manifest(A), made_from=provenance(templates=next(_templates)))
    async with region.applier(server, look_every=0.2):
        await region.state(plain)
        await region.shows(HOST, "AsStated")
    applied = await region.applied(HOST)
    assert applied is not None
    assert applied.rollouts is None
    assert (server.checked, server.reads) == ([], 0)
