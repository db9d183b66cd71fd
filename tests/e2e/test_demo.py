"""What a newcomer runs first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demo_shows_what_each_change_causes_ends_by_itself_and_runs_again() -> None:
    for _ in range(2):
        told = subprocess.run(
            [sys.executable, "-m", "examples.demo"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr
        done = [line.strip().split("  (")[0] for line in told.stdout.splitlines() if "in the folder:" in line]
        assert done == [
            f"▸ in the folder: {created} created, {changed} changed, {deleted} deleted, {untouched} untouched"
            for created, changed, deleted, untouched in [
                (56, 0, 0, 0),  # first start
                (5, 0, 0, 56),  # a cluster is added
                (0, 0, 5, 56),  # and one removed
                (7, 0, 0, 56),  # a vCenter is added
                (0, 10, 0, 53),  # a template is edited
                (0, 0, 0, 63),  # it is broken
                (0, 0, 0, 63),  # and repaired
                (0, 0, 0, 63),  # an inventory is suddenly empty
                (0, 0, 0, 63),  # and back
            ]
        ]
        assert "nova-compute.yaml.j2, line 20" in told.stdout
        assert "23 held" in told.stdout
    manifests = list((ROOT / "build" / "demo" / "output").glob("[!.]*/*.yaml"))
    assert len(manifests) == 63
