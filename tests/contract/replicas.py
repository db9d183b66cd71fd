"""Replicas as processes of their own, started, watched, killed and stopped from outside (see `replica`)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


class Replica:
    """One replica in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, url: str, folder: Path, *, heartbeat: int = 10, partitions: int = 2, work: float = 0.0
    ) -> Replica:
        """Starts one; those with the same folder share epochs and effects."""
        arguments = ["--epochs", folder / "epochs", "--effects", folder / "effects", "--heartbeat", heartbeat,
                     "--partitions", partitions, "--work", work]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.contract.replica",
            *map(str, arguments),
            env={**os.environ, "BUS_URL": url},
            stdout=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        return cls(process)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            with suppress(ValueError):
                self.events.append(json.loads(line))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    def owned(self) -> set[int]:
        partitions = {each["partition"] for each in self.of("take")}
        return {p for p in partitions if self._count("take", p) > self._count("release", p)}

    def _count(self, event: str, partition: int) -> int:
        return sum(each["partition"] == partition for each in self.of(event))

    async def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        await self.process.wait()
        await self._reading

    def memory(self) -> int:
        """The most memory it ever had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
