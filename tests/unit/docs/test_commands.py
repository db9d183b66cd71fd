"""Every command in the documentation is run, or at least taken by the parser of what it calls; none is passed over.

Pages with `console` blocks are run as they stand (`tests/e2e/test_walkthrough.py`). Of the rest, our own commands are
parsed by their own parsers, and run where they work on files. What calls others' programs is in `ELSEWHERE`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

from tests.markdown import PAGES, ROOT, WALKED, blocks
from tests.unit.docs.commandlines import KUBECTL_RUN, PROGRAMS, CommandLine, in_blocks, in_prose
from vcenter_operator.command.cli import app
from vcenter_operator.command.manual import EXAMPLES
from vcenter_operator.command.pipeline import SETTINGS
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.stagehelp import parser

ELSEWHERE: dict[str, str] = {
    KUBECTL_RUN.pattern: "tests/integration/test_docs_kubectl.py",
    r"kubectl apply -f deploy/chart/files/validation": "tests/integration/test_validation.py",
    r"kubectl apply -f examples/": "of the region that tests/e2e/test_first_steps.py has on an API server",
    r"kubectl ((get|delete) deployments?|wait) ": "tests/e2e/test_first_steps.py",
    r"kubectl (diff|apply|edit|scale|rollout status)\b": "in prose: what kubectl does, or a wait for pods",
    r"kubectl (logs|describe pod|port-forward)\b": "needs pods that run: the tests' API server has no kubelet",
    r"kubectl auth can-i ": "of the reader's own account; what each may do is in tests/e2e/test_least_privilege.py",
    r"kubectl delete crd ": "would take the kinds away from every other test",
    r"helm (upgrade|uninstall)\b": "tests/integration/test_chart.py",
    r"helm rollback$": "in prose: what Helm does",
    r"promtool test rules ": "tests/integration/test_alerts.py",
    r"curl .*localhost:8080/log-level": "tests/e2e/test_metrics.py",
    r"curl http://<pod>": "of a pod; what is answered is in tests/unit/common/test_serving.py",
    r"rabbitmqctl (import_definitions|change_password)": "tests/integration/test_rabbitmq.py",
    r"openssl (s_client|x509|rand) |rabbitmqctl list_queues|rabbitmq-diagnostics ": "others', as in their manuals",
    r"docker (build|run|compose) |k (get|delete) |deploy/compose/": "needs an engine for containers: tried by hand",
    r"(elsewhere/bin/)?pip install|python3 -m venv|elsewhere/bin/": "tests/integration/test_packages.py",
    r"(cd|export|\.|grep|sleep|alias) ": "the shell's own",
    r"git clone": "nothing to clone from in a test",
}
"""Beginning of a command that is not ours, to where it is run, or why it is not."""
SPOKEN_OF = {"vcenter-operator <command> --help"}
FOUND = [*in_blocks(), *in_prose()]
DONE_AT_ONCE = {"--help", "--version", "--install-completion", "--show-completion"}
"""Options that are obeyed as soon as they are read: `tests/integration/test_packages.py` has them."""
OURS = [line for line in FOUND if line.program.startswith("vcenter-operator")]
OTHERS = [line for line in FOUND if not line.program.startswith("vcenter-operator")]
HELP = [CommandLine("--help", f"vcenter-operator {line}") for each in EXAMPLES.values() for line, _ in each]
ON_FILES = {line.text for line in (*OURS, *HELP) if re.search(r"^vcenter-operator render .*examples/site", line.text)}


def words_of(line: CommandLine) -> list[str]:
    """With something in the place of what a reader fills in."""
    text = re.sub(r"<[^>]+>|\bID(\.\.\.)?|\$\w+|\[\w+\]", "0123abcd", line.text)
    return shlex.split(text)


def parsed(command: Any, arguments: list[str], path: str) -> None:
    """Raises where the command does not know an option or a value, or lacks or has too many arguments."""
    if hasattr(command, "commands") and not arguments:
        return
    if hasattr(command, "commands") and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"{path} {arguments[0]}"
        parsed(command.commands[arguments[0]], arguments[1:], f"{path} {arguments[0]}")
        return
    try:
        command.make_context(path, list(arguments))
    except typer.BadParameter as error:
        only_named, of_the_reader = not arguments, "does not exist" in str(error)
        if not (only_named or of_the_reader):
            raise


@pytest.mark.parametrize("line", [*OURS, *HELP], ids=lambda line: f"{line.where}-{line.text}")
def test_a_command_of_ours_is_taken_by_its_parser(line: CommandLine) -> None:
    if line.text in SPOKEN_OF:
        return
    program, *arguments = (word for word in words_of(line) if word not in DONE_AT_ONCE)
    if program == "vcenter-operator":
        parsed(typer.main.get_command(app), arguments, program)
        return
    stage = Stage(program.removeprefix("vcenter-operator-"))
    parser(stage, SETTINGS[stage]).parse_args(arguments)


def test_what_no_parser_should_take_is_refused() -> None:
    for wrong in (
        "status --wach",
        "messages trace --since 1d",
        "messages list --stage oven",
        "diff a",
        "topology mend 1",
    ):
        with pytest.raises((AssertionError, TyperException)):
            parsed(typer.main.get_command(app), wrong.split(), "vcenter-operator")


@pytest.mark.parametrize("line", OTHERS, ids=lambda line: f"{line.where}-{line.text}")
def test_a_command_of_others_is_run_elsewhere_or_said_why_not(line: CommandLine) -> None:
    if line.program == "make":
        targets = re.findall(r"^([a-z%-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        name = next(word for word in line.text.split()[1:] if "=" not in word)
        assert name in targets or any(re.fullmatch(target.replace("%", ".+"), name) for target in targets), name
        return
    where = next((where for start, where in ELSEWHERE.items() if re.match(start, line.text)), None)
    assert where is not None, f"{line.where}: {line.text!r}: say in ELSEWHERE where it is run"
    assert not where.startswith("tests/") or (ROOT / where).exists(), where


@pytest.mark.parametrize("line", sorted(ON_FILES))
def test_what_works_on_files_is_run(line: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    command = [str(Path(sys.executable).parent / "vcenter-operator"), *shlex.split(line)[1:]]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    assert "vc-a-0" in told.stdout + told.stderr


def test_every_block_says_what_it_is() -> None:
    known = {"shell", "console", "text", "yaml", "json", "jinja", "mermaid", "python", "ini"}
    for page in PAGES:
        for block in blocks(page):
            assert block.language.split(" ")[0] in known, block


def test_no_command_hides_in_a_block_of_another_kind() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.language not in ("shell", "console"):
                begin = [line.split()[0] for line in block.text.splitlines() if len(line.split()) > 1]
                hidden = PROGRAMS.intersection(begin) - ({"kubectl"} if page.name == "commands.md" else set())
                assert not hidden, f"{block}: {hidden}"


def test_console_blocks_are_on_pages_that_are_run() -> None:
    with_console = {page for page in PAGES for block in blocks(page) if block.language == "console"}
    assert with_console == set(WALKED)


def test_the_table_has_nothing_that_no_page_has() -> None:
    unmatched = {start for start in ELSEWHERE if not any(re.match(start, line.text) for line in OTHERS)}
    assert not unmatched
    assert {line.text for line in OURS} >= SPOKEN_OF


def test_there_are_commands() -> None:
    assert len(OURS) > 40
    assert len(ON_FILES) >= 2
