"""A thread for the calls of one session.

Not an executor of the standard library: the interpreter waits for the threads of those when it exits, and a vCenter
that hangs would keep the process alive.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """A daemon thread that does one job after another, until `stop`."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        """What the job returns or raises. Cancelled, the job goes on, and its outcome is dropped."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((job, outcome))
        return await outcome

    def stop(self) -> None:
        """Ends the thread after the jobs that it has."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (task := self._jobs.get()) is not None:
            job, outcome = task
            result: Any = None
            error: BaseException | None = None
            try:
                result = job()
            except BaseException as raised:
                error = raised
            # The loop may be closed by now: then nobody waits any more.
            with suppress(RuntimeError):
                outcome.get_loop().call_soon_threadsafe(_settle, outcome, result, error)
            del task, job, outcome, result, error


def _settle(outcome: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if outcome.done():
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
