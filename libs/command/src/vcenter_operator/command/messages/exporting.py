"""What `export` and `import` do."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from vcenter_operator.command import terminal
from vcenter_operator.command.messages.chain import chain_of, seeds_of
from vcenter_operator.command.messages.looking import EXIT_FOUND, EXIT_NOTHING, Wish, source_of
from vcenter_operator.command.messages.model import Entry, facts_of
from vcenter_operator.command.messages.recording import Recording, read_recording, unpack
from vcenter_operator.command.messages.redaction import Redaction, Resource
from vcenter_operator.command.messages.selection import Selection
from vcenter_operator.command.messages.sources import Source, history
from vcenter_operator.common.embedded.files import replace_file
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import ManifestDelta
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.watching import version_of
from vcenter_operator.renderer.adapters.embedded import templates_and_cells
from vcenter_operator.renderer.core.templates import parse_template


async def export(
    wish: Wish, wanted: str | None, path: Path, *, with_templates: bool, clear: tuple[str, ...] = ()
) -> int:
    """Writes what is meant, or the chain of `wanted`, to a new file, without anything secret.

    `clear`: keys of the Secret that are no secrets. Raises ConfigurationError, TransientError.
    """
    async with wish.access.region() as platform, source_of(wish, platform) as source:
        entries = await _entries(source, wish.selection, wanted)
        if not entries:
            _tell("nothing that is meant was said: nothing is exported")
            return EXIT_NOTHING
        configuration = await platform.configuration.current()
        if strange := set(clear) - configuration.values.keys():
            raise ConfigurationError(f"--clear {', '.join(sorted(strange))}: the Secret has no such key")
        redaction = Redaction.of(configuration.values, clear)
        templates, cells = await _resources(platform) if with_templates else ([], [])
        recording = Recording(
            datetime.now(UTC),
            platform.surroundings,
            tuple(map(redaction.entry, entries)),
            tuple(map(redaction.resource, templates)),
            tuple(map(redaction.resource, cells)),
            redaction.secret() if with_templates else {},
        )
    replace_file(path, recording.text(), mode=0o600)
    _describe(recording, path)
    if recording.secret:
        _tell(f"not masked: {', '.join(sorted(recording.secret.keys() & redaction.clear))}")
    return EXIT_FOUND


def unpack_file(path: Path, folder: Path | None) -> int:
    """Checks a file and says what it holds; writes that to `folder`, to be edited and rendered from.

    Raises ConfigurationError.
    """
    recording = read_recording(path)
    _describe(recording, path)
    if folder is not None:
        unpack(recording, folder)
        _tell(f"templates, cells and the masked Secret are in {folder}/manifests")
    return EXIT_FOUND


def outdated(recording: Recording, delta: ManifestDelta) -> list[str]:
    """Templates that were other ones when a delta was made than they are in the file."""
    held = {parse_template(each).key: version_of(each) for each in recording.templates}
    return sorted(name for name in held.keys() | delta.templates.keys() if held.get(name) != delta.templates.get(name))


async def _entries(source: Source, selection: Selection, wanted: str | None) -> list[Entry]:
    if wanted is None:
        return [fact.entry for fact in facts_of([entry async for entry in source.entries(selection)])]
    facts = await history(source, selection, wanted)
    found: list[Entry] = []
    for step in chain_of(facts, seeds_of(facts, wanted)):
        for fact in (step.earlier, step.fact):
            if fact is not None and fact.entry not in found:
                found.append(fact.entry)
    return sorted(found, key=lambda entry: entry.order)


async def _resources(platform: Platform) -> tuple[list[Resource], list[Resource]]:
    """Templates and cells as they are now. Raises TransientError."""
    async with AsyncExitStack() as stack:
        if platform.kubernetes is not None:
            from vcenter_operator.renderer.adapters import kubernetes  # noqa: PLC0415 - not needed on files

            watched = await stack.enter_async_context(kubernetes.templates_and_cells(platform.kubernetes))
        else:
            assert platform.manifests is not None
            watched = templates_and_cells(platform.manifests)
        templates, cells = [(await each.fresh()).items.values() for each in watched]
        return list(templates), list(cells)


def _describe(recording: Recording, path: Path) -> None:
    hosts = sorted({entry.host for entry in recording.entries})
    _tell(f"{path}: {len(recording.entries)} statements about {', '.join(hosts)}; no manifests, digests keyed anew")
    if not recording.templates:
        _tell("without templates: nothing can be rendered from it alone (--with-templates)")
        return
    _tell(f"{len(recording.templates)} templates as they were at the export; the Secret's values are masked")
    deltas = [entry.statement for entry in recording.entries if isinstance(entry.statement, ManifestDelta)]
    if deltas and (other := outdated(recording, deltas[-1])):
        _tell(f"edited since the last statement in it was made: {', '.join(other)}")


def _tell(line: str) -> None:
    terminal.errors().print(line, soft_wrap=True)
