"""docs/kubernetes.md has every value of the chart, with its default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `([A-Za-z.<>]+)` \| (?:`([^`]*)`)? \|", re.MULTILINE)


def leaves(value: Any, documented: set[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and default, as deep as the page goes; services are alike."""
    if not isinstance(value, dict) or not value or path in documented:
        yield path, value
        return
    for key, inner in value.items():
        name = "<service>" if path == "services" else key
        yield from leaves(inner, documented, f"{path}.{name}".removeprefix("."))


def test_every_value_is_on_the_page_with_its_default() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text().partition("## Values\n")[2].partition("\n## ")[0]
    rows = {path: default for path, default in ROW.findall(text) if path != "value"}
    values = yaml.safe_load((ROOT / "deploy" / "chart" / "values.yaml").read_text())
    found = dict(leaves(values, set(rows)))
    assert rows.keys() == found.keys()
    assert {path: json.loads(default) for path, default in rows.items() if default} == {
        path: value for path, value in found.items() if rows[path]
    }
