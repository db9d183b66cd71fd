"""What the commands of `vcenter-operator messages` have in common on the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vcenter_operator.command import pipeline
from vcenter_operator.command.messages.region import Access
from vcenter_operator.command.messages.selection import Selection, moment
from vcenter_operator.command.status.command import Format
from vcenter_operator.common import telemetry
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.settings import Settings

CHOICE_PANEL = "Which messages"
REGION_PANEL = "Where"
FILES_PANEL = "On files instead of a region"

Id = Annotated[str, typer.Argument(help="The beginning of a message's id.", metavar="ID")]
VCenter = Annotated[
    str | None,
    typer.Option(help="About this one: its FQDN, or the first label.", metavar="VCENTER", rich_help_panel=CHOICE_PANEL),
]
Since = Annotated[
    str | None,
    typer.Option(
        help="From then on: an age (90s, 15m, 6h, 7d), or ISO 8601 in UTC.  [default: 1d; `list`: 1h; all of a file]",
        rich_help_panel=CHOICE_PANEL,
    ),
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
Document = Annotated[Format, typer.Option("--output", "-o", help="`yaml` or `json`.")]
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
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
A_DAY, AN_HOUR = "1d", "1h"


ByStage = Annotated[Stage | None, typer.Option("--stage", help="Only what this stage parked.", metavar="STAGE")]


def asking(yes: bool) -> Callable[[str], bool]:
    """Asks a person, unless they said yes beforehand."""
    return lambda text: yes or typer.confirm(text)


def access_to(
    bus: str | None,
    timeout: float = 30.0,
    site: Path | None = None,
    templates: Path | None = None,
    written: Path | None = None,
) -> Access:
    """How servers are reached, or the files in place of a region. Raises ConfigurationError."""
    return Access(Settings.load(bus=bus), _files_of(site, templates, written), timeout)


def selection_of(
    since: str | None,
    until: str | None = None,
    vcenter: str | None = None,
    stage: Stage | None = None,
    correlation: str | None = None,
    *,
    recording: Path | None = None,
    unless_said: str = A_DAY,
) -> Selection:
    """The choice; `unless_said`: where it begins, but in a recording, which is read from its begin on.

    Raises ConfigurationError: a time is none.
    """
    now = datetime.now(UTC)
    begin, end = (moment(text, now) if text else None for text in (since or ("" if recording else unless_said), until))
    return Selection(begin, end, vcenter, stage, correlation)


def run(work: Coroutine[Any, Any, int], *, log_level: telemetry.Level = "ERROR") -> None:
    """Runs a command, and ends with its exit code."""
    telemetry.configure(log_level, json=False)
    raise typer.Exit(asyncio.run(work))


def _files_of(site: Path | None, templates: Path | None, written: Path | None) -> pipeline.Files | None:
    """The files in place of a region; None: there are none."""
    if site is None and templates is None and written is None:
        return None
    if site is None or templates is None:
        raise typer.BadParameter("--site and --templates go together; --written goes with them")
    return pipeline.Files(site, templates, written)
