"""What `replay` does: chosen statements through chosen stages, compared with what was said at the time."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.status import Status
from rich.text import Text

from vcenter_operator.applier.core.describe import describe, summarize
from vcenter_operator.command import terminal
from vcenter_operator.command.messages import screen
from vcenter_operator.command.messages.chain import chain_of, seeds_of
from vcenter_operator.command.messages.differences import describe_unknown, differences
from vcenter_operator.command.messages.document import moment_text, statement_document, text_of
from vcenter_operator.command.messages.exporting import outdated
from vcenter_operator.command.messages.looking import EXIT_NOT_ASKED, Wish, source_of
from vcenter_operator.command.messages.model import Entry, Fact, facts_of, revision_text
from vcenter_operator.command.messages.nowhere import Nowhere
from vcenter_operator.command.messages.recording import Recording, read_recording, unpack
from vcenter_operator.command.messages.replaying import NEXT, Replay, Replayed
from vcenter_operator.command.messages.sources import Source, history
from vcenter_operator.command.status.command import Format
from vcenter_operator.common.embedded import platform as embedded
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import DnsChange, Inventory, ManifestDelta, Stage, Statement
from vcenter_operator.common.platform import Platform

EXIT_AS_RECORDED, EXIT_DIFFERENT = 0, 1
_IN_A_ROW = (Stage.COLLECTOR, Stage.RENDERER, Stage.APPLIER)


@dataclass(frozen=True)
class Compared:
    """What a stage did now, beside what was said at the time."""

    replayed: Replayed
    entry: Entry | None
    """The message that was handed over; None: it is what the stage before states now."""
    recorded: Entry | None
    """What was said at the time; None: it is not known, or there was nothing to be said."""
    differences: list[str]


def stages_in_a_row(stages: Sequence[Stage], *, offline: bool) -> tuple[Stage, ...]:
    """The chosen stages in order. Raises ConfigurationError: they do not follow each other, or cannot be run so."""
    chosen = tuple(stage for stage in _IN_A_ROW if stage in (stages or [Stage.RENDERER]))
    if Stage.DISCOVERY in stages:
        raise ConfigurationError("stage discovery: nothing is stated to it, so there is nothing to replay")
    if offline and Stage.COLLECTOR in chosen:
        raise ConfigurationError("stage collector: it reads vCenters, and offline there are none")
    if any(NEXT.get(one) is not other for one, other in pairwise(chosen)):
        raise ConfigurationError(f"stages {', '.join(chosen)}: one between them is missing")
    return chosen


async def replay(
    wish: Wish,
    wanted: str | None,
    stages: Sequence[Stage],
    *,
    offline: bool = False,
    templates: Path | None = None,
    within: float = 60.0,
) -> int:
    """Runs it and shows it. Returns the exit code.

    `offline`: from the file alone, with the templates in it or those of a folder. `within`: seconds for a statement.
    """
    chosen = stages_in_a_row(stages, offline=offline)
    recording = read_recording(wish.recording) if wish.recording is not None else None
    if offline and recording is None:
        raise ConfigurationError("offline there is no archive: name a file of `messages export` (--from)")
    async with _platform(wish, recording if offline else None, templates) as platform:
        async with source_of(wish, platform) as source:
            facts = await _facts(source, wish, wanted, bodies=chosen[0] is Stage.APPLIER)
        console = terminal.errors()
        with Status("", console=console) as status:
            if not console.is_terminal:
                status.stop()
            handed = [fact for fact in facts if fact.entry.stage is chosen[0] and fact.entry.statement is not None]
            statements = with_bodies([fact.entry.statement for fact in handed if fact.entry.statement is not None])
            status.update(f"{len(statements)} statements for the {chosen[0]}")
            async with Replay.of(platform, chosen, within=within) as running:
                done = await running.run(statements)
    compared = compare(done, facts, digests=recording is None)
    if not compared:
        _tell(f"nothing that is meant was said to the {chosen[0]}")
        return EXIT_NOT_ASKED
    _show(compared, wish.format)
    if offline and recording is not None and templates is None:
        _tell_outdated(recording, compared)
    return exit_code(compared)


def with_bodies(statements: Sequence[Statement]) -> list[Statement]:
    """Each delta with all manifests of its index that any of them brought: the applier has those of earlier ones."""
    bodies = {
        (object_id, delta.index[object_id].digest): sealed
        for delta in statements
        if isinstance(delta, ManifestDelta)
        for object_id, sealed in delta.manifests.items()
    }
    found: list[Statement] = []
    for statement in statements:
        if isinstance(statement, ManifestDelta):
            index = statement.index.items()
            there = {one: bodies[one, each.digest] for one, each in index if (one, each.digest) in bodies}
            statement = statement.model_copy(update={"manifests": there})  # noqa: PLW2901
        found.append(statement)
    return found


def compare(done: Iterable[Replayed], facts: Sequence[Fact], *, digests: bool) -> list[Compared]:
    """Each beside the last that was recorded of the same origin. `digests`: whether they are of the same keys."""
    handed = {fact.entry.message_id: fact.entry for fact in facts}
    found: list[Compared] = []
    for one in done:
        said = one.said[-1] if one.said else None
        recorded = _recorded(facts, said) if said is not None else None
        lines: list[str] = []
        if said is not None and recorded is not None and recorded.statement is not None:
            lines = differences(recorded.statement, said, digests=digests)
        found.append(Compared(one, handed.get(one.statement.trace.message_id), recorded, lines))
    return found


def exit_code(compared: Sequence[Compared]) -> int:
    """0: as recorded, as far as that is known; 1: different; 2: a stage could not do its work."""
    if any(one.replayed.failed for one in compared):
        return EXIT_NOT_ASKED
    return EXIT_DIFFERENT if any(one.differences for one in compared) else EXIT_AS_RECORDED


def _recorded(facts: Sequence[Fact], said: Statement) -> Entry | None:
    """The last that was stated of the same origin."""
    entries = [fact.entry for fact in facts if fact.entry.statement is not None]
    same = [one for one in entries if one.statement is not None and _origin(one.statement) == _origin(said)]
    return same[-1] if same else None


def _origin(statement: Statement) -> tuple[object, ...]:
    """Equal for statements that were made from the same ones."""
    match statement:
        case Inventory(host=host, zone=zone):
            return Stage.RENDERER, host, zone.revision
        case ManifestDelta(host=host, provenance=made):
            return Stage.APPLIER, host, made.inventory, made.zone.revision
        case DnsChange(host=host, revision=revision):
            return Stage.COLLECTOR, host, revision
    raise TypeError(type(statement).__name__)


async def _facts(source: Source, wish: Wish, wanted: str | None, *, bodies: bool) -> list[Fact]:
    if wanted is None:
        return facts_of([entry async for entry in source.entries(wish.selection, bodies=bodies)])
    facts = await history(source, wish.selection, wanted, bodies=bodies)
    return [step.fact for step in chain_of(facts, seeds_of(facts, wanted))]


@asynccontextmanager
async def _platform(wish: Wish, recording: Recording | None, templates: Path | None) -> AsyncIterator[Platform]:
    """The region; or offline, with what a recording holds in its place."""
    if recording is None:
        async with wish.access.region() as platform:
            yield platform
        return
    with tempfile.TemporaryDirectory(prefix="vcenter-operator-replay-") as folder:
        await asyncio.to_thread(unpack, recording, Path(folder), templates=templates is None)
        async with embedded.open_platform(
            wish.access.settings,
            site=Path(folder) / "site.yaml",
            templates=templates or Path(folder) / "manifests",
            dry_run=True,
            bus=Nowhere(wish.access.topology),
        ) as platform:
            yield platform


def _tell_outdated(recording: Recording, compared: Sequence[Compared]) -> None:
    recorded = [one.recorded.statement for one in compared if one.recorded is not None]
    deltas = [statement for statement in recorded if isinstance(statement, ManifestDelta)]
    if deltas and (names := outdated(recording, deltas[-1])):
        _tell(f"the templates in the file are others than at the time: {', '.join(names)}")


def _show(compared: Sequence[Compared], form: Format) -> None:
    if form is not Format.TABLE:
        terminal.output().file.write(text_of([_document(one) for one in compared], form))
        return
    for number, one in enumerate(compared):
        for line in [*([Text()] if number else []), *_lines(one)]:
            terminal.output().print(line, soft_wrap=True)


def _lines(one: Compared) -> Iterable[Text]:
    replayed = one.replayed
    statement = replayed.statement
    said_at = f" of {screen.when(one.entry.at)}" if one.entry is not None else ""
    kind, revision = type(statement).__name__, revision_text(statement)
    yield Text(f"{replayed.stage}: {kind} {revision} about {statement.host}{said_at}", style="bold")
    for said in replayed.said:
        yield Text(f"  states: {screen.says(said)}")
        if isinstance(said, ManifestDelta):
            yield from screen.marked(f"? {describe_unknown(unknown)}" for unknown in said.unknown)
    if replayed.plan is not None:
        yield Text(f"  would do: {summarize(replayed.plan)}")
        yield from (Text(f"    {line}") for line in describe(replayed.plan))
    if replayed.remark is not None:
        yield Text(f"  {replayed.remark}", style="bold yellow")
    if one.recorded is not None:
        at = f"{screen.when(one.recorded.at)} (id {one.recorded.message_id})"
        yield Text(f"  differs from what was said {at}:" if one.differences else f"  as it was said {at}", style="bold")
        yield from screen.marked(one.differences)


def _document(one: Compared) -> dict[str, Any]:
    replayed = one.replayed
    return {
        "stage": str(replayed.stage),
        "messageId": one.entry.message_id if one.entry is not None else None,
        "statement": statement_document(replayed.statement),
        "said": [statement_document(each) for each in replayed.said],
        "plan": None if replayed.plan is None else [summarize(replayed.plan), *describe(replayed.plan, limit=10_000)],
        "remark": replayed.remark,
        "failed": replayed.failed,
        "recorded": one.recorded.message_id if one.recorded is not None else None,
        "recordedAt": moment_text(one.recorded.at) if one.recorded is not None else None,
        "differences": one.differences if one.recorded is not None else None,
    }


def _tell(line: str) -> None:
    terminal.errors().print(line, soft_wrap=True)
