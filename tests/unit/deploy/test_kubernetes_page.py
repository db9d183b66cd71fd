"""docs/kubernetes.md has every value of the chart, with its default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from tests.markdown import ROOT, rows, section

PAGE = ROOT / "docs" / "kubernetes.md"


def leaves(value: Any, documented: set[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and default, as deep as the page goes; services are alike."""
    if not isinstance(value, dict) or not value or path in documented:
        yield path, value
        return
    for key, inner in value.items():
        name = "<service>" if path == "services" else key
        yield from leaves(inner, documented, f"{path}.{name}".removeprefix("."))


def test_every_value_is_on_the_page_with_its_default() -> None:
    told = {path.strip("`"): default.strip("`") for path, default, *_ in rows(section(PAGE, "Values"))}
    values = yaml.safe_load((ROOT / "deploy" / "chart" / "values.yaml").read_text())
    found = dict(leaves(values, set(told)))
    assert told.keys() == found.keys()
    assert {path: json.loads(default) for path, default in told.items() if default} == {
        path: value for path, value in found.items() if told[path]
    }
