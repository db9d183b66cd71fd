"""Templates run in processes of their own, which are ended when they do not answer in time.

A thread cannot be stopped, and would hold the interpreter's lock while the service should answer its broker.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Self

from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.telemetry import logger
from vcenter_operator.renderer.adapters.frames import (
    LENGTH,
    MAX_FRAME,
    Batch,
    Bounds,
    Replace,
    Start,
    order,
    parse_answer,
)
from vcenter_operator.renderer.adapters.worker import not_tried
from vcenter_operator.renderer.core.failures import Failure
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.rendering import Rendered
from vcenter_operator.renderer.core.templates import TemplateSet
from vcenter_operator.renderer.ports import Job

log = logger(__name__)

_COMMAND = (sys.executable, "-P", "-m", "vcenter_operator.renderer.adapters.worker")
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL", "TZ")
"""The environment of a process that runs other teams' code holds nothing else: no broker's URL, no tokens."""
_ALIKE = {"PYTHONHASHSEED": "0"}
"""Sets that a template makes, of `cells` or of keys, are iterated in the same order in every process."""
_PATIENCE = 5.0
"""How many times its CPU time a template may take by the clock: the machine may be busy."""
_START_WITHIN = 30.0
_SLOW_FOR = 60.0
"""Seconds for which a template that took too long for two vCenters is not tried for others."""


class _Ended(Exception):
    """The process ended, or had to be ended."""


class _Process:
    """One rendering process, started when it is first needed and after each end."""

    def __init__(self, bounds: Bounds, policy: Policy) -> None:
        self._bounds, self._policy = bounds, policy
        self._process: asyncio.subprocess.Process | None = None
        self._templates: TemplateSet | None = None

    async def answers(self, templates: TemplateSet, batch: Batch) -> AsyncGenerator[Rendered, None]:
        """What comes of each job, as it comes. Raises _Ended: what came of the next one is not known."""
        clean = False
        try:
            process = await self._ready(templates)
            assert process.stdin is not None
            process.stdin.write(order(batch))
            for _ in batch.jobs:
                try:
                    async with asyncio.timeout(self._bounds.seconds * _PATIENCE + 1):
                        await process.stdin.drain()
                        rendered = parse_answer(await _receive(process))
                except TimeoutError:
                    raise _Ended(f"does not end within {self._bounds.seconds * _PATIENCE + 1:g} s") from None
                except (OSError, asyncio.IncompleteReadError, ValueError, TypeError, KeyError) as error:
                    raise _Ended(f"ended its process ({type(error).__name__})") from None
                yield rendered
            clean = True
        finally:
            if not clean:
                await self.end()

    async def end(self) -> None:
        """Ends the process at once."""
        process, self._process, self._templates = self._process, None, None
        if process is not None:
            await _killed(process)

    async def _ready(self, templates: TemplateSet) -> asyncio.subprocess.Process:
        process = self._process
        if process is None or process.returncode is not None:
            await self.end()
            process = self._process = await _started(Start(self._bounds, self._policy))
        if templates is not self._templates:
            assert process.stdin is not None
            process.stdin.write(order(Replace(dict(templates))))
            self._templates = templates
        return process


class ProcessEngine:
    """The `Engine` that is used for real: a few rendering processes. To be entered."""

    def __init__(self, bounds: Bounds | None = None, policy: Policy | None = None, *, processes: int = 2) -> None:
        self._bounds = bounds or Bounds()
        policy = policy or Policy()
        self._processes = [_Process(self._bounds, policy) for _ in range(processes)]
        self._idle: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()
        self._templates: TemplateSet | None = None
        self._slow: dict[str, list[float]] = {}

    async def __aenter__(self) -> Self:
        for process in self._processes:
            self._idle.put_nowait(process)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            await process.end()

    async def render(self, templates: TemplateSet, jobs: Sequence[Job], *, master_password: str) -> list[Rendered]:
        """See `Engine.render`."""
        if templates is not self._templates:
            self._templates, self._slow = templates, {}
        if not jobs:
            return []
        process = await self._idle.get()
        try:
            return await self._render(process, templates, jobs, master_password)
        finally:
            self._idle.put_nowait(process)

    async def _render(
        self, process: _Process, templates: TemplateSet, jobs: Sequence[Job], master_password: str
    ) -> list[Rendered]:
        results: dict[int, Rendered] = {}
        slow = {path for path in {job.path for job in jobs} if self._too_slow(path)}
        while len(results) < len(jobs):
            results |= {
                index: not_tried(job.path, templates)
                for index, job in enumerate(jobs)
                if index not in results and job.path in slow
            }
            waiting = [index for index in range(len(jobs)) if index not in results]
            batch = Batch(tuple((jobs[index].path, jobs[index].variables) for index in waiting), master_password)
            todo = iter(waiting)
            try:
                async with aclosing(process.answers(templates, batch)) as answers:
                    async for rendered in answers:
                        results[next(todo)] = rendered
            except _Ended as ended:
                index = next(todo)
                path = jobs[index].path
                log.warning("a rendering process was ended", template=path, reason=str(ended))
                results[index] = Rendered(
                    loaded=templates.fingerprints, failure=Failure(str(ended), path, passing=True)
                )
                slow.add(path)
        self._remember({jobs[index].path for index, each in results.items() if each.failure and each.failure.passing})
        return [results[index] for index in range(len(jobs))]

    def _too_slow(self, path: str) -> bool:
        return len([at for at in self._slow.get(path, ()) if time.monotonic() - at < _SLOW_FOR]) > 1

    def _remember(self, paths: set[str]) -> None:
        for path in paths:
            if not self._too_slow(path):
                self._slow[path] = [*self._slow.get(path, ())[-1:], time.monotonic()]


async def _started(start: Start) -> asyncio.subprocess.Process:
    """A process that waits for orders. Raises TransientError."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _ALIKE
    try:
        process = await asyncio.create_subprocess_exec(
            *_COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
        )
    except OSError as error:
        raise TransientError(f"no rendering process can be started: {error}") from None
    started = False
    try:
        assert process.stdin is not None
        process.stdin.write(order(start))
        async with asyncio.timeout(_START_WITHIN):
            await _receive(process)
    except (TimeoutError, OSError, asyncio.IncompleteReadError, ValueError) as error:
        raise TransientError(f"a rendering process does not start ({type(error).__name__})") from None
    else:
        started = True
        return process
    finally:
        if not started:
            await _killed(process)


async def _killed(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await asyncio.shield(process.wait())


async def _receive(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if length > MAX_FRAME:
        raise ValueError("an answer too big")
    return await process.stdout.readexactly(length)
