"""`make demo`: the whole pipeline on files, from a first start through eight things that happen to a region."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from examples.demo import screen
from examples.demo.region import Region
from examples.demo.scenes import SCENES, A, B, C, Scene, Seen
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.plan import Plan
from vcenter_operator.command import pipeline
from vcenter_operator.common import process, telemetry
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.settings import Settings

FOLDER = Path("build") / "demo"
WITHIN = 60.0
EXPECTED = 56


class Demo:
    """The region, the plans seen, and the latest one of each vCenter."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.seen = Seen()
        self.latest: dict[str, Plan] = {}

    def on_plan(self, host: str, plan: Plan, outcome: Outcome) -> None:
        """The applier's observer."""
        self.latest[host] = plan
        self.seen.add(host, plan, outcome)

    async def first_start(self) -> None:
        """From nothing to every manifest, with progress."""
        screen.headline(0, "First start", "The zone is read, three vCenters are collected, five templates rendered.")
        started = time.monotonic()
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} manifests"),
            console=screen.console, transient=True,
        ) as progress:  # fmt: skip
            task = progress.add_task("  applying", total=EXPECTED)

            def complete() -> bool:
                progress.update(task, completed=len(self.region.manifests()))
                return all(host in self.latest for host in (A, B, C))

            await until(complete, "the first plans of all three vCenters")
        for host in (A, B, C):
            screen.plan(self.latest[host], lines=3)
        screen.difference({}, self.region.manifests(), time.monotonic() - started)
        screen.summary(self.latest, self.region.manifests())

    async def play(self, number: int, scene: Scene) -> None:
        """One scene: change, wait until it is dealt with, show what came of it."""
        screen.headline(number, scene.title, scene.story)
        before, started = self.region.manifests(), time.monotonic()
        self.seen = Seen()
        scene.change(self.region)
        await until(lambda: scene.done(self.seen), scene.title)
        for host in scene.hosts:
            screen.plan(self.seen.plans[host][-1][0])
        screen.difference(before, self.region.manifests(), time.monotonic() - started)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition. Raises TimeoutError, naming it."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {WITHIN:g} s: {what}")
        await asyncio.sleep(0.05)


async def play() -> None:
    """The whole demo."""
    demo = Demo(Region.fresh(FOLDER))
    screen.opening()
    files = pipeline.Files(demo.region.site, demo.region.templates, demo.region.output)
    settings = Settings.load(bus="in-process")
    async with (
        pipeline.open_platform(settings, files, dry_run=False) as platform,
        pipeline.services(platform, list(Stage), on_plan=demo.on_plan, bus="in-process") as services,
    ):
        serving = asyncio.create_task(process.serve(*services))
        story = asyncio.create_task(tell(demo))
        done, _ = await asyncio.wait({serving, story}, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        story.cancel()
        for task in done:
            task.result()
        await asyncio.wait({serving, story})
    screen.summary(demo.latest, demo.region.manifests())
    screen.console.print(f"\n  The manifests are in [bold]{demo.region.output}[/bold], the region beside them.")
    screen.console.print(
        "  Next: [bold].venv/bin/vcenter-operator --help[/bold], or docs/ for running it in a region.\n"
    )


async def tell(demo: Demo) -> None:
    """All scenes in order."""
    await demo.first_start()
    for number, scene in enumerate(SCENES, start=1):
        await demo.play(number, scene)


def main() -> int:
    """Runs the demo; logs are kept in a file beside it."""
    for name in [name for name in os.environ if name.startswith("VCENTER_OPERATOR_")]:
        del os.environ[name]
    FOLDER.parent.mkdir(exist_ok=True)
    telemetry.configure("INFO", json=False)
    logging.getLogger().handlers[:] = [logging.FileHandler(FOLDER.parent / "demo.log", mode="w")]
    try:
        asyncio.run(play())
    except TimeoutError as error:
        print(f"demo: {error}; the log is {FOLDER.parent / 'demo.log'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
