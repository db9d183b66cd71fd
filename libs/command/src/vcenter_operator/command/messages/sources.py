"""Where statements are read: from the archive on the broker, or from a file that somebody exported."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Protocol

from vcenter_operator.command.diff.collecting import Scope
from vcenter_operator.command.messages.model import Entry, Fact, entry_of, facts_of
from vcenter_operator.command.messages.selection import Said, Selection
from vcenter_operator.common.bus.rabbitmq.archive import Archive
from vcenter_operator.common.bus.rabbitmq.archiving import Archived

_PART_OF_ID = re.compile("[0-9a-f-]+")
"""Of a UUID. What is none is a vCenter's name, and a stream need not be read for it twice."""
Wanted = Callable[[Said], bool]


class Source(Protocol):
    """Statements that were said."""

    def entries(
        self, selection: Selection, *, wanted: Wanted | None = None, bodies: bool = False
    ) -> AsyncGenerator[Entry, None]:
        """Those that are meant, arrow by arrow, each in the order in which they were said.

        `wanted` is asked besides, before anything is decoded. `bodies`: with sealed manifests, where there are any.
        """
        ...


class FromArchive:
    """The archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def entries(
        self, selection: Selection, *, wanted: Wanted | None = None, bodies: bool = False
    ) -> AsyncGenerator[Entry, None]:
        """See `Source.entries`. Raises BusUnavailable, ConfigurationError."""
        for stage in selection.stages:
            async with aclosing(self._archive.read(stage, selection.since)) as messages:
                async for archived in _meant(messages, selection, wanted):
                    yield entry_of(archived, bodies=bodies)


class FromFile:
    """What a file holds."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)

    async def entries(
        self,
        selection: Selection,
        *,
        wanted: Wanted | None = None,
        bodies: bool = False,  # noqa: ARG002
    ) -> AsyncGenerator[Entry, None]:
        """See `Source.entries`. There are no manifests."""
        for entry in self._entries:
            if selection.takes(entry) and (wanted is None or wanted(entry)):
                yield entry


async def _meant(
    messages: AsyncIterator[Archived], selection: Selection, wanted: Wanted | None
) -> AsyncIterator[Archived]:
    async for archived in messages:
        if selection.takes(archived) and (wanted is None or wanted(archived)):
            yield archived


async def named(source: Source, selection: Selection, wanted: str, *, bodies: bool = False) -> list[Entry]:
    """The messages whose own id begins so."""
    found = source.entries(selection, wanted=lambda said: said.message_id.startswith(wanted), bodies=bodies)
    return [entry async for entry in found]


async def history(source: Source, selection: Selection, wanted: str, *, bodies: bool = False) -> list[Fact]:
    """All that was said of the vCenters that messages are about whose ids begin so, or of the vCenter of this name."""
    hosts: set[str] = set()
    if _PART_OF_ID.fullmatch(wanted):
        about = source.entries(
            selection, wanted=lambda said: said.message_id.startswith(wanted) or said.correlation_id.startswith(wanted)
        )
        hosts = {entry.host async for entry in about}
    scope = Scope(wanted)
    all_of_it = source.entries(
        selection, wanted=lambda said: said.host in hosts or scope.has_vcenter(said.host), bodies=bodies
    )
    return facts_of([entry async for entry in all_of_it])
