"""What the demo shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vcenter_operator.applier.core.describe import describe, summarize
from vcenter_operator.applier.core.plan import Plan

COLOURS = {"+": "green", "~": "yellow", "-": "red", "!": "bold magenta", "x": "red", "?": "cyan"}
LINES = 7

console = Console(width=118)


def opening() -> None:
    """What is about to be seen."""
    console.print(
        Panel(
            "Three vCenters with twelve clusters, described by files in place of DNS, vSphere and Kubernetes.\n"
            "All four stages run in this process: discovery ▸ collector ▸ renderer ▸ applier.",
            title="vcenter-operator",
            expand=False,
        )
    )


def headline(number: int, title: str, story: str) -> None:
    """A scene begins."""
    console.print()
    console.rule(f"[bold]{number}. {title}", align="left")
    console.print(Padding(f"[dim]{story}[/dim]", (0, 0, 0, 2)))


def coloured(line: str) -> Text:
    """A line of a plan in the colour of what happens. Cut at the edge, unless it tells why nothing happens."""
    return Text(line, style=COLOURS.get(line[:1], ""), overflow="ellipsis", no_wrap=line[:1] in "+~-")


def plan(shown: Plan, lines: int = LINES) -> None:
    """A plan, the way logs and `diff` state it."""
    console.print(Padding(Text(f"{shown.host}: {summarize(shown)}", style="bold"), (0, 0, 0, 2)))
    for line in describe(shown, limit=lines):
        console.print(Padding(coloured(line), (0, 0, 0, 4)))


def difference(before: Mapping[str, str], after: Mapping[str, str], seconds: float) -> None:
    """What really changed in the output folder."""
    created = len(after.keys() - before.keys())
    deleted = len(before.keys() - after.keys())
    changed = sum(before[path] != after[path] for path in before.keys() & after.keys())
    same = len(after) - created - changed
    what = f"{created} created, {changed} changed, {deleted} deleted, {same} untouched"
    colour = "green" if created or changed or deleted else "cyan"
    console.print(Padding(f"[{colour}]▸ in the folder: {what}[/{colour}]  [dim]({seconds:.1f} s)[/dim]", (0, 0, 0, 2)))


def summary(plans: Mapping[str, Plan], manifests: Mapping[str, str]) -> None:
    """One line for each vCenter, and what there is by kind."""
    table = Table(title="The region now", title_justify="left")
    for column in ("vCenter", "in the zone", "objects as they should be", "held", "unknown"):
        table.add_column(column, justify="left" if column == "vCenter" else "right")
    for host in sorted(plans):
        latest = plans[host]
        right = latest.unchanged + len(latest.creates) + len(latest.updates)
        table.add_row(
            host, "yes" if latest.present else "gone", str(right), str(len(latest.held)), str(len(latest.unknown))
        )
    console.print(Padding(table, (1, 0, 0, 2)))
    kinds = Counter(path.rsplit("/", 1)[-1].split("-", 1)[0] for path in manifests)
    counted = ", ".join(f"{count} {kind}s" for kind, count in sorted(kinds.items()))
    console.print(Padding(f"{len(manifests)} manifests: {counted}", (0, 0, 0, 2)))
