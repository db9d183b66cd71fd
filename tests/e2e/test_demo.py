"""What a newcomer runs first."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def flat(text: str) -> str:
    """Without times, lines and rulers, which depend on machine and terminal."""
    return " ".join(re.sub(r"\(\d+\.\d s\)|─+", "", text).split())


def shown_in_the_readme() -> list[str]:
    """The scenes that the README shows."""
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"^```text\n(1\. .*?)^```", text, re.MULTILINE | re.DOTALL)
    scenes = [flat(scene) for scene in block.split("\n\n")]
    assert len(scenes) == 4
    return scenes


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
        for scene in shown_in_the_readme():
            assert scene in flat(told.stdout)
        assert "nova-compute.yaml.j2, line 20" in told.stdout
        assert "23 held" in told.stdout
    manifests = list((ROOT / "build" / "demo" / "output").glob("[!.]*/*.yaml"))
    assert len(manifests) == 63
