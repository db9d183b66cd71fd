"""Templates run in processes of their own: what they yield is the same, and what they waste is theirs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.renderer.region import CELLS, SECRET, SURROUNDINGS, configmap, configuration, inventory, resource
from tests.unit.renderer.test_golden import FILES, read
from vcenter_operator.renderer.adapters.frames import Bounds
from vcenter_operator.renderer.adapters.process import ProcessEngine
from vcenter_operator.renderer.core.cells import parse_cells
from vcenter_operator.renderer.core.delta import renderings
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.rendering import Rendered, render
from vcenter_operator.renderer.core.scopes import Region, scopes_of
from vcenter_operator.renderer.core.templates import TemplateSet, parse_template
from vcenter_operator.renderer.ports import Job

BOUNDS = Bounds(seconds=0.3, memory=256 * 1024 * 1024)
FINE = resource("fine", configmap("fine-{{ name }}"))
PASSWORD = SECRET["password"]


@pytest.fixture
async def engine() -> AsyncIterator[ProcessEngine]:
    async with ProcessEngine(BOUNDS) as started:
        yield started


def job(template: dict[str, Any], **variables: Any) -> Job:
    return Job(parse_template(template).path, {"name": "bb1", "username": "m3nova", "host": "vc-a-0"} | variables)


async def outcomes(engine: ProcessEngine, *templates: dict[str, Any]) -> list[Rendered]:
    jobs = [job(template) for template in templates]
    return await engine.render(TemplateSet.of(templates), jobs, master_password=PASSWORD)


def reason(rendered: Rendered) -> str:
    return str(rendered.failure)


def processes() -> set[int]:
    """The rendering processes of this one."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_text()
        except (OSError, IndexError):
            continue
        if parent == os.getpid() and "renderer.adapters.worker" in command:
            found.add(int(stat.parent.name))
    return found


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_a_process_yields_what_this_one_does(engine: ProcessEngine, path: Path) -> None:
    case, _ = read(path)
    templates = TemplateSet.of([resource_of(each) for each in case["templates"]])
    settings = configuration(**case.get("secret", {}))
    region = Region(settings, SURROUNDINGS, parse_cells(case.get("cells", CELLS)))
    scopes = scopes_of(inventory())
    jobs = [
        (template, Job(template.path, region.variables("vc-a-0.x", "derived", unit, scopes.known[unit])))
        for template, unit in renderings(scopes, templates)
    ]
    here = Library(lambda username, host: settings.password_for(host, username), max_output=Policy().max_output)
    here.replace(templates)
    expected = [render(here, template, each.variables, Policy()) for template, each in jobs]
    assert await engine.render(templates, [each for _, each in jobs], master_password=PASSWORD) == expected


def resource_of(template: dict[str, Any]) -> dict[str, Any]:
    metadata = {"uid": template["metadata"]["name"], "generation": 1, "resourceVersion": "1"} | template["metadata"]
    return {**template, "metadata": metadata}


async def test_the_keys_of_users_do_not_count_as_the_templates_time(engine: ProcessEngine) -> None:
    users = "{% for user in range(4) %}{{ user | derive_password }}{% endfor %}"
    (rendered,) = await outcomes(engine, resource("users", configmap("users", passwords=f"'{users}'")))
    assert rendered.failure is None


RUNAWAYS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "memory": "{{ ('a' * 3 * 10 ** 8) | length }}",
    "lists": "{% set l = [1] %}{% for i in range(99) %}{% set _ = l.extend(l) %}{% endfor %}",
    "width": "{{ '{:>9999999999}'.format(1) | length }}",
    "one operation": "{{ (7 ** (7 ** 11)) % 2 }}",
    "yaml": configmap("x") + "  deep: {{ '[' * 200000 }}",
}


@pytest.mark.parametrize("text", RUNAWAYS.values(), ids=RUNAWAYS)
async def test_a_runaway_template_fails_and_others_do_not(engine: ProcessEngine, text: str) -> None:
    before, runaway, after = await outcomes(
        engine, FINE, resource("runaway", text), resource("more", configmap("more"))
    )
    assert runaway.failure is not None
    assert not runaway.documents
    assert (before.failure, after.failure) == (None, None)
    assert after.documents[0].object_id.name == "more"


async def test_memory_is_bounded_and_named(engine: ProcessEngine) -> None:
    (rendered,) = await outcomes(engine, resource("big", "\n" + RUNAWAYS["memory"]))
    assert reason(rendered) == (
        "vcenter_cluster/monsoon3/big.yaml.j2, line 2: needs more memory than rendering may use"
    )


async def test_time_is_cpu_time_and_named(engine: ProcessEngine) -> None:
    (rendered,) = await outcomes(engine, resource("runaway", RUNAWAYS["loops"]))
    assert reason(rendered) == "vcenter_cluster/monsoon3/runaway.yaml.j2: takes more than 0.3 s of CPU time"
    assert rendered.failure is not None
    assert rendered.failure.passing


async def test_a_runaway_template_holds_up_its_own_vcenter_once_and_no_other(engine: ProcessEngine) -> None:
    """Two processes: one is busy with it, the other goes on. It is not tried for all of the units, nor for ever."""
    runaway = resource("runaway", RUNAWAYS["loops"])
    templates = TemplateSet.of([runaway, FINE])
    busy = asyncio.create_task(
        engine.render(templates, [job(runaway, name=f"bb{n}") for n in range(50)], master_password=PASSWORD)
    )
    await engine.render(templates, [job(FINE)], master_password=PASSWORD)
    loop = asyncio.get_running_loop()
    began = loop.time()
    results = await busy
    assert loop.time() - began < 20 * BOUNDS.seconds
    assert [each.failure is not None and each.failure.passing for each in results] == [True] * 50
    assert sum("takes more than" in reason(each) for each in results) == 1
    await engine.render(templates, [job(runaway)], master_password=PASSWORD)
    third = await engine.render(templates, [job(runaway)], master_password=PASSWORD)
    assert "not tried" in reason(third[0])
    mended = resource("runaway", configmap("mended"))
    (rendered,) = await outcomes(engine, mended)
    assert rendered.failure is None


async def test_a_killed_process_is_replaced_and_costs_one_result_at_most(engine: ProcessEngine) -> None:
    await outcomes(engine, FINE)
    (pid,) = processes()
    os.kill(pid, signal.SIGKILL)
    first, *others = await outcomes(engine, FINE, *(resource(f"t{n}", configmap(f"t{n}")) for n in range(5)))
    assert [each.failure for each in others] == [None] * 5
    assert first.failure is None or first.failure.passing
    assert pid not in processes()


async def test_a_process_that_hangs_is_ended_once_for_a_template(engine: ProcessEngine) -> None:
    """Stopped, it does not answer, as in one operation that cannot be interrupted. Other templates go on."""
    await outcomes(engine, FINE)
    (pid,) = processes()
    os.kill(pid, signal.SIGSTOP)
    first, second, third, other = await outcomes(engine, FINE, FINE, FINE, resource("other", configmap("other")))
    assert reason(first) == "vcenter_cluster/monsoon3/fine.yaml.j2: does not end within 2.5 s"
    assert "not tried" in reason(second)
    assert "not tried" in reason(third)
    assert other.failure is None


async def test_cancelled_work_leaves_no_answers_behind(engine: ProcessEngine) -> None:
    runaway = resource("runaway", RUNAWAYS["loops"])
    task = asyncio.create_task(outcomes(engine, runaway, FINE))
    async with asyncio.timeout(10):
        while not processes():
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (rendered,) = await outcomes(engine, FINE)
    assert [each.object_id.name for each in rendered.documents] == ["fine-bb1"]


async def test_the_process_holds_nothing_of_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCENTER_OPERATOR_BUS", "amqp://user:secret@broker/")
    async with ProcessEngine(BOUNDS) as engine:
        await outcomes(engine, FINE)
        (pid,) = processes()
        environment = environment_of(pid)
        assert "PATH=" in environment
        assert "secret" not in environment
        assert "VCENTER_OPERATOR" not in environment
    assert not processes()


async def test_processes_end_with_the_engine() -> None:
    async with ProcessEngine(BOUNDS, processes=3) as engine:
        await asyncio.gather(*(outcomes(engine, FINE) for _ in range(6)))
        assert 1 <= len(processes()) <= 3
    assert not processes()


SERVICE = """
import asyncio, sys
from tests.integration.test_renderer_process import BOUNDS, FINE, ProcessEngine, outcomes, processes

async def main():
    async with ProcessEngine(BOUNDS) as engine:
        await outcomes(engine, FINE)
        print(*processes(), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_process_does_not_outlive_a_killed_service() -> None:
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVICE, stdout=asyncio.subprocess.PIPE)
    assert service.stdout is not None
    pid = int(await service.stdout.readline())
    service.kill()
    await service.wait()
    async with asyncio.timeout(10):
        while running(pid):
            await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_sets_that_a_template_makes_are_the_same_in_every_process() -> None:
    """Else another replica, or a restart, would change objects, and restart the agents that they configure."""
    cells = frozenset(f"cell-{number}" for number in range(12))
    template = resource("sets", configmap("sets", x="{{ cells.difference([]) | join }}"))
    yielded = []
    for _ in range(3):
        async with ProcessEngine(BOUNDS, processes=1) as started:
            jobs = [job(template, cells=cells)]
            [rendered] = await started.render(TemplateSet.of([template]), jobs, master_password=PASSWORD)
            yielded.append([document.manifest for document in rendered.documents])
    assert yielded[0]
    assert yielded[0] == yielded[1] == yielded[2]
