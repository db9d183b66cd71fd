"""An OpenTelemetry Collector of our own on loopback, which takes traces (OTLP over HTTP) and keeps what it took."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.stack import golang, progress
from tests.stack.process import ServerProcess

MODULE = "go.opentelemetry.io/collector/otelcol"


def install(say: progress.Say) -> Path:
    """The binary, built from ``go/otelcol``."""
    return golang.build("otelcol", "otelcol", ".", version(), say)


def version() -> str:
    """The version of the Collector."""
    return golang.required_version("otelcol", MODULE)


class OtelCollector:
    """The Collector with its OTLP receiver. ``endpoint`` is what OTEL_EXPORTER_OTLP_ENDPOINT names."""

    source = "built from the Go module"

    def __init__(self, binary: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        address = f"127.0.0.1:{free_port()}"
        self.endpoint = f"http://{address}"
        self.version = version()
        self._received = folder / "traces.jsonl"
        configuration = folder / "otelcol.json"
        receiver = {"otlp": {"protocols": {"http": {"endpoint": address}}}}
        pipeline = {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}
        exporter = {"file": {"path": str(self._received)}}
        configuration.write_text(
            json.dumps({"receivers": receiver, "exporters": exporter, "service": {"pipelines": pipeline}})
        )
        self._process = ServerProcess(
            "otelcol", [binary, "--config", f"file:{configuration}"], log=folder / "otelcol.log"
        )

    def start(self) -> None:
        """Start it; it takes traces when this returns."""
        self._process.start(self._answers, timeout=30)

    def stop(self) -> None:
        """Stop it in good order."""
        self._process.stop(timeout=10)

    def received(self) -> str:
        """All that it was sent: OTLP in JSON, one request a line."""
        text = self._received.read_text() if self._received.exists() else ""
        return text[: text.rfind("\n") + 1]

    def requests(self) -> list[dict[str, Any]]:
        """The requests, oldest first."""
        return [json.loads(line) for line in self.received().splitlines()]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/v1/traces", timeout=1):
                return True
        except urllib.error.HTTPError:
            return True  # it wants a POST
