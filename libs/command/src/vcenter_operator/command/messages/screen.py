"""Statements as a person reads them. Colours say nothing that words do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vcenter_operator.applier.core.describe import describe_object
from vcenter_operator.command.messages.applied import Acted, Applied, Standing
from vcenter_operator.command.messages.chain import Step
from vcenter_operator.command.messages.differences import describe_unknown, differences
from vcenter_operator.command.messages.model import Entry, Fact, revision_text
from vcenter_operator.common.bus.port import Parked
from vcenter_operator.common.messages import DnsChange, Inventory, ManifestDelta, Statement

_MARKS = {"+": "green", "-": "red", "~": "yellow", "?": "bold yellow"}
_SHORT = 8
_MOST = 20
"""Lines of a sort; the documents for scripts have all."""


def table_of(facts: Iterable[Fact], *, repeats: bool) -> Table:
    """One line for each."""
    columns = ("AT", "FOR", "VCENTER", "REVISION", "SAYS", *(() if repeats else ("TIMES", "LAST")), "ID", "CORRELATION")
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column == "TIMES" else "left", overflow="fold")
    for fact in facts:
        entry = fact.entry
        statement = entry.statement
        revision = revision_text(statement) if statement is not None else "-"
        said = () if repeats else (Text(str(fact.times)), Text(when(fact.last_at) if fact.times > 1 else ""))
        table.add_row(
            Text(when(entry.at)),
            Text(str(entry.stage)),
            Text(entry.host.partition(".")[0]),
            Text(revision),
            _says(entry),
            *said,
            Text(entry.message_id[:_SHORT]),
            Text(entry.correlation_id[:_SHORT], style="dim"),
        )
    return table


def parked_table(parked: Iterable[Parked]) -> Table:
    """One line for each parked message."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for column in ("PARKED", "STAGE", "VCENTER", "ATTEMPTS", "ID", "REASON"):
        table.add_column(column, justify="right" if column == "ATTEMPTS" else "left", overflow="fold")
    for one in parked:
        table.add_row(
            when(one.parked_at),
            str(one.stage),
            Text(one.host or "-"),
            str(one.attempts),
            one.id[:_SHORT],
            Text(one.reason),
        )
    return table


def chain(steps: Iterable[tuple[Step, Applied | None]]) -> RenderableType:
    """A whole chain: each statement, what it changed, and what became of that."""
    parts: list[RenderableType] = []
    for step, applied in steps:
        parts += [_heading(step.fact), *_changes(step), *(_became(applied) if applied is not None else ()), Text()]
    return Group(*parts[:-1])


def marked(lines: Iterable[str]) -> Iterator[Text]:
    """Lines of differences, in their colours."""
    for line in lines:
        yield Text(f"  {line}", style=_MARKS.get(line[:1], ""))


def says(statement: Statement) -> str:
    """A statement in a line."""
    match statement:
        case DnsChange(present=True, serial=serial, addresses=addresses):
            return f"in the zone, serial {serial}" + (f", {', '.join(addresses)}" if addresses else "")
        case DnsChange(serial=serial):
            return f"gone from the zone, serial {serial}"
        case Inventory(present=True, clusters=clusters, unknown=unknown):
            return f"{len(clusters)} clusters" + (f", {len(unknown)} unknown" if unknown else "")
        case ManifestDelta(present=True, index=index, unknown=unknown):
            return f"{len(index)} objects" + (f", {len(unknown)} unknown" if unknown else "")
    return "gone from the zone"


def when(moment: datetime) -> str:
    """In UTC, to the millisecond."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _says(entry: Entry) -> Text:
    if entry.statement is None:
        return Text(f"cannot be read: {entry.problem}", style="bold red")
    unknown = isinstance(entry.statement, Inventory | ManifestDelta) and bool(entry.statement.unknown)
    return Text(says(entry.statement), style="bold yellow" if unknown else "")


def _heading(fact: Fact) -> Text:
    entry = fact.entry
    kind = type(entry.statement).__name__ if entry.statement is not None else "?"
    revision = revision_text(entry.statement) if entry.statement is not None else "-"
    text = Text()
    text.append(f"{when(entry.at)}  {kind} ", style="bold")
    text.append(f"{revision} of {entry.host}: ", style="bold")
    text.append_text(_says(entry))
    text.append(f"\n  id {entry.message_id}, correlation {entry.correlation_id}", style="dim")
    if fact.times > 1:
        text.append(f"\n  said {fact.times} times, last {when(fact.last_at)}", style="dim")
    return text


def _changes(step: Step) -> Iterator[Text]:
    statement = step.fact.entry.statement
    if statement is None:
        return
    if isinstance(statement, ManifestDelta):
        made = statement.provenance
        yield Text(f"  made from inventory {made.inventory}, zone {made.zone.revision} (serial {made.zone.serial})")
    if step.before is None:
        yield Text("  nothing that was stated before it is known", style="dim")
        if isinstance(statement, ManifestDelta):
            yield from marked(f"? {describe_unknown(unknown)}" for unknown in statement.unknown)
        return
    lines = differences(step.before, statement)
    yield from marked(lines[:_MOST] or ["nothing that it changes but what it was made from"])
    if len(lines) > _MOST:
        yield Text(f"  and {len(lines) - _MOST} more (-o yaml has all)")


def _became(applied: Applied) -> Iterator[Text]:
    text = Text("  applier: ", style="bold")
    text.append(str(applied.acted), style="green" if applied.acted is Acted.ON_THIS else "yellow")
    if applied.acted_on is not None and applied.acted is not Acted.ON_THIS:
        text.append(f" (inventory {applied.acted_on.inventory})")
    if applied.changed is not None:
        text.append(f"; an object changed last {when(applied.changed)}")
    yield text
    for one in applied.objects[:_MOST]:
        yield _standing(one)
    if len(applied.objects) > _MOST:
        yield Text(f"    and {len(applied.objects) - _MOST} more (-o yaml has all)")


def _standing(one: Standing) -> Text:
    if not one.exists:
        return Text(f"    {describe_object(one.id)}: {one.became}, does not exist", style="dim")
    by = f", last changed by inventory {one.revision}" if one.revision else ""
    at = f" at {when(one.at)}" if one.at else ""
    stated = {True: "as stated", False: "not as stated", None: "stays"}[one.as_stated]
    return Text(f"    {describe_object(one.id)}: {one.became}, {stated}{by}{at}")
