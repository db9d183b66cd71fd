"""Run a long command and say every few seconds that it still runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.stack.errors import StackError

Say = Callable[[str], None]
EVERY = 10.0  # seconds between two lines


def say_on_stdout(line: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(
    what: str,
    argv: Sequence[str | Path],
    say: Say,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 3600,
) -> None:
    """Run a command to its end; a StackError with the end of its output when it fails or takes too long (seconds)."""
    begin = last = time.monotonic()
    say(f"{what} ...")
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [str(argument) for argument in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        try:
            while process.poll() is None:
                time.sleep(0.1)
                now = time.monotonic()
                if now - last >= EVERY:
                    last = now
                    say(f"{what} ... {now - begin:.0f} s")
                if now - begin > timeout:
                    raise StackError(f"{what}: not done after {timeout:g} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        text = output.read().strip()
    if process.returncode:
        tail = "\n".join(f"  | {line}" for line in text.splitlines()[-15:])
        raise StackError(f"{what}: {argv[0]} ended with status {process.returncode}\n{tail}")
    say(f"{what}: done in {time.monotonic() - begin:.0f} s")
