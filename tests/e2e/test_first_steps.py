"""docs/first-steps.md on real servers: `make region`, and what is typed in the other terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.markdown import ROOT, Block, blocks, section
from tests.waiting import eventually

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes", control=True)

PAGE = ROOT / "docs" / "first-steps.md"
TITLE = "5. A region of real servers, on your machine"


def typed() -> tuple[str, str]:
    """What starts the servers, and all that is typed in the other terminal."""
    here = section(PAGE, TITLE)
    found: list[Block] = [block for block in blocks(PAGE) if block.language == "shell" and block.text in here]
    first, *rest = (block.text for block in found)
    return first.strip(), "".join(rest)


@pytest.mark.timeout(300)
def test_the_steps_on_real_servers(tmp_path: Path) -> None:
    start, script = typed()
    assert start == "make region"
    target = re.search(r"^region:.*\n\t@\$\(BIN\)/python (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target is not None
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("VCENTER_OPERATOR_", "VCO_TEST"))}
    with (tmp_path / "servers.log").open("w") as log:
        servers = subprocess.Popen(
            [sys.executable, *target[1].split()], cwd=tmp_path, env={**kept, "PYTHONPATH": str(ROOT)},
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    environment = tmp_path / "build" / "region" / "environment"
    try:
        eventually(environment.exists, "the region", within=200, otherwise=(tmp_path / "servers.log").read_text)
        told = subprocess.run(
            ["/bin/bash", "-e", "-c", f"trap 'kill $!' EXIT\n{script}"], cwd=tmp_path, env=kept,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        servers.send_signal(signal.SIGINT)
        servers.wait(30)
    assert told.returncode == 0, told.stdout + told.stderr
    assert len(re.findall(r"^# vc-.*: created by", told.stdout, re.MULTILINE)) == 24, told.stdout
    assert re.search(r"^vc-a-0\S+ +True +AsStated", told.stdout, re.MULTILINE)
    assert "ManifestDelta" in told.stdout
    assert not environment.exists()
