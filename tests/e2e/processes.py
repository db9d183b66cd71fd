"""The four services as processes of the operating system, as a Deployment each would run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

STAGES = ("discovery", "collector", "renderer", "applier")


class Service:
    """One replica of one stage. `kill` is SIGKILL, `stop` is SIGTERM, `pause` and `resume` are a hang and its end."""

    def __init__(
        self, stage: str, replica: int, environment: Mapping[str, str], folder: Path, arguments: Sequence[str] = ()
    ) -> None:
        self.stage = stage
        self.name = f"{stage}-{replica}"
        self.log = folder / f"{''.join(arguments).strip('-')}{stage}-{replica}.log"
        self._command = [sys.executable, "-m", f"vcenter_operator.{stage}", *arguments]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; its log is appended to."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; it has been started."""
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing returned."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, within: float = 15) -> int:
        """SIGTERM. Returns the exit code."""
        self.process.terminate()
        return self.process.wait(within)

    def pause(self) -> None:
        """SIGSTOP: it hangs."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it wakes up."""
        self.process.send_signal(signal.SIGCONT)


def probed(ports: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """What the first replica of each stage is told, so that it serves probes and metrics on these ports."""
    return {f"{stage}-0": {"VCENTER_OPERATOR_PROBE_PORT": str(port)} for stage, port in ports.items()}


class Fleet:
    """Replicas of every stage, or of some, started together and gone when the test ends."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        replicas: int = 1,
        arguments: Sequence[str] = (),
        own: Mapping[str, Mapping[str, str]] | None = None,
        stages: Sequence[str] = STAGES,
    ) -> None:
        """`own`: what one replica is told besides, by its name (`applier-0`)."""
        told = own or {}
        self.services = {
            stage: [
                Service(stage, number, {**environment, **told.get(f"{stage}-{number}", {})}, folder, arguments)
                for number in range(replicas)
            ]
            for stage in stages
        }

    def __getitem__(self, stage: str) -> list[Service]:
        return self.services[stage]

    @property
    def all(self) -> list[Service]:
        """Every replica of every stage."""
        return [service for services in self.services.values() for service in services]

    def start(self) -> None:
        """Starts all."""
        for service in self.all:
            service.start()

    def check_alive(self) -> None:
        """Fails when one has ended."""
        for service in self.all:
            assert service.running, f"{service.stage} has ended:\n{self.logs(service.stage)}"

    def logs(self, *stages: str, lines: int = 40) -> str:
        """The last lines of the logs, for messages of failed tests."""
        parts = []
        for service in self.all:
            if (not stages or service.stage in stages) and service.log.exists():
                tail = service.log.read_text(errors="replace").splitlines()[-lines:]
                parts.append(f"--- {service.log.name}\n" + "\n".join(tail))
        return "\n".join(parts)

    def close(self) -> None:
        """Ends all, whatever state they are in."""
        for service in self.all:
            if service.running:
                service.resume()
                service.kill()
