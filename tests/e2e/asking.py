"""The commands that people ask a region with, as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.e2e.region import Region

COMMAND = [sys.executable, "-m", "vcenter_operator.command"]


def surroundings(region: Region, **settings: str) -> dict[str, str]:
    """The environment of somebody who looks at the region, on a wide terminal."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VCENTER_OPERATOR_")}
    told = region.environment()
    del told["LOG_LEVEL"]
    return {**kept, **told, "COLUMNS": "200", "TERM": "xterm-256color", **settings}


def ask(region: Region, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs `vcenter-operator` and returns what it said."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=150, check=False,
        env=surroundings(region, **settings),
    )  # fmt: skip
