"""The pytest side of the stack: which servers the selected tests need, and which of these served them.

A test needs a server when it says so, ``@pytest.mark.needs("rabbitmq", "dns")``, or uses a fixture that is that server;
``control=True`` adds that the server must be ours to kill. Only what a selected test needs is installed and started.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stack.errors import ServerUnavailable
from tests.stack.progress import say_on_stdout
from tests.stack.stack import REPLACED_BY, SERVERS, Stack, required

FIXTURES = {
    "rabbitmq": "rabbitmq",
    "amqp_url": "rabbitmq",
    "dns": "dns",
    "zone": "dns",
    "vcsim_factory": "vcsim",
    "kubernetes": "kubernetes",
    "namespace": "kubernetes",
    "otelcol": "otelcol",
    "helm": "helm",
}


def needs(item: pytest.Item) -> set[str]:
    """The servers that a test needs."""
    wanted = {server for marker in item.iter_markers("needs") for server in marker.args}
    if unknown := wanted - set(SERVERS):
        raise pytest.UsageError(f"{item.nodeid}: needs({', '.join(sorted(unknown))}): not a server of {SERVERS}")
    return wanted | {FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in FIXTURES}


def uses_stack(items: Iterable[pytest.Item]) -> bool:
    """Whether any of the tests needs a server."""
    return any(needs(item) or "stack" in getattr(item, "fixturenames", ()) for item in items)


class Servers:
    """Holds the stack of a run, fails or skips what it cannot serve, and sums up at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.stack = Stack(self._say)
        self._missing: dict[str, str] = {}
        self._not_covered: defaultdict[Path, set[str]] = defaultdict(set)

    def _say(self, line: str) -> None:
        with self._shown():
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            if reporter is None:
                say_on_stdout(line)
            else:
                reporter.ensure_newline()
                reporter.write_line(line)
                reporter.flush()

    @contextmanager
    def _shown(self) -> Iterator[None]:
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            yield
        else:
            with capture.global_and_fixture_disabled():
                yield

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Install or build what the selected tests need."""
        if self._config.option.collectonly:
            return
        wanted = set().union(*(needs(item) for item in session.items))
        for server in SERVERS:
            if server in wanted:
                try:
                    self.stack.prepare(server)
                except ServerUnavailable as error:
                    self._missing[server] = str(error)
                    self._say(f"{server}: CANNOT BE HAD HERE: {error}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Fail or skip a test whose servers are missing; bring back those that the test before left dead."""
        wanted = needs(item)
        lacking = {server: self._missing[server] for server in wanted if server in self._missing}
        if any(marker.kwargs.get("control") for marker in item.iter_markers("needs")):
            for server in wanted:
                if not self.stack.is_ours(server):
                    lacking[server] = f"{REPLACED_BY[server]} is not ours to kill"
        if lacking:
            self._not_covered[item.path].update(lacking)
            reason = "; ".join(f"no {server}: {why.splitlines()[0]}" for server, why in sorted(lacking.items()))
            if required():
                pytest.fail(reason, pytrace=False)
            pytest.skip(f"NOT COVERED, {reason}")
        for server in wanted:
            self.stack.heal(server)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Stop every server."""
        self.stack.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Which servers served the run, and what was not covered."""
        served = dict.fromkeys((s.kind, s.name, s.version, s.source) for s in self.stack.served)
        if served:
            terminalreporter.section("real servers of this run")
            for _, name, version, source in sorted(served):
                terminalreporter.write_line(f"  {name:<16} {version:<34} {source}")
        if not self._missing and not self._not_covered:
            return
        terminalreporter.section("NOT COVERED BY THIS RUN", sep="!", red=True, bold=True)
        for server, why in sorted(self._missing.items()):
            terminalreporter.write_line(f"  {server} could not be had: {why}", red=True)
        for path, servers in sorted(self._not_covered.items()):
            name = os.path.relpath(path, self._config.rootpath)
            terminalreporter.write_line(f"  {name}: tests that need {', '.join(sorted(servers))} did not run", red=True)
        outcome = "they failed, since CI or VCO_REQUIRE_SERVERS is set" if required() else "all other tests ran"
        terminalreporter.write_line(f"  {outcome}", red=True)
