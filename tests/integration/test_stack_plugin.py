"""A run in which a server cannot be had: loud, named, and a failure where it has to be complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = """
import pytest
from tests.stack.errors import ServerUnavailable
from tests.stack.plugin import Servers

def pytest_configure(config):
    config.addinivalue_line("markers", "needs(*servers, control=False): servers")
    servers = Servers(config)
    def prepare(server):
        raise ServerUnavailable(f"no {server} for this machine")
    servers.stack.prepare = prepare
    config.pluginmanager.register(servers, "servers")
"""
TESTS = """
import pytest

@pytest.mark.needs("rabbitmq")
def test_that_needs_it(): ...

def test_that_needs_nothing(): ...
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(TESTS)
    kept = {key: value for key, value in os.environ.items() if key not in ("CI", "VCO_REQUIRE_SERVERS")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={folder}", str(folder)],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def test_it_is_said_what_was_not_covered_and_the_rest_runs(tmp_path: Path) -> None:
    told = run(tmp_path)
    assert told.returncode == 0, told.stdout
    assert "rabbitmq: CANNOT BE HAD HERE: no rabbitmq for this machine" in told.stdout
    assert "NOT COVERED BY THIS RUN" in told.stdout
    assert "test_it.py: tests that need rabbitmq did not run" in told.stdout
    assert "1 passed, 1 skipped" in told.stdout


@pytest.mark.parametrize("name", ["CI", "VCO_REQUIRE_SERVERS"])
def test_where_the_run_has_to_be_complete_it_fails(tmp_path: Path, name: str) -> None:
    told = run(tmp_path, **{name: "true"})
    assert told.returncode == 1, told.stdout
    assert "NOT COVERED BY THIS RUN" in told.stdout
    assert "they failed, since CI or VCO_REQUIRE_SERVERS is set" in told.stdout
    assert "1 passed, 1 error" in told.stdout or "1 failed, 1 passed" in told.stdout
