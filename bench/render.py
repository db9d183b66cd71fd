"""Rendering: from variables to sealed manifests, beside bare Jinja2 with CSafeLoader in the same run.

Bare means the templates of the same text, compiled once, in stock environments, and PyYAML's C loader: no sandbox, no
values of one's own for each rendering, nothing checked, nothing sealed. Then what is rendered when something changes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from rich.console import Console

from bench import report
from bench.landscape import host, inventory, manifests, surroundings
from bench.statements import InlineEngine
from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.identity import Unit
from vcenter_operator.common.messages import Stage
from vcenter_operator.renderer.adapters.process import ProcessEngine
from vcenter_operator.renderer.core.delta import renderings
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.filters import FILTERS, password_filter
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.rendering import render
from vcenter_operator.renderer.core.scopes import Region, scopes_of
from vcenter_operator.renderer.core.templates import Template, TemplateSet
from vcenter_operator.renderer.inputs import Inputs
from vcenter_operator.renderer.vcenter import Sealing, Setting, VCenter

HOST = host(0)
SURROUNDINGS = surroundings()
console = Console(width=110)


def main() -> None:
    """Runs, reports."""
    parser = argparse.ArgumentParser(prog="make bench-render", description=__doc__)
    parser.add_argument("--clusters", type=int, default=64)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    scene = Scene(options.clusters)
    ways: dict[str, Callable[[], int]] = {
        "bare Jinja2 and CSafeLoader": scene.bare(),
        "rendered and checked": scene.checked(),
        "rendered, checked and sealed": scene.sealed(),
    }
    speeds = compare(ways, options.runs)
    through = asyncio.run(scene.through_processes(options.runs))
    counts = asyncio.run(scene.counts())
    finish(scene, speeds, through, counts)


class Scene:
    """The example region's templates, for one vCenter with many clusters."""

    def __init__(self, clusters: int) -> None:
        resources = [
            each | {"metadata": each["metadata"] | {"uid": f"uid-{number}", "generation": 1, "resourceVersion": "1"}}
            for number, each in enumerate(manifests("VCenterTemplate"))
        ]
        self.templates = TemplateSet.of(resources)
        (secret,) = manifests("Secret")
        self.configuration = Configuration.parse(secret["stringData"], 1)
        self.password = self.configuration.password_for(HOST)
        (cells,) = manifests("ConfigMap")
        self.cells = frozenset(cells["data"]["cells"].split(","))
        self.inventory = inventory(clusters=clusters)
        self.jobs = self._jobs()

    def _jobs(self) -> list[tuple[Template, Unit, dict[str, Any]]]:
        region, scopes = Region(self.configuration, SURROUNDINGS, self.cells), scopes_of(self.inventory)
        return [
            (template, unit, region.variables(HOST, self.password, unit, scopes.known[unit]))
            for template, unit in renderings(scopes, self.templates)
        ]

    def derive(self, username: str, host: str) -> str:
        """For the filter."""
        return self.configuration.password_for(host, username)

    def bare(self) -> Callable[[], int]:
        """What whoever knows nothing of other teams' templates would write."""
        compiled: dict[str, jinja2.Template] = {}

        @jinja2.pass_context
        def rendered(context: Any, path: str) -> str:
            return compiled[path].render(context.get_all())

        for path, template in self.templates.items():
            environment = jinja2.Environment(**template.options)
            environment.filters |= {**FILTERS, "derive_password": password_filter(self.derive), "render": rendered}
            compiled[path] = environment.from_string(template.source)

        def run() -> int:
            return sum(
                len(
                    [
                        each
                        for each in yaml.load_all(compiled[template.path].render(variables), yaml.CSafeLoader)
                        if each
                    ]
                )
                for template, _, variables in self.jobs
            )

        return run

    def checked(self) -> Callable[[], int]:
        """As a rendering process does it: sandboxed, bounded, manifests that are known to be some."""
        library, policy = Library(self.derive, max_output=Policy().max_output), Policy()
        library.replace(self.templates)

        def run() -> int:
            return sum(
                len(render(library, template, variables, policy).documents) for template, _, variables in self.jobs
            )

        return run

    def sealed(self) -> Callable[[], int]:
        """The same, and then as the service does it: labelled, digested and encrypted."""
        library, policy = Library(self.derive, max_output=Policy().max_output), Policy()
        library.replace(self.templates)
        sealing = Sealing(HOST, self.configuration.keyring, SURROUNDINGS.own_namespace, policy)

        def run() -> int:
            return sum(
                len(sealing.yielded(template, unit, render(library, template, variables, policy)).objects)
                for template, unit, variables in self.jobs
            )

        return run

    async def through_processes(self, runs: int) -> list[float]:
        """Manifests/s of a vCenter's whole refresh in the service, where templates run in processes of their own."""
        speeds = []
        async with ProcessEngine() as engine:
            for number in range(runs + 1):
                vcenter = self._vcenter()
                started = time.perf_counter()
                outcome = await vcenter.state(self._inputs(), Setting(engine, SURROUNDINGS, Policy()))
                assert outcome is not None
                if number:  # the first starts the processes
                    speeds.append(len(outcome[0].index) / (time.perf_counter() - started))
        return speeds

    async def counts(self) -> dict[str, int]:
        """How often a template is rendered when something changes."""
        engine = InlineEngine(self.derive)
        setting, vcenter, found = Setting(engine, SURROUNDINGS, Policy()), self._vcenter(), {}

        async def after(what: str, inputs: Inputs) -> None:
            engine.count = 0
            await vcenter.state(inputs, setting)
            found[what] = engine.count

        inputs = self._inputs()
        await after("the first time", inputs)
        await after("when nothing changed", inputs)
        first, *others = self.inventory.clusters
        changed = first.model_copy(update={"bridge": "br-other"})
        vcenter.inventory = self.inventory.model_copy(update={"clusters": (changed, *others)})
        await after("one cluster's port group changed", inputs)
        edited = [
            {"metadata": {"name": each.name, "namespace": each.namespace, "uid": each.uid, "generation": 1 + new},
             "options": {"scope": each.scope, "jinja2_options": dict(each.options)},
             "template": each.source + ("\n# edited\n" if new else "")}
            for each in self.templates.values()
            for new in [each.name == "neutron-dvs-agent"]
        ]  # fmt: skip
        await after("one template of the scope cluster edited", self._inputs(TemplateSet.of(edited)))
        return found

    def _vcenter(self) -> VCenter:
        return VCenter(Ownership(Stage.RENDERER, 0, 1), self.inventory)

    def _inputs(self, templates: TemplateSet | None = None) -> Inputs:
        return Inputs(templates or self.templates, 1, self.cells, True, 1, self.configuration)


def compare(ways: Mapping[str, Callable[[], int]], runs: int) -> dict[str, list[float]]:
    """Manifests/s of each way, in turns, so that a busy machine is as busy for all of them."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + 1):
        for name, way in ways.items():
            started = time.process_time()
            count = way()
            if number:
                speeds[name].append(count / (time.process_time() - started))
    return speeds


def finish(scene: Scene, speeds: Mapping[str, list[float]], through: list[float], counts: Mapping[str, int]) -> None:
    """Prints and writes what was measured."""
    bare, *ours = speeds
    ratios = {
        name: statistics.median(mine / theirs for mine, theirs in zip(speeds[name], speeds[bare], strict=True))
        for name in speeds
    }
    report.show(
        f"Rendering {len(scene.templates)} templates for {len(scene.inventory.clusters)} clusters, one process",
        ("", "median manifests/s", "best", "ratio to bare"),
        [
            (name, f"{statistics.median(found):.0f}", f"{max(found):.0f}", f"{ratios[name]:.2f}")
            for name, found in speeds.items()
        ],
        caption=f"CPU time; {len(through)} runs in turns. Aim of the last: at least 0.80.",
    )
    report.show(
        "In the service",
        ("", ""),
        [
            ("manifests/s of a vCenter's refresh, by the clock", f"{statistics.median(through):.0f}"),
            *((f"templates rendered {what}", str(count)) for what, count in counts.items()),
        ],
    )
    path = report.write(
        "render",
        "manifests rendered, checked and sealed, beside bare Jinja2 and CSafeLoader",
        {
            "clusters": len(scene.inventory.clusters),
            "templates": len(scene.templates),
            "manifests_per_second": {name: report.summary(found) for name, found in speeds.items()},
            "ratios": {name: ratios[name] for name in ours},
            "service_manifests_per_second": report.summary(through),
            "templates_rendered": dict(counts),
        },
        {},
    )
    console.print(f"written to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
