"""What the commands under `parked` do: look at what was put aside, put it back, throw it away."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from vcenter_operator.command import terminal
from vcenter_operator.command.messages import screen
from vcenter_operator.command.messages.document import moment_text, statement_document, text_of
from vcenter_operator.command.messages.looking import EXIT_FOUND, EXIT_NOTHING, Wish, source_of
from vcenter_operator.command.messages.selection import Selection
from vcenter_operator.command.messages.superseding import superseded
from vcenter_operator.command.status.command import Format
from vcenter_operator.common.bus.port import Parked
from vcenter_operator.common.bus.rabbitmq.parking import Parking
from vcenter_operator.common.errors import ConfigurationError, MalformedMessage
from vcenter_operator.common.messages import Stage, Statement
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.wire import statement_for

EXIT_DONE, EXIT_REFUSED = 0, 1
_SAID_AGAIN_WITHIN = timedelta(hours=1)
"""Current statements are said again more often than this, so that what is newer than a parked one is among them."""

Ask = Callable[[str], bool]


async def list_parked(wish: Wish) -> int:
    """Shows what is parked, by one stage or all."""
    parked = await _parked(wish, await _parking(wish))
    if wish.format is not Format.TABLE:
        sys.stdout.write(text_of([_document(one) for one in parked], wish.format))
    elif parked:
        terminal.show(terminal.output(), screen.parked_table(parked))
    else:
        _tell("nothing is parked")
    return EXIT_FOUND


async def show_parked(wish: Wish, wanted: str) -> int:
    """Shows one in full, decoded as far as it can be."""
    found = _named(await _parked(wish, await _parking(wish)), wanted)
    if found is None:
        return EXIT_NOTHING
    sys.stdout.write(text_of(_document(found, full=True), wish.format))
    return EXIT_FOUND


async def retry_parked(wish: Wish, wanted: str, ask: Ask) -> int:
    """Puts one back to its stage, if it is still the newest about its vCenter, and a person says so.

    Raises ConfigurationError, TransientError: whether it is the newest could not be asked, and it stays parked.
    """
    async with wish.access.region() as platform:
        parking = Parking(await wish.access.endpoint(platform), wish.access.names)
        found = _named(await _parked(wish, parking), wanted)
        if found is None:
            return EXIT_NOTHING
        try:
            statement = statement_for(found.stage, found.body)
        except MalformedMessage as error:
            _tell(f"refused: it can still not be read: {error}")
            return EXIT_REFUSED
        if (newer := await _superseded(wish, platform, found, statement)) is not None:
            _tell(f"refused: it is superseded: {newer}; it can be dropped")
            return EXIT_REFUSED
    _tell(f"{found.stage}: {type(statement).__name__} about {statement.host}: {screen.says(statement)}")
    _tell(f"parked {screen.when(found.parked_at)} after {found.attempts} attempts: {found.reason}")
    if not ask("Put it back to its queue?"):
        _tell("it stays parked")
        return EXIT_REFUSED
    partition = wish.access.topology.partition(found.stage, statement.host)
    if not await parking.put_back(found.stage, partition, found.id):
        _tell("it is not parked any more")
        return EXIT_NOTHING
    _tell(f"put back: partition {partition} of the {found.stage}")
    return EXIT_DONE


async def drop_parked(wish: Wish, wanted: Sequence[str], ask: Ask) -> int:
    """Throws away those that are named, if a person says so."""
    parking = await _parking(wish)
    parked = await _parked(wish, parking)
    found = [one for one in (_named(parked, each) for each in wanted) if one is not None]
    if len(found) < len(wanted):
        return EXIT_NOTHING
    for one in found:
        _tell(f"{one.stage}: {one.id} about {one.host or '-'}: {one.reason}")
    if not ask(f"Drop {len(found)} parked messages?"):
        _tell("nothing is dropped")
        return EXIT_REFUSED
    gone: list[Parked] = []
    for stage in dict.fromkeys(one.stage for one in found):
        gone += await parking.drop(stage, {one.id for one in found if one.stage is stage})
    _tell(f"dropped: {len(gone)}")
    return EXIT_DONE if gone else EXIT_NOTHING


async def _parking(wish: Wish) -> Parking:
    return Parking(await wish.access.endpoint(), wish.access.names)


async def _parked(wish: Wish, parking: Parking) -> list[Parked]:
    stages = [wish.selection.stage] if wish.selection.stage is not None else list(Stage)
    found = [one for stage in stages for one in await parking.all(stage)]
    return sorted(found, key=lambda one: one.parked_at)


async def _superseded(wish: Wish, platform: Platform, parked: Parked, statement: Statement) -> str | None:
    record = await platform.store.get(statement.host)
    selection = Selection(since=parked.parked_at - _SAID_AGAIN_WITHIN, vcenter=statement.host, stage=statement.receiver)
    async with source_of(wish, platform) as source:
        return superseded(statement, record, [entry async for entry in source.entries(selection)])


def _named(parked: Iterable[Parked], wanted: str) -> Parked | None:
    """The one whose id begins so; None, and a word about it, where there is none. Raises ConfigurationError."""
    found = {one.id: one for one in parked if one.id.startswith(wanted)}
    if len(found) > 1:
        raise ConfigurationError(f"{wanted}: several parked messages have such an id: {', '.join(sorted(found))}")
    if not found:
        _tell(f"{wanted}: no parked message has such an id")
    return next(iter(found.values()), None)


def _document(parked: Parked, *, full: bool = False) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": parked.id,
        "stage": str(parked.stage),
        "host": parked.host,
        "reason": parked.reason,
        "attempts": parked.attempts,
        "parkedAt": moment_text(parked.parked_at),
        "bytes": len(parked.body),
    }
    if full:
        try:
            document["statement"] = statement_document(statement_for(parked.stage, parked.body))
        except MalformedMessage as error:
            document["problem"] = str(error)
    return document


def _tell(line: str) -> None:
    terminal.errors().print(line, soft_wrap=True)
