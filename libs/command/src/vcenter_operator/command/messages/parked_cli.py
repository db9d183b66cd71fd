"""The command line of `vcenter-operator messages parked`."""

from __future__ import annotations

from typing import Annotated

import typer

from vcenter_operator.command.manual import epilog
from vcenter_operator.command.messages import parked
from vcenter_operator.command.messages.looking import Wish
from vcenter_operator.command.messages.options import (
    BusUrl,
    ByStage,
    Document,
    Id,
    Output,
    Site,
    Templates,
    Timeout,
    Written,
    Yes,
    access_to,
    asking,
    run,
)
from vcenter_operator.command.messages.selection import Selection
from vcenter_operator.command.status.command import Format

app = typer.Typer(
    name="parked", no_args_is_help=True, help="Messages that could not work as they stood, with their reason."
)


@app.command("list", epilog=epilog("messages parked list"))
def parked_list_command(stage: ByStage = None, output: Output = Format.TABLE, bus: BusUrl = None) -> None:
    """List what is parked, oldest first.

    Exit codes: 0 shown; 2 the broker could not be asked, or a setting is wrong.
    """
    run(parked.list_parked(Wish(access_to(bus), Selection(stage=stage), output)))


@app.command("show", epilog=epilog("messages parked show"))
def parked_show_command(
    message: Id,
    output: Document = Format.YAML,
    bus: BusUrl = None,
) -> None:
    """Show one, decoded as far as it can be; without manifests.

    Exit codes: 0 shown; 1 there is no such parked message; 2 the broker could not be asked, or a setting is wrong.
    """
    run(parked.show_parked(Wish(access_to(bus), Selection(), output), message))


@app.command("retry", epilog=epilog("messages parked retry"))
def parked_retry_command(
    message: Id,
    yes: Yes = False,
    bus: BusUrl = None,
    timeout: Timeout = 30.0,
    site: Site = None,
    templates: Templates = None,
    written: Written = None,
) -> None:
    """For real: put one back to its stage, once the cause is mended.

    It is refused where anything newer was stated of its vCenter, or acted on: by the archive and by the record.

    Exit codes: 0 put back; 1 refused, gone, or nobody said yes; 2 whether it is the newest could not be asked, or a
    setting is wrong.
    """
    access = access_to(bus, timeout, site, templates, written)
    run(parked.retry_parked(Wish(access, Selection()), message, asking(yes)))


@app.command("drop", epilog=epilog("messages parked drop"))
def parked_drop_command(
    messages: Annotated[list[str], typer.Argument(help="The beginnings of their ids.", metavar="ID...")],
    yes: Yes = False,
    bus: BusUrl = None,
) -> None:
    """Throw parked messages away.

    Exit codes: 0 dropped; 1 there is no such one, or nobody said yes; 2 the broker could not be asked, or a setting is
    wrong.
    """
    run(parked.drop_parked(Wish(access_to(bus), Selection()), messages, asking(yes)))
