"""What every benchmark ends with: a table for people, and `bench/out/<name>.json` for machines."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"
LIBRARIES = ("aio-pika", "kubernetes-asyncio", "pyvmomi", "Jinja2", "msgpack", "PyYAML")


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Samples with median, p99 and max."""
    ordered = sorted(samples)
    return {
        "samples": list(samples),
        "median": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))],
        "max": ordered[-1],
    }


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
    """Prints a table."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)


def write(name: str, what: str, results: Mapping[str, Any], servers: Mapping[str, str]) -> Path:
    """Writes `bench/out/<name>.json` with the versions of everything that ran, and the machine's load averages."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    content = {
        "benchmark": name,
        "what": what,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": os.getloadavg(),
        "versions": {
            "python": platform.python_version(),
            **{library: version(library) for library in LIBRARIES},
            **servers,
        },
        **results,
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
