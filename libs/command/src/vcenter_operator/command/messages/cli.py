"""The command line of `vcenter-operator messages`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcenter_operator.command.manual import epilog
from vcenter_operator.command.messages import exporting, looking, parked_cli, resyncing
from vcenter_operator.command.messages import replay as replaying
from vcenter_operator.command.messages.looking import Wish
from vcenter_operator.command.messages.options import (
    AN_HOUR,
    CHOICE_PANEL,
    BusUrl,
    Correlation,
    Document,
    ForStage,
    From,
    Id,
    Manifests,
    Output,
    Since,
    Site,
    Templates,
    Timeout,
    Until,
    VCenter,
    Written,
    Yes,
    access_to,
    asking,
    run,
    selection_of,
)
from vcenter_operator.command.status.command import Format
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.process import IN_PROCESS

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

app.add_typer(parked_cli.app)


@app.command("list", epilog=epilog("messages list"))
def list_command(
    vcenter: VCenter = None,
    since: Since = None,
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
    choice = selection_of(since, until, vcenter, stage, correlation, recording=recording, unless_said=AN_HOUR)
    wish = Wish(access_to(bus), choice, output, recording)
    run(looking.list_messages(wish, repeats=repeats))


@app.command("show", epilog=epilog("messages show"))
def show_command(
    message: Id,
    manifests: Manifests = False,
    since: Since = None,
    output: Document = Format.YAML,
    recording: From = None,
    bus: BusUrl = None,
) -> None:
    """Show one message, decoded. Manifests are sealed, and shown with --manifests alone: values of Secrets and derived
    passwords are masked.

    Exit codes: 0 shown; 1 there is no such message; 2 something could not be asked, or a setting is wrong.
    """
    wish = Wish(access_to(bus), selection_of(since, recording=recording), output, recording)
    run(looking.show_message(wish, message, manifests=manifests))


@app.command("trace", epilog=epilog("messages trace"))
def trace_command(
    wanted: Annotated[
        str,
        typer.Argument(
            help="The beginning of a message's or correlation's id; or a vCenter, for what was said of it last.",
            metavar="ID",
        ),
    ],
    since: Since = None,
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
    wish = Wish(
        access_to(bus, timeout, site, templates, written),
        selection_of(since, recording=recording),
        output,
        recording,
    )
    run(looking.trace(wish, wanted))


@app.command("diff", epilog=epilog("messages diff"))
def diff_command(
    first: Id,
    second: Id,
    manifests: Manifests = False,
    since: Since = None,
    recording: From = None,
    bus: BusUrl = None,
) -> None:
    """Show how two statements about one vCenter differ, as a unified diff.

    Exit codes: 0 they say the same; 1 they differ; 2 there is no such message, they cannot be compared, or something
    could not be asked.
    """
    wish = Wish(access_to(bus), selection_of(since, recording=recording), recording=recording)
    run(looking.diff_messages(wish, first, second, manifests=manifests))


@app.command("export", epilog=epilog("messages export"))
def export_command(
    path: Annotated[Path, typer.Argument(help="The new file.", metavar="FILE", dir_okay=False)],
    wanted: Annotated[
        str | None,
        typer.Option("--trace", help="The chain of this: see `trace`.", metavar="ID", rich_help_panel=CHOICE_PANEL),
    ] = None,
    vcenter: VCenter = None,
    since: Since = None,
    until: Until = None,
    stage: ForStage = None,
    correlation: Correlation = None,
    with_templates: Annotated[
        bool,
        typer.Option(
            "--with-templates", help="Templates and cells as they are now, and the Secret's keys with masked values."
        ),
    ] = False,
    clear: Annotated[
        list[str] | None, typer.Option(help="A key of the Secret whose value is no secret, to be kept.", metavar="KEY")
    ] = None,
    bus: BusUrl = None,
    timeout: Timeout = 30.0,
    site: Site = None,
    templates: Templates = None,
    written: Written = None,
) -> None:
    """Write statements to a file without secrets, to be attached to a ticket.

    Manifests are left out, and their digests keyed anew. With --with-templates a colleague can render from it offline:
    `messages replay --from FILE --embedded`. Templates go as their authors wrote them: look through the file.

    Exit codes: 0 written; 1 nothing that is meant was said; 2 something could not be asked, or a setting is wrong.
    """
    if path.exists():
        raise typer.BadParameter(f"{path} exists already: name a new file")
    wish = Wish(
        access_to(bus, timeout, site, templates, written),
        selection_of(since, until, vcenter, stage, correlation),
    )
    run(exporting.export(wish, wanted, path, with_templates=with_templates, clear=tuple(clear or ())))


@app.command("import", epilog=epilog("messages import", offline=True))
def import_command(
    path: Annotated[
        Path, typer.Argument(help="A file of `messages export`.", metavar="FILE", exists=True, dir_okay=False)
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(help="A new folder for templates, cells and Secret, to edit them.", metavar="FOLDER"),
    ] = None,
) -> None:
    """Check a file that was exported, and say what it holds; unpack what can be rendered from to a folder.

    Nothing of it is published: other commands read it with --from.

    Exit codes: 0 it is good; 2 it is not, or the folder is not new.
    """
    raise typer.Exit(exporting.unpack_file(path, folder))


@app.command("replay", epilog=epilog("messages replay"))
def replay_command(
    wanted: Annotated[
        str | None,
        typer.Argument(
            help="The beginning of an id, or a vCenter: its chain, see `trace`. None: all that is meant.",
            metavar="[ID]",
        ),
    ] = None,
    stages: Annotated[
        list[Stage] | None,
        typer.Option(
            "--through",
            help="Stage to run; several in a row are given one by one.  [default: renderer]",
            metavar="STAGE",
        ),
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Offline, from --from alone: no region is asked.")
    ] = False,
    vcenter: VCenter = None,
    since: Since = None,
    until: Until = None,
    correlation: Correlation = None,
    output: Output = Format.TABLE,
    recording: From = None,
    bus: BusUrl = None,
    timeout: Timeout = 60.0,
    site: Site = None,
    templates: Templates = None,
    written: Written = None,
) -> None:
    """Run statements through stages again, in this process and dry, and compare with what was said at the time.

    The collector logs on to vCenters and reads them, the renderer renders with the templates as they are now, the
    applier plans and sends what follows with `dryRun=All`. Nothing is published. Offline (--embedded) the renderer
    works with the templates of the file, or those of --templates.

    Exit codes: 0 as it was said, as far as that is known; 1 different; 2 a stage could not do its work, there is
    nothing to replay, or a setting is wrong.
    """
    if embedded and (site is not None or written is not None):
        raise typer.BadParameter("--embedded takes --templates alone")
    access = access_to(IN_PROCESS, timeout) if embedded else access_to(bus, timeout, site, templates, written)
    choice = selection_of(since, until, vcenter, None, correlation, recording=recording)
    wish = Wish(access, choice, output, recording)
    run(
        replaying.replay(
            wish, wanted, stages or [], offline=embedded, templates=templates if embedded else None, within=timeout
        ),
        log_level="CRITICAL",  # what the stages would log is told
    )


@app.command("resync", epilog=epilog("messages resync"))
def resync_command(
    vcenter: Annotated[str, typer.Argument(help="Its FQDN, or the first label.", metavar="VCENTER")],
    stages: Annotated[
        list[Stage] | None,
        typer.Option(
            "--stage", help="Only this stage; may be repeated.  [default: all that state something]", metavar="STAGE"
        ),
    ] = None,
    yes: Yes = False,
    bus: BusUrl = None,
    timeout: Timeout = 30.0,
    site: Site = None,
    templates: Templates = None,
    written: Written = None,
) -> None:
    """For real: have the running stages say again what they know of a vCenter, so that it is looked at once more.

    Exit codes: 0 asked; 1 not asked, since nobody works on its partition or nobody said yes; 2 a server could not be
    asked, there is no such vCenter, or a setting is wrong.
    """
    if Stage.APPLIER in (stages or []):
        raise typer.BadParameter("the applier states nothing: ask the renderer")
    access = access_to(bus, timeout, site, templates, written)
    run(resyncing.resync(access, vcenter, stages or resyncing.STAGES, asking(yes)))
