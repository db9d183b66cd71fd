"""The command line of `messages`, on a file: no server is asked."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from typer.testing import CliRunner, Result

from tests.unit.command.statements import BEGAN, HOST, because_of, delta, inventory, said, zone
from vcenter_operator.command.cli import app
from vcenter_operator.command.messages.recording import Recording
from vcenter_operator.common.errors import ConfigurationError, OperatorError
from vcenter_operator.common.surroundings import Surroundings

DNS = zone()
FOUND = because_of(DNS, inventory(unknown=(7,)))
RENDERED = because_of(FOUND, delta({1: "a", 2: "b"}))
BROKEN = delta({1: "a"}, templates=2, unknown=(2,))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def messages(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": None}).invoke(app, ["messages", *arguments])


def failure(*arguments: str) -> OperatorError:
    """What `main` would say in one line, before it ends with exit code 2."""
    error = messages(*arguments).exception
    assert isinstance(error, OperatorError)
    return error


@pytest.fixture
def file(tmp_path: Path) -> str:
    entries = [said(each, number) for number, each in enumerate([DNS, FOUND, RENDERED, BROKEN, DNS.repeated()])]
    where = Surroundings("monsoon3", "qa-de-1", "cc.qa-de-1.cloud.sap", incluster=False)
    (tmp_path / "file.json").write_text(Recording(BEGAN, where, tuple(entries)).text())
    return str(tmp_path / "file.json")


def document(*arguments: str) -> Any:
    told = messages(*arguments)
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


@pytest.mark.parametrize(
    "name",
    [
        *("list", "show", "trace", "diff", "export", "import", "replay", "resync"),
        *("parked list", "parked show", "parked retry", "parked drop"),
    ],
)
def test_every_command_says_what_its_exit_codes_mean(name: str) -> None:
    assert "Exit codes: 0" in messages(*name.split(), "--help").stdout


def test_a_list_has_a_line_for_each_fact_and_each_message_if_wanted(file: str) -> None:
    told = messages("list", "--from", file)
    heading, *lines = told.stdout.splitlines()
    assert heading.split() == ["AT", "FOR", "VCENTER", "REVISION", "SAYS", "TIMES", "LAST", "ID", "CORRELATION"]
    assert [line.split()[2] for line in lines] == ["collector", "renderer", "applier", "applier"]
    assert "in the zone, serial 101, 192.0.2.1" in lines[0]
    assert "2 clusters, 1 unknown" in lines[1]
    assert "\x1b" not in told.stdout
    assert len(messages("list", "--from", file, "--repeats").stdout.splitlines()) == 6
    assert [one["times"] for one in document("list", "--from", file, "-o", "json")] == [2, 1, 1, 1]
    as_yaml = yaml.safe_load(messages("list", "--from", file, "--stage", "renderer", "-o", "yaml").stdout)
    assert [one["statement"]["unknown"][0]["reason"] for one in as_yaml] == ["NoPermission"]
    nothing = messages("list", "--from", file, "--vcenter", "vc-q-9")
    assert (nothing.exit_code, nothing.stdout) == (1, "")


def test_a_message_is_shown_by_the_beginning_of_its_id(file: str) -> None:
    shown = yaml.safe_load(messages("show", RENDERED.trace.message_id[:13], "--from", file).stdout)
    assert (shown["kind"], shown["host"], shown["for"]) == ("ManifestDelta", HOST, "applier")
    assert shown["statement"]["provenance"]["inventory"] == "3.1"
    assert shown["correlationId"] == DNS.trace.correlation_id
    assert messages("show", "ffffffff-ffff", "--from", file).exit_code == 1
    assert "several messages" in str(failure("show", "", "--from", file))


def test_a_chain_is_told_with_what_each_changed(file: str) -> None:
    told = messages("trace", "vc-a-0", "--from", file).stdout
    assert "? monsoon3/nova-compute for cluster productionbb002 in qa-de-1a: line 3: no filter" in told
    assert "? ConfigMap monsoon3/nova-compute-bb2: left as it is" in told
    assert "made from inventory 3.1, zone 1.1 (serial 101)" in told
    assert "said 2 times" in told
    steps = document("trace", DNS.trace.correlation_id, "--from", file, "-o", "json")
    assert [step["kind"] for step in steps] == ["DnsChange", "Inventory", "ManifestDelta"]
    assert messages("trace", "vc-q-9", "--from", file).exit_code == 1


def test_two_statements_of_one_kind_are_compared(file: str) -> None:
    one, other = RENDERED.trace.message_id, BROKEN.trace.message_id
    told = messages("diff", one, other, "--from", file)
    assert told.exit_code == 1
    assert "-    digest: b" in told.stdout
    assert "+  reason: 'line 3: no filter'" in told.stdout
    assert (
        messages("diff", one, one, "--from", file).exit_code,
        messages("diff", one, "ff-", "--from", file).exit_code,
    ) == (0, 2)
    assert "of one kind about one vCenter" in str(failure("diff", one, DNS.trace.message_id, "--from", file))


def test_what_cannot_be_is_refused_before_anything_is_asked(file: str, tmp_path: Path) -> None:
    assert "has no templates" in str(failure("replay", "--from", file, "--embedded"))
    assert "no archive" in str(failure("replay", "--embedded"))
    assert "in one process" in str(failure("list", "--bus", "in-process"))
    assert isinstance(failure("list", "--since", "yesterday", "--from", file), ConfigurationError)
    for wrong in (
        ("export", file),
        ("resync", "vc-a-0", "--stage", "applier"),
        ("replay", "--embedded", "--from", file, "--written", str(tmp_path)),
        ("trace", "vc-a-0", "--written", str(tmp_path)),
    ):
        assert messages(*wrong).exit_code == 2, wrong
