"""Everything but the inventories that rendering starts from, watched: templates, cells and the Secret."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from vcenter_operator.common.configuration import Configuration, ConfigurationSource
from vcenter_operator.common.messages import Rollout
from vcenter_operator.common.record.orders import is_suspended
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.watching import Snapshot, Watched
from vcenter_operator.renderer.core.cells import CellsUnavailable, parse_cells
from vcenter_operator.renderer.core.lingering import Lingering
from vcenter_operator.renderer.core.rollout import Decision, decided
from vcenter_operator.renderer.core.templates import TemplateSet

log = logger(__name__)


@dataclass(frozen=True)
class Inputs:
    """One state of them."""

    templates: TemplateSet
    templates_at: int
    cells: frozenset[str] | None
    """None: not to be had, and nothing is rendered."""
    complete: bool
    """Whether templates and cells are such that something may be rendered."""
    cells_at: int
    configuration: Configuration
    suspended: tuple[str, ...] = ()
    """Templates, `<namespace>/<name>`, whose objects a person wants left as they are."""
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """How far templates that are rolled out step by step have come, by `<namespace>/<name>`."""
    rolls_out: bool = False
    """Whether there is a status by which templates can be rolled out step by step."""

    @cached_property
    def name(self) -> str:
        """Names the content of cells and Secret, for `ManifestDelta.inputs`; keyed, as it is made from passwords.

        Raises ConfigurationError: there is no valid `bus_key`.
        """
        cells = sorted(self.cells) if self.cells is not None else None
        return self.configuration.keyring.digest({"cells": cells, "secret": self.configuration.values})[:32]

    def rollouts(self, host: str) -> dict[str, Rollout]:
        """`ManifestDelta.rollouts` of a vCenter."""
        versions = self.templates.rollouts if self.rolls_out else {}
        return {
            key: Rollout(version=version, step=self.decisions.get(key, Decision(version)).step(host, version))
            for key, version in versions.items()
        }

    def same_content(self, other: Inputs | None) -> bool:
        """Whether nothing but positions differs."""
        return (
            other is not None
            and self.templates is other.templates
            and self.complete == other.complete
            and self.cells == other.cells
            and self.configuration == other.configuration
            and self.suspended == other.suspended
            and all(self.decisions.get(key) == other.decisions.get(key) for key in self.templates.rollouts)
        )


class WatchedInputs:
    """Keeps the newest state of all three."""

    def __init__(
        self,
        templates: Watched,
        cells: Watched,
        configuration: ConfigurationSource,
        *,
        grace: float = 0.0,
        rolls_out: bool = False,
    ) -> None:
        """`grace` (seconds): see `Lingering`; `rolls_out`: see `Inputs`."""
        self._rolls_out = rolls_out
        self._templates, self._cells, self._source = templates, cells, configuration
        self._template_set: tuple[str, TemplateSet] | None = None
        self._lingering = Lingering(grace)
        self._again: asyncio.TimerHandle | None = None
        self._templates_problem: str | None = None
        self._cells_problem: str | None = None
        self._current: Inputs | None = None
        self._configuration: Configuration | None = None
        self._seen: tuple[Snapshot, Snapshot] | None = None
        self._news = asyncio.Event()
        self._looking = asyncio.Lock()
        self._looks = self._looked = 0

    @property
    def current(self) -> Inputs | None:
        """None: not all of them are known yet."""
        return self._current

    @property
    def hindrance(self) -> tuple[str, str] | None:
        """Why nothing can be rendered at present: a reason (CamelCase) and a sentence; None: something can."""
        if self._cells_problem is not None:
            return "CellsUnavailable", self._cells_problem
        if self._templates_problem is not None:
            return "NoTemplates", self._templates_problem
        return None

    async def look_afresh(self) -> None:
        """Reads all of them as they are now: whoever takes a partition knows at least what its last owner knew.

        Raises:
            ConfigurationError: the Secret is missing or wrong.
            TransientError: something cannot be read just now.
        """
        asked = self._looks
        async with self._looking:
            if self._looked > asked:
                return  # another look began after this one was asked for, and succeeded
            self._looks += 1
            this = self._looks
            await self._templates.fresh()
            await self._cells.fresh()
            self._configuration = await self._source.fresh()
            self._looked = this
        self._update()

    @property
    def recalls(self) -> bool:
        """Whether `recall` may make a difference: only for a moment after the first look."""
        return self._lingering.recalls(time.monotonic())

    def recall(self, versions: Mapping[str, int]) -> None:
        """Takes in the templates that were there before this process was: `ManifestDelta.templates` of an earlier one.

        Who looks first while a template is being replaced would believe that it was deleted.
        """
        if self._lingering.recall(versions, time.monotonic()):
            self._update()

    async def follow(self) -> None:
        """Keeps them current until cancelled."""

        async def snapshots(watched: Watched) -> None:
            async for _ in watched.changes():
                self._update()

        async def configurations() -> None:
            async for configuration in self._source.changes():
                if self._configuration is None or configuration.version >= self._configuration.version:
                    self._configuration = configuration
                    self._update()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(snapshots(self._templates))
                group.create_task(snapshots(self._cells))
                group.create_task(configurations())
        finally:
            if self._again is not None:
                self._again.cancel()

    async def changed(self) -> None:
        """Returns when their content has changed since this returned last. For one consumer."""
        await self._news.wait()
        self._news.clear()

    def _update(self) -> None:
        """Nothing is rendered from before all of them were read afresh once."""
        templates, cells = self._templates.snapshot, self._cells.snapshot
        if not self._looked or templates is None or cells is None or self._configuration is None:
            return
        before = self._current
        parsed, believed = self._believed(templates)
        parsed_cells = self._parsed_cells(cells)
        self._current = Inputs(
            templates=parsed,
            templates_at=templates.position,
            cells=parsed_cells,
            complete=believed and parsed_cells is not None,
            cells_at=cells.position,
            configuration=self._configuration,
            suspended=_suspended(templates),
            decisions=_decisions(templates),
            rolls_out=self._rolls_out,
        )
        if not self._current.same_content(before):
            self._news.set()

    def _believed(self, snapshot: Snapshot) -> tuple[TemplateSet, bool]:
        """The templates to render from, and whether they may be; looks again when time alone makes a difference."""
        parsed = self._parsed(snapshot)
        now = time.monotonic()
        believed = self._lingering.seen(parsed, now)
        if self._again is not None:
            self._again.cancel()
        self._again = None
        if believed.until is not None:
            self._again = asyncio.get_running_loop().call_later(max(0.0, believed.until - now) + 0.01, self._update)
        problem = None
        if believed.templates is None:
            problem = "there is no VCenterTemplate" if not parsed else "templates are only just coming back"
            if problem != self._templates_problem:
                log.error("nothing is rendered: what exists stays as it is", error=problem)
        self._templates_problem = problem
        return (parsed, False) if believed.templates is None else (believed.templates, True)

    def _parsed(self, snapshot: Snapshot) -> TemplateSet:
        if self._template_set is None or self._template_set[0] != snapshot.fingerprint:
            self._template_set = snapshot.fingerprint, TemplateSet.of(snapshot.items.values())
            if not self._rolls_out and (ignored := sorted(self._template_set[1].rollouts)):
                log.warning("options.rollout has no effect here: no status is written", templates=ignored)
        return self._template_set[1]

    def _parsed_cells(self, snapshot: Snapshot) -> frozenset[str] | None:
        try:
            cells = parse_cells(snapshot.items.values())
        except CellsUnavailable as error:
            if str(error) != self._cells_problem:
                log.error("nothing is rendered until the cells are known", error=str(error))
            self._cells_problem = str(error)
            return None
        self._cells_problem = None
        return cells


def _suspended(templates: Snapshot) -> tuple[str, ...]:
    return tuple(sorted("/".join(key) for key, item in templates.items.items() if is_suspended(item)))


def _decisions(templates: Snapshot) -> dict[str, Decision]:
    found = {"/".join(key): decided(item) for key, item in templates.items.items()}
    # Why one does not go on changes nothing of what is stated.
    return {key: replace(decision, reason="") for key, decision in found.items() if decision is not None}
