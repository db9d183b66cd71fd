"""What was built once is kept, outside the checkout, under its name and version."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tests.stack.progress import EVERY, Say


def root() -> Path:
    """The cache folder: ``VCO_CACHE``, else ``vcenter-operator`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    if chosen := os.environ.get("VCO_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vcenter-operator"


def entry(name: str, version: str) -> Path:
    """Where the entry of that name and version is, or would be."""
    return root() / f"{name}-{version}"


def cached(name: str, version: str, build: Callable[[Path], None], say: Say) -> Path:
    """The folder ``<name>-<version>``, made by ``build(folder)`` when it is not there yet.

    It is built under another name and renamed when complete, so that an interrupted build leaves nothing that looks
    whole; a lock makes a second process wait for the first one's result instead of building it again.
    """
    final = entry(name, version)
    if final.is_dir():
        return final
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f".{name}.lock").open("w") as lock:
        _lock(lock, name, say)
        if final.is_dir():
            return final
        for abandoned in root().glob(f".{name}-building-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-building-", dir=root()))
        try:
            build(unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(final)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return final


def _lock(file: IO[str], name: str, say: Say) -> None:
    begin = last = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            now = time.monotonic()
            if now - last >= EVERY:
                last = now
                say(f"waiting for another process that makes {name} ... {now - begin:.0f} s")
            time.sleep(0.2)
        else:
            return
