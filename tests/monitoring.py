"""What is deployed to watch the operator, as tests read it: alerts and dashboard."""

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
