"""Pages with `console` blocks, as they are written: their commands are run, and say what stands there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.markdown import WALKED, blocks

pytestmark = pytest.mark.needs("rabbitmq")

ROOT = Path(__file__).parents[2]
DONE = "--- done with exit code "
OTHER_EACH_TIME = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}": "TIME",
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": "ID",
    r"\bserial \d+": "serial N",
    r"\b\d+\.\d+\b": "REVISION",
    r" +": " ",
}


class Step(NamedTuple):
    """A command, and what is said of it."""

    command: str
    says: list[str]


def steps(page: Path) -> list[Step]:
    """The `console` blocks: a command follows `$ `, a line that ends with a backslash goes on."""
    found: list[Step] = []
    for block in blocks(page):
        if block.language != "console":
            continue
        goes_on = False
        for line in block.text.splitlines():
            if goes_on:
                found[-1] = Step(f"{found[-1].command}\n{line}", [])
            elif line.startswith("$ "):
                found.append(Step(line.removeprefix("$ "), []))
            else:
                found[-1].says.append(line)
            goes_on = line.endswith("\\") and not found[-1].says
    return found


def normal(line: str) -> str:
    """Without what is another each time; how often something was said is told or not."""
    if re.match(r" +said \d+ times", line):
        return ""
    for pattern, word in OTHER_EACH_TIME.items():
        line = re.sub(pattern, word, line)
    return line.strip()


def missing(says: list[str], said: list[str]) -> str | None:
    """The first line that stands in the walk-through and was not said; `...` stands for any lines."""
    left, any_number = list(filter(None, map(normal, said))), False
    for line in filter(None, map(normal, says)):
        if line == "...":
            any_number = True
            continue
        while any_number and left and left[0] != line:
            left.pop(0)
        if not left or left.pop(0) != line:
            return line
        any_number = False
    return None if any_number or not left else f"nothing after it, but there is {left[0]!r}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", WALKED, ids=lambda page: page.stem)
def test_a_page_says_what_happens(page: Path, amqp_url: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    found = steps(page)
    assert len(found) >= 5
    script = "".join(f"{step.command}\necho '{DONE}'$?\n" for step in found)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VCENTER_OPERATOR_")}
    environment = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
        "VCENTER_OPERATOR_BUS": amqp_url,
        "COLUMNS": "250",
    }
    process = subprocess.Popen(
        ["/bin/bash", "-c", script], cwd=tmp_path, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=180)
    finally:
        with suppress(ProcessLookupError):  # a page that leaves nothing running
            os.killpg(process.pid, signal.SIGKILL)
    said = re.split(rf"^{DONE}\d+\n", output, flags=re.MULTILINE)
    assert len(said) == len(found) + 1, output
    for step, text in zip(found, said, strict=False):
        assert missing(step.says, text.splitlines()) is None, f"$ {step.command}\n{text}\n{output}"
