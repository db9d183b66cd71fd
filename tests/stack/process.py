"""Start, stop, kill and pause a server's process group, and leave no orphan behind."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.stack.errors import StackError

# The child waits for this word: it starts only once the watchdog knows its group, and never if we died before.
_GATE = 'read go && test "$go" = go && exec "$@" </dev/null'


class Watchdog:
    """The process that kills our servers when we die without doing so. One for each process that runs a stack."""

    _lock = threading.Lock()
    _instance: Watchdog | None = None

    def __init__(self) -> None:
        script = Path(__file__).with_name("watchdog.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
            bufsize=1,
        )
        atexit.register(self._close)

    @classmethod
    def instance(cls) -> Watchdog:
        """The watchdog of this process, started at the first call."""
        with cls._lock:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    def tell(self, line: str) -> None:
        """Enter (``+PGID``) or drop (``-PGID``) a group, or enter a folder (``d PATH``)."""
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def members(group: int) -> dict[int, str]:
    """The processes of a process group that are alive (a zombie is not), with their states as in ``/proc/PID/stat``."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state not in "ZX":
                found[int(entry.name)] = state
    return found


def until(condition: Callable[[], bool], timeout: float, what: str, *, every: float = 0.05) -> None:
    """Wait until the condition holds, asking every so many seconds; a StackError naming *what* after the timeout."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"not within {timeout:g} s: {what}")
        time.sleep(every)


class ServerProcess:
    """One server in a process group of its own, with its output in a log file.

    Start, stop, kill, pause and resume may be called again and again; each returns when its effect holds. The command
    line and the environment are kept, so that a second start continues with the same data folder.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.argv = [str(argument) for argument in argv]
        self.log = log
        self.env = dict(env or {})
        self.stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended (a paused one is running)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id, which is the id of the process group too."""
        if self._process is None:
            raise StackError(f"{self.name} is not running")
        return self._process.pid

    def start(self, ready: Callable[[], bool], timeout: float = 60) -> None:
        """Start it and wait until ``ready()`` is true; a StackError with the end of the log when it ends or hangs."""
        if self.running:
            raise StackError(f"{self.name} is running already")
        self._launch()
        deadline = time.monotonic() + timeout
        while not self._answers(ready):
            if (status := self._exit_status()) is not None:
                self._reap()
                raise StackError(f"{self.name} ended with status {status} while starting{self._tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise StackError(f"{self.name} did not answer within {timeout:g} s{self._tail()}")
            time.sleep(0.05)

    def _launch(self) -> None:
        watchdog = Watchdog.instance()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GATE, self.argv[0], *self.argv],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
                cwd=self.log.parent,
                start_new_session=True,
            )
        self._process = process
        watchdog.tell(f"+{process.pid}")
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"go\n")
            process.stdin.close()

    def _exit_status(self) -> int | None:
        return self._process.poll() if self._process else None

    @staticmethod
    def _answers(ready: Callable[[], bool]) -> bool:
        try:
            return ready()
        except (OSError, StackError):
            return False

    def stop(self, timeout: float = 30) -> None:
        """Ask it to stop, and kill what is left of its group after the timeout. Nothing when it does not run."""
        if self._process is None:
            return
        self.resume()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, self.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        self._reap()

    def kill(self) -> None:
        """SIGKILL to the whole group: no chance to flush or say goodbye. Nothing when it does not run."""
        if self._process is not None:
            self._reap()

    def _reap(self) -> None:
        assert self._process is not None
        group = self._process.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self._process.wait()
        until(lambda: not members(group), 10, f"the end of every process of {self.name}")
        Watchdog.instance().tell(f"-{group}")
        self._process = None

    def pause(self) -> None:
        """SIGSTOP to the whole group: connections stay open, and nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)
        until(lambda: set(members(self.pid).values()) <= {"T"}, 10, f"every process of {self.name} is stopped")

    def resume(self) -> None:
        """SIGCONT to the whole group; nothing when it does not run."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Paused inside the ``with`` block, resumed after it."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def _tail(self, lines: int = 20) -> str:
        with contextlib.suppress(OSError):
            text = self.log.read_text(errors="replace").splitlines()[-lines:]
            return "\n  end of its log:\n" + "\n".join(f"  | {line}" for line in text)
        return " (it has no log)"
