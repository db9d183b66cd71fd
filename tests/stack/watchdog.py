"""Kill the servers of a stack whose process died without stopping them. Runs as a process of its own.

Reads lines from standard input: ``+PGID`` and ``-PGID`` enter and drop a process group, ``d PATH`` a folder. The end of
input means that the stack's process is gone, however it went (SIGKILL too): every group that is left is killed, and
every folder removed. In a session of its own, so that what kills the test run does not kill this too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys


def main() -> None:
    """Follow standard input to its end, then clean up what is left."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    groups: set[int] = set()
    folders: list[str] = []
    for line in sys.stdin:
        kind, value = line[0], line[1:].strip()
        if kind == "+":
            groups.add(int(value))
        elif kind == "-":
            groups.discard(int(value))
        elif kind == "d":
            folders.append(value)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
