"""The dashboard is one that Grafana takes, asks for what is served, and can be read."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests import monitoring
from tests.integration.test_alerts import check
from tests.stack import Stack

PANELS = monitoring.panels()
EACH = pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])


def lost(there: Any, back: Any, path: str = "") -> list[str]:
    """What of the first is not in the second."""
    if isinstance(there, dict):
        if not isinstance(back, dict):
            return [path]
        return [each for key, value in there.items() for each in lost(value, back.get(key), f"{path}.{key}")]
    if isinstance(there, list):
        if not isinstance(back, list) or len(there) != len(back):
            return [path]
        pairs = enumerate(zip(there, back, strict=True))
        return [each for number, (one, other) in pairs for each in lost(one, other, f"{path}[{number}]")]
    return [] if there == back else [path]


def test_grafana_knows_every_field_of_it() -> None:
    register_default_plugins()
    written = json.loads(monitoring.DASHBOARD.read_text())
    read = json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder))
    assert lost(written, read) == []


@pytest.mark.needs("prometheus")
def test_prometheus_understands_every_expression(stack: Stack, tmp_path: Path) -> None:
    asked = [expression for panel in PANELS for expression in monitoring.expressions(panel)]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(asked)} rules found" in stack.promtool("check", "rules", tmp_path / "rules.yaml")
    assert not [expression for expression in asked if "$" in expression]


@EACH
def test_each_panel_asks_for_what_is_served(panel: dict[str, Any]) -> None:
    for expression in monitoring.expressions(panel):
        if "ALERTS" not in expression:
            check(expression)


@EACH
def test_each_panel_says_what_it_shows_and_in_what(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]


def test_panels_lie_side_by_side() -> None:
    written = json.loads(monitoring.DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in written}) == len(written)
    places = [panel["gridPos"] for panel in written]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, f"{one} and {other}"
