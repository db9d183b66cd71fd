"""One line of log for each thing: with what was bound to it, JSON for machines, and secrets masked by name."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from vcenter_operator.common import telemetry


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_a_line_has_what_was_bound(lines: Callable[[], list[dict[str, Any]]]) -> None:
    telemetry.configure("INFO", json=True)
    log = telemetry.logger("vcenter_operator.test")
    with structlog.contextvars.bound_contextvars(vcenter="vc-a-0", correlation_id="c"):
        log.info("applied", objects=3)
    log.debug("not shown")
    (line,) = lines()
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert line == {
        "event": "applied",
        "objects": 3,
        "vcenter": "vc-a-0",
        "correlation_id": "c",
        "level": "info",
        "logger": "vcenter_operator.test",
    }


def test_secrets_are_masked_however_deep(capfd: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("INFO", json=True)
    telemetry.logger("t").info(
        "seen",
        password="s3cret",
        old_TSIG_key="s3cret",
        headers={"Authorization": "s3cret", "access_token": "s3cret", "keep": ["kept", {"bus_key": "s3cret"}]},
        pair=({"secret": "s3cret"},),
    )
    logged = capfd.readouterr().err
    assert "s3cret" not in logged
    assert "kept" in logged


def test_an_exception_is_in_the_line(lines: Callable[[], list[dict[str, Any]]]) -> None:
    telemetry.configure("INFO", json=True)
    try:
        raise KeyError("surprise")
    except KeyError:
        telemetry.logger("t").exception("failed")
    (line,) = lines()
    assert "KeyError: 'surprise'" in line["exception"]


def test_other_libraries_log_alike_and_noise_is_kept_out(lines: Callable[[], list[dict[str, Any]]]) -> None:
    telemetry.configure("DEBUG", json=True)
    logging.getLogger("somebody.else").warning("hello %s", "there")
    logging.getLogger("aiormq.connection").error("error when creating transport: %r", OSError())
    logging.getLogger("asyncio").debug("Using selector: EpollSelector")
    assert [(line["event"], line["logger"], line["level"]) for line in lines()] == [
        ("hello there", "somebody.else", "warning")
    ]


def test_configuring_again_changes_the_level(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log = telemetry.logger("again")
    telemetry.configure("WARNING", json=True)
    log.info("hidden")
    telemetry.configure("DEBUG", json=True)
    log.debug("shown")
    assert [line["event"] for line in lines()] == ["shown"]


def test_people_get_text(capfd: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("INFO", json=False)
    telemetry.logger("t").info("applied", objects=3)
    text = capfd.readouterr().err
    assert "applied" in text
    assert "objects=3" in text
    with pytest.raises(ValueError, match="line 1"):
        json.loads(text)


SAYS = """
from vcenter_operator.common import telemetry
telemetry.configure()
telemetry.logger("t").info("seen", vcenter="vc-a-0")
"""


def test_people_on_a_terminal_get_text_and_everybody_else_json() -> None:
    told = subprocess.run([sys.executable, "-c", SAYS], stderr=subprocess.PIPE, text=True, check=True).stderr
    assert json.loads(told)["vcenter"] == "vc-a-0"

    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs, "wb", buffering=0) as terminal:
        subprocess.run([sys.executable, "-c", SAYS], stderr=terminal, check=True)
        shown = screen.read(4096).decode()
    assert "seen" in shown
    assert "vc-a-0" in shown
    assert "{" not in shown
