"""SIGTERM while a command is still being loaded: imported first, so it imports next to nothing itself.

In a container the process is often the first one, for which a signal without a handler does nothing at all.
"""

from __future__ import annotations

import signal
from types import FrameType


def end_when_told(code: int) -> None:
    """From now on SIGTERM ends the process with this exit code, until somebody else handles it."""

    def end(_: int, __: FrameType | None) -> None:
        raise SystemExit(code)

    signal.signal(signal.SIGTERM, end)
