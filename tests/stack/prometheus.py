"""A Prometheus of our own, and promtool, which checks rules and runs their tests."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.ports import free_port
from tests.stack import debian, progress
from tests.stack.errors import StackError
from tests.stack.process import ServerProcess

_BIN = "/usr/bin/prometheus"
_PROMTOOL = "/usr/bin/promtool"


def install(say: progress.Say) -> debian.Installation:
    """Prometheus and promtool, from their Debian package."""
    return debian.installation("prometheus", _BIN, say)


def promtool(installation: debian.Installation, *arguments: str | Path) -> str:
    """What ``promtool`` prints; a StackError with it when it finds something wrong."""
    done = subprocess.run(
        [installation.path(_PROMTOOL), *arguments],
        env={**os.environ, **installation.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise StackError(f"promtool {' '.join(map(str, arguments))}:\n{done.stdout}")
    return done.stdout


class Prometheus:
    """One Prometheus with a configuration file that the caller wrote; it keeps what it scraped over a restart."""

    def __init__(self, installation: debian.Installation, folder: Path, configuration: Path) -> None:
        self.version = installation.version
        self.source = "unpacked Debian package" if installation.unpacked else "Debian package"
        self.url = f"http://127.0.0.1:{free_port()}"
        address = self.url.removeprefix("http://")
        self._process = ServerProcess(
            "Prometheus",
            [
                installation.path(_BIN),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            log=folder / "prometheus.log",
            env=installation.environment,
        )

    def start(self) -> None:
        """Start it and wait until it answers queries."""
        self._process.start(self._ready)

    def stop(self) -> None:
        """Stop it in good order."""
        self._process.stop()

    def _ready(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)

    def ask(self, path: str, **parameters: str | float) -> Any:
        """What is in ``data`` of the answer of ``/api/v1/<path>``; a StackError where it refuses the question."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise StackError(f"Prometheus, {path} {parameters}: {error.read().decode(errors='replace')}") from error

    def query(self, expression: str) -> list[Any]:
        """The series that an expression yields now."""
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}
