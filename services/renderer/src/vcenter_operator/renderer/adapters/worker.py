"""The process in which templates run: `python -m vcenter_operator.renderer.adapters.worker`, started by `process`.

It has no connection and no environment of the operator's, writes no files, and ends when its standard input does. A
template that takes too long is interrupted; where it cannot be (one long operation of the interpreter), the service
ends the process.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from vcenter_operator.common.masterpassword import derive_password
from vcenter_operator.renderer.adapters.frames import LENGTH, Batch, Bounds, Replace, Start, answer, frame
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.failures import Failure
from vcenter_operator.renderer.core.rendering import Rendered, render
from vcenter_operator.renderer.core.templates import Template


class OutOfTime(BaseException):
    """The template's CPU time is used up. Nothing that templates call catches it."""


class Worker:
    """Renders what it is told to, one after the other."""

    def __init__(self, start: Start, orders: BinaryIO, answers: BinaryIO) -> None:
        self._bounds, self._policy = start.bounds, start.policy
        self._orders, self._answers = orders, answers
        self._templates: Mapping[str, Template] = {}
        self._master_password = ""
        self._library = Library(self._derived, max_output=start.policy.max_output)

    def run(self) -> None:
        """Until there are no more orders."""
        while (received := _read(self._orders)) is not None:
            if isinstance(received, Replace):
                self._templates = received.templates
                self._library.replace(received.templates)
            elif isinstance(received, Batch):
                self._render(received)

    def _derived(self, username: str, host: str) -> str:
        """The filter `derive_password`. A user's key takes about 0.2 s of CPU, which is not the template's fault."""
        left, _ = signal.setitimer(signal.ITIMER_PROF, 0)
        password = derive_password(username, self._master_password, host)
        signal.setitimer(signal.ITIMER_PROF, max(left, 1e-6))
        return password

    def _render(self, batch: Batch) -> None:
        self._master_password = batch.master_password
        too_slow: set[str] = set()
        for path, variables in batch.jobs:
            rendered = not_tried(path, self._templates) if path in too_slow else self._within_time(path, variables)
            if rendered.failure is not None and rendered.failure.passing:
                too_slow.add(path)
            self._answers.write(answer(rendered))
            self._answers.flush()

    def _within_time(self, path: str, variables: Mapping[str, Any]) -> Rendered:
        try:
            signal.setitimer(signal.ITIMER_PROF, self._bounds.seconds)
            try:
                return render(self._library, self._templates[path], variables, self._policy)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except OutOfTime:
            reason = f"takes more than {self._bounds.seconds:g} s of CPU time"
            return Rendered(loaded=self._library.loaded, failure=Failure(reason, path, passing=True))


def not_tried(path: str, templates: Mapping[str, Template]) -> Rendered:
    """The result for a template that has just taken too long elsewhere."""
    loaded = {each: template.fingerprint for each, template in templates.items()}
    return Rendered(loaded=loaded, failure=Failure("not tried: it takes too long elsewhere", path, passing=True))


def main() -> None:
    """Reads orders from standard input, answers on standard output."""
    orders = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    start = _read(orders)
    if not isinstance(start, Start):
        return
    _bound(start.bounds)
    answers.write(frame(b""))
    answers.flush()
    Worker(start, orders, answers).run()


def _bound(bounds: Bounds) -> None:
    sys.dont_write_bytecode = True
    sys.excepthook = lambda kind, *_: sys.stderr.write(f"rendering process ended: {kind.__name__}\n")
    limits = {
        resource.RLIMIT_AS: bounds.memory,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, value in limits.items():
        with suppress(ValueError, OSError):  # not every system knows every one
            resource.setrlimit(limit, (value, value))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _out_of_time)


def _out_of_time(*_: object) -> None:
    raise OutOfTime


def _read(stream: BinaryIO) -> Any:
    """The next order; None: there are no more."""
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(header)
    return pickle.loads(stream.read(length))  # noqa: S301 - from the process that started this one


if __name__ == "__main__":
    main()
