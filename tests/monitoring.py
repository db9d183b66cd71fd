"""What is deployed to watch the operator, as tests read it: alerts, dashboard, and the table of metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "deploy" / "monitoring" / "alerts.yaml"
ALERTS_TEST = ALERTS.with_name("alerts_test.yaml")
DASHBOARD = ALERTS.with_name("dashboard.json")
RUNBOOKS = ROOT / "docs" / "runbooks.md"
DOCS = ROOT / "docs" / "monitoring.md"
METRICS = ROOT / "docs" / "metrics.md"
OF_THE_TARGET = {"namespace", "job", "instance"}
"""Labels that Prometheus adds to every series."""
VARIABLES = {"$namespace": ".*", "$vcenter": ".*", "$__rate_interval": "5m"}


class Selector(NamedTuple):
    """A metric in an expression, with the values that it asks of each label."""

    metric: str
    labels: dict[str, list[str]]

    def __str__(self) -> str:
        asked = ", ".join(f'{label}=~"{"|".join(values)}"' for label, values in self.labels.items() if values)
        return f"{self.metric}{{{asked}}}"


def alerts() -> dict[str, dict[str, Any]]:
    """The alerting rules by their names."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, its rows' headings left out."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions(panel: Mapping[str, Any]) -> list[str]:
    """What a panel asks, with everything chosen in the dashboard's variables."""
    found = []
    for target in panel["targets"]:
        expression = target["expr"]
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        found.append(expression)
    return found


def selectors(expression: str) -> Iterator[Selector]:
    """The operator's metrics and those of its process that an expression asks for."""
    for metric, braces in re.findall(r"\b((?:vcenter_operator|process)_\w+)(?:\{([^}]*)\})?", expression):
        labels = {label: values.split("|") for label, values in re.findall(r'(\w+)[!=]=?~?"([^"]*)"', braces)}
        labels = {label: [value for value in values if value != ".*"] for label, values in labels.items()}
        yield Selector(metric, labels)


def grouping(expression: str) -> set[str]:
    """The labels that an expression groups or joins by."""
    lists = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    return {label.strip() for each in lists for label in each.split(",")}


def served() -> dict[str, set[str]]:
    """Every series of docs/metrics.md with its labels; a histogram is three."""
    found: dict[str, set[str]] = {}
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", METRICS.read_text(), re.MULTILINE):
        its = set(re.findall(r"`(\w+)`", labels))
        names = {f"{name}_bucket": its | {"le"}, f"{name}_sum": its, f"{name}_count": its}
        found |= names if kind == "histogram" else {name: its}
    return found


def values(label: str, metric: str) -> set[str] | None:
    """The values that a label of a metric may have, as docs/metrics.md bounds it; None: hosts, versions."""
    name = re.sub(r"^vcenter_operator_|_bucket$", "", metric)
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|$", METRICS.read_text(), re.MULTILINE)
    for its, of, listed in rows:
        if its == label and (not of.strip() or f"`{name}`" in of):
            return set(re.findall(r"`([\w ]+)`", listed))
    return None
