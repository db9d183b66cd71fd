"""Free ports on loopback that two stacks at once never share."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

# Below the range that the kernel gives to outgoing connections, which could take a port while its server restarts.
_RANGE = range(20000, 32000)
_held: list[IO[str]] = []


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP and UDP port that is free on the address, reserved for this process until it ends."""
    locks = Path(tempfile.gettempdir()) / f"vco-ports-{os.getuid()}"
    locks.mkdir(exist_ok=True)
    for port in random.sample(_RANGE, len(_RANGE)):
        lock = (locks / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if _is_free(address, port):
            _held.append(lock)
            return port
        lock.close()
    raise OSError(f"no free port on {address}")


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def accepts(address: str, port: int, timeout: float = 1.0) -> bool:
    """Whether something accepts TCP connections there now."""
    try:
        socket.create_connection((address, port), timeout).close()
    except OSError:
        return False
    return True
