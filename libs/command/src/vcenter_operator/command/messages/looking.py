"""What the commands do that only look: `list`, `show`, `trace`, `diff`."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID
from rich.text import Text

from vcenter_operator.command import terminal
from vcenter_operator.command.messages import screen
from vcenter_operator.command.messages.applied import Applied, applied
from vcenter_operator.command.messages.chain import Step, chain_of, seeds_of
from vcenter_operator.command.messages.document import entry_document, fact_document, step_document, text_of
from vcenter_operator.command.messages.manifests import documents, opened
from vcenter_operator.command.messages.model import Entry, Fact, facts_of
from vcenter_operator.command.messages.recording import read_recording
from vcenter_operator.command.messages.region import Access
from vcenter_operator.command.messages.selection import Selection
from vcenter_operator.command.messages.sources import FromArchive, FromFile, Source, history, named
from vcenter_operator.command.status.command import Format
from vcenter_operator.common.bus.rabbitmq.archive import Archive
from vcenter_operator.common.errors import ConfigurationError, OperatorError
from vcenter_operator.common.messages import ManifestDelta, Stage, Statement
from vcenter_operator.common.platform import Platform

EXIT_FOUND, EXIT_NOTHING, EXIT_NOT_ASKED = 0, 1, 2
EXIT_SAME, EXIT_DIFFERENT = 0, 1
_STYLES = {"-": "red", "+": "green", "@": "cyan"}


@dataclass(frozen=True)
class Wish:
    """What is asked for, and where. `recording`: a file in place of the archive."""

    access: Access
    selection: Selection
    format: Format = Format.TABLE
    recording: Path | None = None


@asynccontextmanager
async def source_of(wish: Wish, platform: Platform | None = None) -> AsyncIterator[Source]:
    """Where statements are read, with progress on a terminal. Raises ConfigurationError, TransientError."""
    if wish.recording is not None:
        yield FromFile(read_recording(wish.recording).entries)
        return
    endpoint = await wish.access.endpoint(platform)
    console = terminal.errors()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bars: dict[Stage, TaskID] = {}

        def on_progress(stage: Stage, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(f"reading what was said to the {stage}")
            progress.update(bars[stage], completed=done, total=total)

        yield FromArchive(Archive(endpoint, wish.access.names, on_progress))


async def list_messages(wish: Wish, *, repeats: bool) -> int:
    """Shows what was said, oldest first; repetitions in one line, unless `repeats`."""
    async with source_of(wish) as source:
        entries = [entry async for entry in source.entries(wish.selection)]
    entries.sort(key=lambda entry: entry.order)
    facts = [Fact(entry, entry.at) for entry in entries] if repeats else facts_of(entries)
    if wish.format is not Format.TABLE:
        _write(text_of([fact_document(fact) for fact in facts], wish.format))
    elif facts:
        terminal.show(terminal.output(), screen.table_of(facts, repeats=repeats))
    else:
        _tell("nothing was said")
    return EXIT_FOUND if facts else EXIT_NOTHING


async def show_message(wish: Wish, wanted: str, *, manifests: bool) -> int:
    """Shows a message in full; with `manifests`, opened by the keys of the Secret, and masked."""
    async with source_of(wish) as source:
        entry = _one(await named(source, wish.selection, wanted, bodies=manifests), wanted)
    if entry is None:
        return EXIT_NOTHING
    document = entry_document(entry)
    if manifests and isinstance(entry.statement, ManifestDelta):
        document["manifests"], _ = await _opened(wish.access, entry.statement, None)
    _write(text_of(document, Format.YAML if wish.format is Format.TABLE else wish.format))
    return EXIT_FOUND


async def trace(wish: Wish, wanted: str) -> int:
    """Shows the whole chain that a message, a correlation or a vCenter's last statement is part of."""
    async with source_of(wish) as source:
        facts = await history(source, wish.selection, wanted)
    steps = chain_of(facts, seeds_of(facts, wanted))
    if not steps:
        _tell(f"{wanted}: no message with such an id, and none about such a vCenter, was said in this time")
        return EXIT_NOTHING
    problem: str | None = None
    told: list[tuple[Step, Applied | None]] = [(step, None) for step in steps]
    if wish.recording is None:
        try:
            async with wish.access.region() as platform:
                told = [(step, await _applied(platform, step)) for step in steps]
        except OperatorError as error:
            problem = f"what became of it could not be asked: {error}"
    if wish.format is Format.TABLE:
        terminal.show(terminal.output(), screen.chain(told))
    else:
        _write(text_of([step_document(step, became) for step, became in told], wish.format))
    if problem is not None:
        _tell(problem, style="bold yellow")
    return EXIT_FOUND if problem is None else EXIT_NOT_ASKED


async def _applied(platform: Platform, step: Step) -> Applied | None:
    delta = step.fact.entry.statement
    if not isinstance(delta, ManifestDelta):
        return None
    return await applied(platform, delta, step.before if isinstance(step.before, ManifestDelta) else None)


async def diff_messages(wish: Wish, first: str, second: str, *, manifests: bool) -> int:
    """Shows two statements about one vCenter as a unified diff. Raises ConfigurationError: they cannot be compared."""
    async with source_of(wish) as source:
        one = _one(await named(source, wish.selection, first, bodies=manifests), first)
        other = _one(await named(source, wish.selection, second, bodies=manifests), second)
    if one is None or other is None:
        return EXIT_NOT_ASKED
    before, after = _comparable(one), _comparable(other)
    if (one.host, type(before)) != (other.host, type(after)):
        raise ConfigurationError(
            f"{first} is a {type(before).__name__} about {one.host}, {second} a {type(after).__name__} about "
            f"{other.host}: two of one kind about one vCenter can be compared"
        )
    documents_of = [entry_document(each)["statement"] for each in (one, other)]
    for document in documents_of:
        del document["trace"]
    if manifests and isinstance(before, ManifestDelta) and isinstance(after, ManifestDelta):
        sides = await _opened(wish.access, before, after)
        for document, side in zip(documents_of, sides, strict=True):
            document["manifests"] = side
    old, new = (text_of(document, Format.YAML).splitlines() for document in documents_of)
    old_name, new_name = (f"{entry.message_id} {screen.when(entry.at)}" for entry in (one, other))
    lines = list(difflib.unified_diff(old, new, old_name, new_name, lineterm=""))
    for line in lines:
        heading = line.startswith(("---", "+++"))
        terminal.output().print(Text(line, style="bold" if heading else _STYLES.get(line[:1], "")), soft_wrap=True)
    return EXIT_DIFFERENT if lines else EXIT_SAME


def _comparable(entry: Entry) -> Statement:
    if entry.statement is None:
        raise ConfigurationError(f"{entry.message_id} cannot be read: {entry.problem}")
    return entry.statement


async def _opened(
    access: Access, one: ManifestDelta, other: ManifestDelta | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    async with access.region() as platform:
        keyring = (await platform.configuration.current()).keyring
    return documents(opened(keyring, one), opened(keyring, other) if other is not None else {})


def _one(entries: list[Entry], wanted: str) -> Entry | None:
    """The one that is named; None, and a word about it, where there is none. Raises ConfigurationError: several."""
    ids = sorted({entry.message_id for entry in entries})
    if len(ids) > 1:
        raise ConfigurationError(f"{wanted}: several messages have ids that begin so: {', '.join(ids)}")
    if not ids:
        _tell(f"{wanted}: no message with such an id was said in this time")
        return None
    return entries[-1]


def _write(text: str) -> None:
    terminal.output().file.write(text)


def _tell(line: str, style: str = "") -> None:
    terminal.errors().print(line, soft_wrap=True, style=style)
