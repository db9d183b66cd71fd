"""The command line: what there is to say, and to whom it is handed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from vcenter_operator.command import approving, leftovers, pipeline, preview, topology
from vcenter_operator.command.diff import command as diffing
from vcenter_operator.command.diff.collecting import Scope
from vcenter_operator.command.manual import epilog
from vcenter_operator.command.messages import cli as messages
from vcenter_operator.command.status.command import Format, Wish, status
from vcenter_operator.common import process, telemetry
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.settings import Settings
from vcenter_operator.common.stagehelp import DOES

app = typer.Typer(
    name="vcenter-operator",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Keeps the OpenStack agents of every vSphere cluster right: finds vCenters in DNS, collects their inventory, "
    "renders the teams' VCenterTemplates and applies the difference to Kubernetes.\n\n"
    "Start with `render` to see what your templates yield, then `diff` against a region.\n\n"
    "Settings are environment variables (`VCENTER_OPERATOR_*`, `LOG_LEVEL`, `SERVICE_DOMAIN`); what concerns the "
    "region is in the Secret `vcenter-operator`.",
    epilog="Exit codes: 0 done, or stopped as told; 1 failed; 2 a setting, the Secret or the command line is wrong. "
    "`status`, `diff`, `approve`, `messages`, `leftovers` and `render` have their own, which their --help tells.",
)

app.add_typer(messages.app)

SITE_HELP = "Site file: a region's inventory as YAML, in place of DNS and vCenters."
TEMPLATES_HELP = "Folder with VCenterTemplates, the cells ConfigMap and the Secret, as kubectl takes them."
FILES_PANEL = "On files instead of a region"
A_FILE: dict[str, Any] = {"exists": True, "dir_okay": False}
A_FOLDER: dict[str, Any] = {"exists": True, "file_okay": False}

Site = Annotated[Path | None, typer.Option(help=SITE_HELP, rich_help_panel=FILES_PANEL, **A_FILE)]
Templates = Annotated[Path | None, typer.Option(help=TEMPLATES_HELP, rich_help_panel=FILES_PANEL, **A_FOLDER)]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder that manifests are written to, and the state beside them.",
        rich_help_panel=FILES_PANEL,
        file_okay=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Render, log and send everything with `dryRun=All`: nothing changes anywhere."),
]
BusUrl = Annotated[
    str | None,
    typer.Option("--bus", help="`in-process`, or the URL of a RabbitMQ (`amqp://`, `amqps://`).", metavar="BUS"),
]

BrokerUrl = Annotated[
    str | None,
    typer.Option("--bus", help="URL of the RabbitMQ (`amqp://`, `amqps://`) that the stages share.", metavar="URL"),
]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vcenter-operator {version('vcenter-operator')}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """See the help of the app."""


@app.command(epilog=epilog("run", serves=True))
def run(
    dry_run: DryRun = False,
    bus: BusUrl = None,
    site: Site = None,
    templates: Templates = None,
    output: Output = None,
) -> None:
    """Run all four stages in one process.

    Without more said it works on the region that the service account or the kubeconfig leads to, and needs no RabbitMQ.
    """
    _serve(list(Stage), dry_run, bus or process.IN_PROCESS, _files(site, templates, output))


def _stage_command(stage: Stage, does: str) -> None:
    def command(
        dry_run: DryRun = False,
        bus: BrokerUrl = None,
        site: Site = None,
        templates: Templates = None,
        output: Output = None,
    ) -> None:
        _serve([stage], dry_run, bus, _files(site, templates, output))

    command.__doc__ = f"Run only the {stage}: {does}."
    panel = "One stage, with the others elsewhere on the same RabbitMQ"
    app.command(stage.value, rich_help_panel=panel, epilog=epilog(stage.value, serves=True))(command)


for each, does in DOES.items():
    _stage_command(each, does)


@app.command(epilog=epilog("render", offline=True))
def render(
    site: Annotated[Path, typer.Option(help=SITE_HELP, **A_FILE)],
    templates: Annotated[Path, typer.Option(help=TEMPLATES_HELP, **A_FOLDER)],
    output: Annotated[
        Path | None, typer.Option(help="Write each manifest to a file here, instead of printing it.", file_okay=False)
    ] = None,
) -> None:
    """Show what templates yield for a site, offline: for template authors.

    Manifests go to standard output (or --output), what failed to standard error, with template, scope, cluster and
    line.

    Exit codes: 0 everything could be rendered; 1 something could not; 2 a file, the Secret or a setting is wrong.
    """
    raise typer.Exit(preview.render(site, templates, output))


@app.command("status", epilog=epilog("status"))
def status_command(
    vcenter: Annotated[str | None, typer.Option(help="Everything about one: its FQDN, or the first label.")] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="For people, or for scripts.")] = Format.TABLE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2, metavar="SECONDS")] = 2.0,
    timeout: Annotated[float, typer.Option(help="What each server has for its answer.", metavar="SECONDS")] = 10.0,
    bus: BusUrl = None,
) -> None:
    """Show the pipeline: its stages, who works on which partition, what waits, and every vCenter.

    RabbitMQ, the Leases and the VCenters are asked, with the settings and the kubeconfig of the stages; what cannot be
    asked is named, and the rest shown. Nothing is changed. Where everything runs in one process: `--bus in-process`.

    Exit codes: 0 all is ready; 1 something is wrong: a vCenter is not ready, nobody works on a partition, messages are
    parked; 2 not everything could be asked, or a setting is wrong.
    """
    if watch and output is not Format.TABLE:
        raise typer.BadParameter("--watch is for the table: scripts call it again")
    wish = Wish(vcenter, output, every if watch else None, timeout)
    settings = Settings.load(bus=bus)
    telemetry.configure("ERROR", json=False)
    raise typer.Exit(asyncio.run(status(settings, wish)))


@app.command("diff", epilog=epilog("diff"))
def diff_command(
    vcenter: Annotated[str | None, typer.Option(help="Only this one: its FQDN, or the first label.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Only what this one yields: NAMESPACE/NAME, or NAME.", metavar="TEMPLATE")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="After this a vCenter that is not planned is told as unknown.", metavar="SECONDS")
    ] = 120.0,
    site: Site = None,
    templates: Templates = None,
    output: Output = None,
) -> None:
    """Show what would change now, as a unified diff of every object: before is live, after is what the server says.

    The pipeline runs in this process without writing anything: the zone is transferred, each vCenter is logged on to
    and read, templates are rendered, and what follows is sent with `dryRun=All`. With --site, --templates and --output
    it compares with the folder of manifests instead. Values of Secrets, and derived passwords wherever they stand, are
    masked. Deletions that are held, and what a policy withholds, are comments (`#`).

    Exit codes: 0 no difference; 1 differences; 2 it could not be found out for everything: standard error says for what
    and why (a vCenter that cannot be reached, a template that fails, an object that would be refused).
    """
    files = _files(site, templates, output)
    if files is not None and files.output is None:
        raise typer.BadParameter("--output is missing: the folder to compare with")
    raise typer.Exit(diffing.diff(diffing.Wish(Scope(vcenter, template), files, timeout)))


@app.command("approve", epilog=epilog("approve"))
def approve_command(
    vcenter: Annotated[str, typer.Argument(help="Its FQDN, or the first label.", metavar="VCENTER")],
    plan: Annotated[
        str | None, typer.Option(help="Only if this plan is still the one that is held.", metavar="DIGEST")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Release the deletions that are held for one vCenter: exactly those that are shown.

    What is held is printed, then asked for, then released by an annotation on the VCenter. A plan that changed
    meanwhile is another one, and needs a new word.

    Exit codes: 0 approved; 1 nothing was approved; 2 there is no such vCenter, or a setting is wrong.
    """
    settings = Settings.load()
    telemetry.configure("ERROR", json=False)
    raise typer.Exit(asyncio.run(approving.approve(settings, vcenter, plan, lambda text: yes or typer.confirm(text))))


@app.command("leftovers", epilog=epilog("leftovers"))
def leftovers_command(
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", help="Look here too; those with templates are looked at in any case."),
    ] = None,
) -> None:
    """List objects of the deployed operator that no vCenter wants, with the commands to look at and delete them.

    That one never deleted what it forgot, and this one deletes nothing that it has not made or adopted. Objects that
    are wanted are adopted; until every vCenter is as stated nobody can tell which are not, and nothing is offered to
    be deleted. Nothing is changed.

    Exit codes: 0 none; 1 there are some; 2 it cannot be told yet (standard error says why), or a setting is wrong.
    """
    settings = Settings.load()
    telemetry.configure("ERROR", json=False)
    raise typer.Exit(asyncio.run(leftovers.leftovers(settings, namespace or [])))


topology_app = typer.Typer(no_args_is_help=True, help="The exchanges and queues in RabbitMQ.")
app.add_typer(topology_app, name="topology")


@topology_app.command("definitions", epilog=epilog("topology definitions"))
def definitions_command(
    vhost: Annotated[str, typer.Option(help="The virtual host that it is for.")] = "/",
) -> None:
    """Print the topology of these settings for `rabbitmqctl import_definitions`, with a user for each service.

    Each user has rights on what belongs to its service alone, and no password. See docs/rabbitmq.md.

    Exit codes: 0 printed; 2 a setting is wrong.
    """
    typer.echo(topology.show(Settings.load(), vhost), nl=False)


@topology_app.command("remove", epilog=epilog("topology remove"))
def remove_command(
    generation: Annotated[int, typer.Argument(help="Another one than the one in use.", min=1)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    bus: BusUrl = None,
) -> None:
    """Delete the queues and exchanges of another generation, with what is in them, once nobody works on it.

    Exit codes: 0 it is gone; 1 it is still in use, or the answer was no; 2 a setting is wrong.
    """
    settings = Settings.load(bus=bus)
    telemetry.configure("ERROR", json=False)
    raise typer.Exit(asyncio.run(topology.remove(settings, generation, lambda text: yes or typer.confirm(text))))


def _files(site: Path | None, templates: Path | None, output: Path | None) -> pipeline.Files | None:
    if site is None and templates is None and output is None:
        return None
    if site is None or templates is None:
        raise typer.BadParameter("--site and --templates go together; --output goes with them")
    return pipeline.Files(site, templates, output)


def _serve(stages: Sequence[Stage], dry_run: bool, bus: str | None, files: pipeline.Files | None) -> None:
    def settings() -> Settings:
        made = Settings.load(bus=bus)
        if len(stages) == 1 and made.bus == process.IN_PROCESS:
            raise ConfigurationError("one stage alone has nobody to talk to on an in-process bus: name a RabbitMQ")
        return made

    raise typer.Exit(process.run(lambda: pipeline.run(files, stages, dry_run=dry_run, bus=bus), settings))
