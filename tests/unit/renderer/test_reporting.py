"""What the renderer says in the status of templates and in the record: true, by one writer each, and not often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.record import MemoryStore
from tests.unit.renderer.conftest import (
    CELLS_AS_LISTED,
    QUICK,
    Board,
    FakeConfiguration,
    FakeWatched,
    Scene,
    ToldEvents,
    becomes,
)
from tests.unit.renderer.region import HOST, OTHER, SECRET, configmap, configuration, inventory, only, resource
from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.identity import Unit, partition_of
from vcenter_operator.common.messages import Stage
from vcenter_operator.renderer.core.account import Account, Outcome, partition_entry
from vcenter_operator.renderer.core.failures import Failure
from vcenter_operator.renderer.core.templates import TemplateSet
from vcenter_operator.renderer.inputs import WatchedInputs
from vcenter_operator.renderer.ports import Job
from vcenter_operator.renderer.reporting import Pace, Reporting
from vcenter_operator.renderer.service import RendererService
from vcenter_operator.renderer.vcenter import VCenter

NOVA, CINDER = "monsoon3/nova", "monsoon3/cinder"
HOSTS = [f"vc-m-{number}.cc.qa-de-1.cloud.sap" for number in range(60)]
PATH = "vcenter_cluster/monsoon3/nova.yaml.j2"


def nova(text: str = "{{ cluster_name }}", generation: int = 1) -> dict[str, Any]:
    made = resource("nova", configmap("nova-{{ name }}", cluster=text))
    made["metadata"] |= {"uid": "nova", "generation": generation}
    return made


def cinder() -> dict[str, Any]:
    return resource("cinder", configmap("cinder-{{ availability_zone }}"), scope="datacenter")


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    made.tells_templates = True
    return made


def edit(scene: Scene, text: str, generation: int) -> None:
    """Somebody edits nova."""
    edited = nova(text, generation) | {"status": scene.board.status(NOVA)}
    scene.templates.hold(edited, scene.templates.named(CINDER))


async def test_what_is_rendered_is_told_of_templates_and_vcenters(scene: Scene) -> None:
    async with scene.renderer(nova(), cinder()):
        await scene.tell()
        await scene.tell(host=OTHER)
        await becomes(lambda: scene.board.status(NOVA).get("objects") == 4, "all is told")
        await becomes(lambda: scene.store.records.keys() == {HOST, OTHER}, "recorded")
        await becomes(lambda: scene.board.condition(CINDER).get("message") == "rendered 4 times, 4 objects", "cinder")
    status = scene.board.status(NOVA)
    assert (status["observedGeneration"], status["renderings"], status["failed"]) == (1, 4, 0)
    assert "problem" not in status
    assert sum(entry["vCenters"] for entry in status["partitions"]) == 2
    assert scene.board.condition(NOVA).items() >= {"status": "True", "reason": "Rendered"}.items()
    rendered = scene.store.records[HOST].rendered
    assert rendered is not None
    (condition,) = rendered.conditions
    assert (rendered.objects, rendered.failing) == (4, 0)
    assert (condition.status, condition.reason, condition.message) == ("True", "Rendered", "4 objects of 2 templates")
    assert scene.events.told == []


async def test_a_failure_names_scope_cluster_and_line_and_is_told_once_until_it_is_mended(scene: Scene) -> None:
    async with scene.renderer(nova(), cinder()):
        await scene.tell()
        await becomes(lambda: scene.board.condition(NOVA).get("status") == "True", "it renders")
        edit(scene, "{{ name.a.b if name == 'bb1' else name }}", generation=2)
        await becomes(lambda: scene.board.condition(NOVA).get("status") == "False", "it fails")
        failing = scene.board.status(NOVA)
        await becomes(lambda: scene.store.records[HOST].rendered.failing == 1, "recorded")  # type: ignore[union-attr]
        (of_vcenter,) = scene.store.records[HOST].rendered.conditions  # type: ignore[union-attr]
        edit(scene, "mended", generation=3)
        await becomes(lambda: scene.board.condition(NOVA).get("status") == "True", "it renders again")
        mended = scene.board.status(NOVA)
    where = f"cluster qa-de-1a productionbb001 of {HOST}: {PATH}, line 5: UndefinedError"
    assert failing["problem"].startswith(f"1 of 2 fail: {where}")
    assert (failing["failed"], failing["objects"], failing["observedGeneration"]) == (1, 1, 2)
    ((entry,),) = ([each for each in failing["partitions"] if each.get("failures")],)
    assert entry["failures"][0].items() >= {"vCenter": HOST, "cluster": "productionbb001", "line": 5}.items()
    assert (of_vcenter.status, of_vcenter.reason) == ("False", "TemplateFails")
    assert of_vcenter.message.startswith(f"cluster/qa-de-1a/productionbb001: {PATH}, line 5: UndefinedError")
    assert "problem" not in mended
    assert [(name, type_, reason) for name, type_, reason, _ in scene.events.told] == [
        ("nova", "Warning", "TemplateFails"),
        ("nova", "Normal", "TemplateRenders"),
    ]
    assert where in scene.events.told[0][3]


async def test_two_templates_that_yield_one_object_are_both_told(scene: Scene) -> None:
    first = resource("first", configmap("same-{{ name }}"))
    keys = "monsoon3/first", "monsoon3/second"

    def reasons() -> list[str | None]:
        return [scene.board.condition(key).get("reason") for key in keys]

    async with scene.renderer(first, resource("second", configmap("same-{{ name }}"))):
        await scene.tell()
        await becomes(lambda: reasons() == ["RenderedWithWarnings"] * 2, "both are told")
        shown = {key: (scene.board.status(key), scene.board.condition(key)) for key in keys}
        scene.templates.hold(
            scene.templates.named(keys[0]),
            resource("second", configmap("own-{{ name }}")) | {"status": scene.board.status(keys[1])},
        )
        await becomes(lambda: reasons() == ["Rendered"] * 2, "mended")
        assert not any("problem" in scene.board.status(key) for key in keys)
    for key in keys:
        status, condition = shown[key]
        assert (condition["status"], status["failed"], status["warnings"]) == ("True", 0, 2)
        said = f"warnings (2): {HOST}: /ConfigMap/monsoon3/same-bb1 comes from vcenter_cluster/monsoon3/first.yaml.j2"
        assert status["problem"].startswith(said)
        assert "and again from vcenter_cluster/monsoon3/second.yaml.j2" in condition["message"]
    assert (shown[keys[0]][0]["objects"], shown[keys[1]][0]["objects"]) == (0, 2), "the last wins"
    assert [(name, type_, reason) for name, type_, reason, _ in scene.events.told] == [
        ("first", "Warning", "TemplateRenderedWithWarnings"),
        ("second", "Warning", "TemplateRenderedWithWarnings"),
    ]


async def test_what_is_ignored_of_a_template_is_told(scene: Scene) -> None:
    placed = configmap("nova-{{ name }}").replace("{name: nova-{{ name }}}", "{name: x-{{ name }}, namespace: other}")
    library = resource("library", "", scope="snippets", **{"wholly-unknown": "x"})
    async with scene.renderer(
        resource("nova", placed), resource("odd", configmap("odd-{{ name }}"), trim_blocks="no"), library
    ):
        await scene.tell()
        await scene.tell(host=OTHER)
        keys = [f"monsoon3/{name}" for name in ("nova", "odd", "library")]
        await becomes(lambda: all(scene.board.status(key).get("warnings") for key in keys), "all are told")
        await becomes(lambda: scene.board.status(keys[0])["warnings"] == 4, "twice for each vCenter")
        shown = {key: (scene.board.status(key)["warnings"], scene.board.condition(key)) for key in keys}
    assert "names another namespace; its template's is used" in shown[keys[0]][1]["message"]
    assert shown[keys[0]][1]["message"].endswith("; and 1 more; rendered 4 times, 4 objects")
    assert shown[keys[1]][0] == shown[keys[2]][0] == 1, "however many vCenters there are"
    assert "trim_blocks is not a bool, and counts as true" in shown[keys[1]][1]["message"]
    assert shown[keys[2]][1]["reason"] == "LibraryWithWarnings"


async def test_writing_a_status_renders_nothing_and_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene.renderer(nova(), cinder()) as service:
        await scene.tell()
        await becomes(lambda: {NOVA, CINDER} <= {key for key, part in scene.board.writes if part is None}, "told")
        jobs, writes = len(scene.engine.jobs), len(scene.board.writes)
        recorded: list[Any] = []

        async def write(*arguments: Any, **_: Any) -> Any:
            recorded.append(arguments)

        monkeypatch.setattr(scene.store, "write", write)
        for _ in range(3):
            scene.templates.hold_again()
            scene.templates.moved()
            await asyncio.sleep(4 * QUICK.settle)  # any write that these led to would be done by then
        assert (len(scene.engine.jobs), len(scene.board.writes), recorded) == (jobs, writes, [])
        assert service.vcenters[HOST].rendered == jobs
    assert len(scene.deltas()) == 1


async def test_an_edit_for_many_vcenters_is_a_handful_of_writes(scene: Scene) -> None:
    async with scene.renderer(nova(), cinder()):
        for host in HOSTS:
            await scene.tell(host=host)
        await becomes(lambda: scene.board.status(NOVA).get("objects") == 120, "all are rendered")
        await becomes(lambda: scene.board.status(CINDER).get("objects") == 120, "all are rendered")
        del scene.board.writes[:]
        edit(scene, "edited", generation=2)
        await becomes(lambda: scene.board.status(NOVA)["observedGeneration"] == 2, "the edit is told")
        await becomes(lambda: scene.board.condition(NOVA)["observedGeneration"] == 2, "the edit is told")
    assert {key for key, _ in scene.board.writes} == {NOVA}
    assert len(scene.board.writes) <= 6


async def test_what_is_not_rendered_says_why(scene: Scene) -> None:
    unusable = resource("odd", configmap("odd"), finalize="x")
    library = resource("library", "{% macro m() %}{% endmacro %}", scope="snippets")
    storage = resource("storage", configmap("storage"), scope="storage")
    async with scene.renderer(unusable, library, storage):
        await scene.tell(clusters=only("productionbb001"))
        keys = [f"monsoon3/{name}" for name in ("odd", "library", "storage")]
        await becomes(lambda: all(scene.board.condition(key) for key in keys), "all are told")
        shown = {key: scene.board.condition(key) for key in keys}
        await becomes(
            lambda: _reason(scene, HOST) == "TemplateFails", "an unusable template leaves objects as they are"
        )
    assert [(shown[key]["status"], shown[key]["reason"]) for key in keys] == [
        ("False", "Unusable"),
        ("True", "Library"),
        ("Unknown", "NothingToRenderFor"),
    ]
    assert "finalize is no option" in shown["monsoon3/odd"]["message"]
    assert {partition for _, partition in scene.board.writes} == {None}
    assert [(name, reason) for name, _, reason, _ in scene.events.told] == [("odd", "TemplateUnusable")]


async def test_what_is_half_done_is_not_told_yet(scene: Scene) -> None:
    one, other = [host for host in HOSTS if partition_of(host, 2) == 0][:2]
    go_on = asyncio.Event()
    render = scene.engine.render

    async def halting(templates: TemplateSet, jobs: Sequence[Job], **options: Any) -> Any:
        if any(job.variables["host"] == other for job in jobs) and "edited" in templates[PATH].source:
            await go_on.wait()
        return await render(templates, jobs, **options)

    scene.engine.render = halting
    async with scene.renderer(nova(), cinder()) as service:
        for host in (one, other):
            await scene.tell(host=host)
        await becomes(lambda: scene.board.status(NOVA).get("objects") == 4, "all are rendered")
        await becomes(lambda: scene.board.status(CINDER).get("objects") == 4, "all are rendered")
        del scene.board.writes[:]
        edit(scene, "edited {{ name.a.b }}", generation=2)
        await becomes(lambda: _generation(service, one) == 2, "one is done")
        await asyncio.sleep(6 * QUICK.settle)
        assert scene.board.writes == [] or not service.vcenters[other].busy
        go_on.set()
        await becomes(lambda: scene.board.condition(NOVA)["observedGeneration"] == 2, "the edit is told")
    assert scene.board.writes == [(NOVA, 0), (NOVA, None)]


def _generation(service: RendererService, host: str) -> int:
    account = service.vcenters[host].account
    return account.outcomes[PATH].generation if account is not None else 0


async def test_while_nothing_can_be_rendered_this_is_told_and_the_last_account_stays(scene: Scene) -> None:
    async with scene.renderer(nova()):
        await scene.tell()
        await becomes(lambda: scene.board.condition(NOVA).get("status") == "True", "it renders")
        entries = scene.board.status(NOVA)["partitions"]
        scene.cells.hold()
        await becomes(lambda: scene.board.condition(NOVA).get("reason") == "CellsUnavailable", "the template is told")
        await becomes(lambda: _reason(scene, HOST) == "CellsUnavailable", "the vCenter is told")
        assert scene.board.condition(NOVA)["status"] == "Unknown"
        assert scene.board.status(NOVA)["partitions"] == entries
        scene.cells.hold(*CELLS_AS_LISTED)
        await becomes(lambda: scene.board.condition(NOVA).get("status") == "True", "it renders again")
        without = {key: value for key, value in SECRET.items() if key != "bus_key"}
        scene.configuration.becomes(Configuration.parse(without, 2))
        await becomes(lambda: scene.board.condition(NOVA).get("reason") == "SecretUnusable", "the template is told")
        assert "bus_key" in scene.board.status(NOVA)["problem"]
    assert scene.events.told == []


async def test_a_vcenter_that_is_gone_is_not_failing_and_a_forgotten_one_stays_forgotten(scene: Scene) -> None:
    async with scene.renderer(nova()):
        await scene.tell(present=False)
        await scene.tell(host=OTHER)
        await becomes(lambda: OTHER in scene.store.records, "the other is recorded")
        assert HOST not in scene.store.records, "nothing is recorded of one whose record is deleted"
        await scene.tell(host=OTHER, present=False, sequence=2)
        await becomes(lambda: _reason(scene, OTHER) == "NotInZone", "told")
        await becomes(lambda: scene.board.condition(NOVA).get("reason") == "NothingToRenderFor", "no entry is left")


async def test_what_cannot_be_told_holds_up_nothing_and_is_told_later(scene: Scene) -> None:
    scene.board.failing = TransientError("the API server is away")
    async with scene.renderer(nova()):
        await scene.tell()
        await scene.delta(1)
        await becomes(lambda: _reason(scene, HOST) == "Rendered", "the vCenter is recorded all the same")
        scene.board.failing = None
        await becomes(lambda: scene.board.condition(NOVA).get("status") == "True", "told in the end")


def _reason(scene: Scene, host: str) -> str | None:
    record = scene.store.records.get(host)
    return record.rendered.conditions[0].reason if record is not None and record.rendered is not None else None


# --- one replica of several


class Part:
    """A replica's reporting, for accounts that a test makes up."""

    def __init__(self, pace: Pace = QUICK) -> None:
        self.templates = FakeWatched([nova() | {"status": {"partitions": []}}])
        self.board, self.events, self.store = Board(self.templates), ToldEvents(), MemoryStore()
        cells, source = FakeWatched(CELLS_AS_LISTED), FakeConfiguration(configuration())
        self.inputs = WatchedInputs(self.templates, cells, source)
        self.vcenters: dict[str, VCenter] = {}
        self.reporting = Reporting(
            self.store, self.templates, self.inputs, self.board, self.events, partitions=4, pace=pace
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.inputs.look_afresh()
        tasks = [
            asyncio.create_task(self.inputs.follow()),
            asyncio.create_task(self.reporting.run(lambda: self.vcenters, lambda: None)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def owns(self, partition: int) -> Ownership:
        ownership = Ownership(Stage.RENDERER, partition, 1)
        self.reporting.take(ownership)
        return ownership

    def knows(self, host: str, ownership: Ownership, *outcomes: Outcome) -> None:
        vcenter = VCenter(ownership, inventory(host=host))
        vcenter.account = Account({PATH: outcomes[0]}, outcomes[0].objects) if outcomes else None
        self.vcenters[host] = vcenter
        self.reporting.changed()

    def other(self, partition: int, *failures: tuple[Unit, Failure], generation: int = 1) -> None:
        """Another replica tells of its partition."""
        entry = partition_entry(partition, {f"vc-{partition}": Outcome(generation, 2, 2 - len(failures), failures)})
        status = self.board.status(NOVA)
        entries = [each for each in status.get("partitions", ()) if each["partition"] != partition]
        self.templates.named(NOVA)["status"] = {**status, "partitions": [*entries, entry]}
        self.templates.hold_again()

    @property
    def entries(self) -> dict[int, Any]:
        return {each["partition"]: each for each in self.board.status(NOVA)["partitions"]}


@pytest.fixture
async def part() -> Part:
    return Part()


FAILURE = Unit("cluster", "qa-de-1a", "productionbb001"), Failure("TypeError: odd", PATH, 7)


async def test_only_the_owner_of_the_first_partition_says_what_all_come_to(part: Part) -> None:
    async with part.running():
        second = part.owns(1)
        part.knows(HOST, second, Outcome(1, 2, 2))
        await becomes(lambda: 1 in part.entries, "its own entry")
        part.other(2, FAILURE)
        await asyncio.sleep(4 * QUICK.settle)
        assert part.board.writes == [(NOVA, 1)], "what others say is theirs, and so is what all come to"
        part.owns(0)
        await becomes(lambda: part.board.condition(NOVA).get("status") == "False", "it has seen the other's entry")
        assert "line 7: TypeError: odd" in part.board.status(NOVA)["problem"]
        part.other(2, generation=1)
        await becomes(lambda: part.board.condition(NOVA).get("status") == "True", "and follows it")
        assert part.board.status(NOVA)["objects"] == 4
    assert {partition for _, partition in part.board.writes} == {1, None}
    assert [reason for _, _, reason, _ in part.events.told] == ["TemplateFails", "TemplateRenders"]


async def test_the_oldest_generation_in_use_is_what_is_observed(part: Part) -> None:
    async with part.running():
        part.knows(HOST, part.owns(0), Outcome(5, 2, 2))
        part.other(1, generation=3)
        part.templates.named(NOVA)["metadata"]["generation"] = 5
        part.templates.hold_again()
        await becomes(lambda: part.board.status(NOVA).get("objects") == 4, "both are told")
        assert part.board.status(NOVA)["observedGeneration"] == 3


async def test_entries_of_partitions_that_are_no_more_go(part: Part) -> None:
    async with part.running():
        part.other(4)
        part.other(3)
        part.knows(HOST, part.owns(0), Outcome(1, 2, 2))
        await becomes(lambda: part.entries.keys() == {0, 3}, "partition 4 of 0..3 is none")


async def test_a_vcenter_that_is_not_rendered_yet_is_no_evidence_of_anything(part: Part) -> None:
    async with part.running():
        part.other(1)
        before = part.entries[1]
        part.knows(HOST, part.owns(1))
        await asyncio.sleep(QUICK.knows_all + 4 * QUICK.settle)
        assert part.entries[1] == before
        assert part.board.writes == []


async def test_a_partition_that_was_just_taken_is_not_taken_for_an_empty_one(part: Part) -> None:
    async with part.running():
        part.other(1)
        taken = time.monotonic()
        part.owns(1)
        part.reporting.changed()
        await becomes(lambda: part.entries == {}, "there is no vCenter, and none has come for long")
        assert time.monotonic() > taken + QUICK.knows_all


async def test_one_vcenter_that_is_never_done_does_not_keep_all_in_the_dark() -> None:
    part = Part(replace(QUICK, longest=0.2))
    async with part.running():
        part.knows(HOST, part.owns(0), Outcome(1, 2, 2))
        async with part.vcenters[HOST].lock:
            await becomes(lambda: part.board.status(NOVA).get("objects") == 2, "it is told in the end")


async def test_who_lost_a_partition_writes_nothing(part: Part) -> None:
    async with part.running():
        lost, held = part.owns(0), part.owns(1)
        lost.end()
        part.knows(HOST, lost, Outcome(1, 2, 2))
        part.knows(OTHER, held, Outcome(1, 2, 2))
        await becomes(lambda: OTHER in part.store.records, "what is held is told")
        await asyncio.sleep(4 * QUICK.settle)
        assert part.board.writes == []
        part.reporting.release(lost)
        part.reporting.changed()
        await becomes(lambda: part.board.writes == [(NOVA, 1)], "without it the rest is told")
    assert HOST not in part.store.records
