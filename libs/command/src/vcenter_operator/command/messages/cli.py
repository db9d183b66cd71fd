"""The command line of `vcenter-operator messages`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vcenter_operator.command import pipeline
from vcenter_operator.command.messages import looking
from vcenter_operator.command.messages.looking import Wish
from vcenter_operator.command.messages.region import Access
from vcenter_operator.command.messages.selection import Selection, moment
from vcenter_operator.command.status.command import Format
from vcenter_operator.common import telemetry
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.settings import Settings

app = typer.Typer(
    name="messages",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What was said on the bus: look at it, take it along, run it again in this process.\n\n"
    "Every statement is archived for some days. Begin with `list`, or `trace` a vCenter.\n\n"
    "Nothing is published, but by `resync` and `parked retry`, which ask first.",
    epilog="Exit codes: 0 found, or done; 1 nothing found, refused, or different; 2 a server could not be asked, or a "
    "setting or the command line is wrong. Each command's --help tells its own.",
)

CHOICE_PANEL = "Which messages"
REGION_PANEL = "Where"
FILES_PANEL = "On files instead of a region"

Id = Annotated[str, typer.Argument(help="The beginning of a message's id.", metavar="ID")]
VCenter = Annotated[
    str | None,
    typer.Option(help="About this one: its FQDN, or the first label.", metavar="VCENTER", rich_help_panel=CHOICE_PANEL),
]
Since = Annotated[
    str,
    typer.Option(help="From then on: an age (90s, 15m, 6h, 7d), or ISO 8601 in UTC.", rich_help_panel=CHOICE_PANEL),
]
Until = Annotated[str | None, typer.Option(help="Up to then.", rich_help_panel=CHOICE_PANEL)]
ForStage = Annotated[
    Stage | None, typer.Option("--stage", help="For this stage.", metavar="STAGE", rich_help_panel=CHOICE_PANEL)
]
Correlation = Annotated[
    str | None, typer.Option(help="The beginning of a correlation id.", metavar="ID", rich_help_panel=CHOICE_PANEL)
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="A file of `messages export`, in place of the archive.",
        exists=True,
        dir_okay=False,
        rich_help_panel=REGION_PANEL,
    ),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="For people, or for scripts.")]
BusUrl = Annotated[
    str | None,
    typer.Option(
        "--bus", help="URL of the RabbitMQ (`amqp://`, `amqps://`).", metavar="BUS", rich_help_panel=REGION_PANEL
    ),
]
Timeout = Annotated[
    float,
    typer.Option(help="What each server has for its first answer.", metavar="SECONDS", rich_help_panel=REGION_PANEL),
]
Site = Annotated[
    Path | None,
    typer.Option(help="Site file that the stages run on.", exists=True, dir_okay=False, rich_help_panel=FILES_PANEL),
]
Templates = Annotated[
    Path | None,
    typer.Option(help="Their folder of templates, cells and Secret.", exists=True, file_okay=False,
                 rich_help_panel=FILES_PANEL),
]  # fmt: skip
Written = Annotated[
    Path | None,
    typer.Option(help="The folder that they write to (their --output).", file_okay=False, rich_help_panel=FILES_PANEL),
]
Manifests = Annotated[
    bool,
    typer.Option("--manifests", help="Open sealed manifests with the Secret's keys, and mask them."),
]
A_DAY, AN_HOUR = "1d", "1h"


@app.command("list")
def list_command(
    vcenter: VCenter = None,
    since: Since = AN_HOUR,
    until: Until = None,
    stage: ForStage = None,
    correlation: Correlation = None,
    repeats: Annotated[bool, typer.Option("--repeats", help="A line for each repetition as well.")] = False,
    output: Output = Format.TABLE,
    recording: From = None,
    bus: BusUrl = None,
) -> None:
    """List what was said, oldest first. A statement that was repeated is one line, with how often.

    Exit codes: 0 there is some; 1 there is none; 2 the broker could not be asked, or a setting is wrong.
    """
    wish = Wish(_access(bus), _selection(since, until, vcenter, stage, correlation), output, recording)
    _run(looking.list_messages(wish, repeats=repeats))


@app.command("show")
def show_command(
    message: Id,
    manifests: Manifests = False,
    since: Since = A_DAY,
    output: Annotated[Format, typer.Option("--output", "-o", help="`yaml` or `json`.")] = Format.YAML,
    recording: From = None,
    bus: BusUrl = None,
) -> None:
    """Show one message, decoded. Manifests are sealed, and shown with --manifests alone: values of Secrets and derived
    passwords are masked.

    Exit codes: 0 shown; 1 there is no such message; 2 something could not be asked, or a setting is wrong.
    """
    wish = Wish(_access(bus), _selection(since), output, recording)
    _run(looking.show_message(wish, message, manifests=manifests))


@app.command("trace")
def trace_command(
    wanted: Annotated[
        str,
        typer.Argument(
            help="The beginning of a message's or correlation's id; or a vCenter, for what was said of it last.",
            metavar="ID",
        ),
    ],
    since: Since = A_DAY,
    output: Output = Format.TABLE,
    recording: From = None,
    bus: BusUrl = None,
    timeout: Timeout = 30.0,
    site: Site = None,
    templates: Templates = None,
    written: Written = None,
) -> None:
    """Show the whole chain with its times: zone serial, inventory, delta, and the objects as they are now.

    Each statement is shown with what it changed. What became of a delta is told by the record of the vCenter and by the
    objects themselves, which carry the inventory that changed them last.

    Exit codes: 0 shown; 1 there is no such message; 2 something could not be asked, or a setting is wrong.
    """
    wish = Wish(_access(bus, _files(site, templates, written), timeout), _selection(since), output, recording)
    _run(looking.trace(wish, wanted))


@app.command("diff")
def diff_command(
    first: Id,
    second: Id,
    manifests: Manifests = False,
    since: Since = A_DAY,
    recording: From = None,
    bus: BusUrl = None,
) -> None:
    """Show how two statements about one vCenter differ, as a unified diff.

    Exit codes: 0 they say the same; 1 they differ; 2 there is no such message, they cannot be compared, or something
    could not be asked.
    """
    wish = Wish(_access(bus), _selection(since), recording=recording)
    _run(looking.diff_messages(wish, first, second, manifests=manifests))


def _access(bus: str | None, files: pipeline.Files | None = None, timeout: float = 30.0) -> Access:
    return Access(Settings.load(bus=bus), files, timeout)


def _files(site: Path | None, templates: Path | None, written: Path | None) -> pipeline.Files | None:
    if site is None and templates is None and written is None:
        return None
    if site is None or templates is None:
        raise typer.BadParameter("--site and --templates go together; --written goes with them")
    return pipeline.Files(site, templates, written)


def _selection(
    since: str,
    until: str | None = None,
    vcenter: str | None = None,
    stage: Stage | None = None,
    correlation: str | None = None,
) -> Selection:
    now = datetime.now(UTC)
    return Selection(moment(since, now), moment(until, now) if until else None, vcenter, stage, correlation)


def _run(work: Coroutine[Any, Any, int]) -> None:
    telemetry.configure("ERROR", json=False)
    raise typer.Exit(asyncio.run(work))
