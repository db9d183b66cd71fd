"""Files as people and editors change them: replaced, half-written for a moment, gone for a moment."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

from watchfiles import awatch

logging.getLogger("watchfiles").setLevel(logging.WARNING)

_QUIET_MS = 50
_LONGEST_BURST_MS = 1000


async def changed(path: Path) -> AsyncIterator[None]:
    """Yields once when the watch stands, then whenever a file, or anything in a folder, may have changed.

    Bursts are coalesced. A file is watched by its folder, since editors replace files rather than write them; what
    else happens in that folder wakes the reader too. Ends when the folder is gone. Raises FileNotFoundError.
    """
    folder, recursive = (path, True) if _is_folder(path) else (path.parent, False)
    happened = awatch(folder, watch_filter=None, debounce=_LONGEST_BURST_MS, step=_QUIET_MS, recursive=recursive)
    waiting = asyncio.ensure_future(anext(happened))
    try:
        await asyncio.sleep(0)  # runs to where it waits: the kernel's watch is made before that
        if waiting.done():
            waiting.result()
        yield
        while _is_folder(folder):
            await waiting
            yield
            waiting = asyncio.ensure_future(anext(happened))
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await happened.aclose()


def _is_folder(path: Path) -> bool:
    return path.is_dir()


def replace_file(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Writes a file so that a reader sees the old or the new text, never a part, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock file: one writer at a time, over all processes of this machine. Makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        flock(file, LOCK_EX)
        yield
