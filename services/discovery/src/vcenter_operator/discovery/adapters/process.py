"""Zones are transferred in a process of its own, so that the event loop goes on while a large one is read.

A thread would not do: parsing a zone of 100,000 names takes seconds of the interpreter's lock, and the garbage
collector then stops every thread for as long as it walks through the zone, again and again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from vcenter_operator.common.telemetry import logger
from vcenter_operator.discovery.adapters.failures import TOO_LARGE, UNREACHABLE
from vcenter_operator.discovery.adapters.transfer import Order, Outcome
from vcenter_operator.discovery.adapters.worker import LENGTH, order_frame, outcome
from vcenter_operator.discovery.ports import ZoneUnavailable

log = logger(__name__)

_COMMAND = (sys.executable, "-P", "-m", "vcenter_operator.discovery.adapters.worker")
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL", "TZ")
"""It reads what comes from the network: its environment has no broker's URL and no tokens."""
_START_WITHIN = 30.0
_LARGEST = 64 * 1024 * 1024
_MEMORY = 384
"""MiB."""


class Transferring(Protocol):
    """Transfers zones, one at a time, and keeps the last one for an incremental transfer."""

    async def transfer(self, order: Order) -> Outcome:
        """Raises ZoneUnavailable."""
        ...


class TransferProcess:
    """Started when it is first needed and after each end; ended where it does not answer or nobody waits any more."""

    def __init__(self, *, memory: int = _MEMORY) -> None:
        """`memory`: MiB that it may have: a zone that never ends costs no more, and not the container its life."""
        self._command = (*_COMMAND, str(memory * 2**20))
        self._process: asyncio.subprocess.Process | None = None
        self._one = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def pid(self) -> int | None:
        """Of the process, where there is one."""
        return self._process.pid if self._process is not None else None

    @property
    def busy(self) -> bool:
        """Whether a transfer is under way."""
        return self._one.locked()

    async def transfer(self, order: Order) -> Outcome:
        """See `Transferring.transfer`."""
        async with self._one:
            body = None
            try:
                async with asyncio.timeout(order.within + _START_WITHIN):
                    process = await self._ready()
                    body = await _asked(process, order_frame(order))
            except TimeoutError:
                raise ZoneUnavailable(UNREACHABLE, "the process that transfers the zone does not answer") from None
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                problem = f"the process that transfers the zone ended ({type(error).__name__})"
                raise ZoneUnavailable(UNREACHABLE, problem) from None
            finally:
                if body is None:
                    await self._end()
            try:
                return outcome(body)
            except ZoneUnavailable as error:
                if error.reason == TOO_LARGE:  # not all of it is given back
                    await self._end()
                raise

    async def _ready(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            await self._end()
            environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
            )
            log.debug("process for zone transfers started", pid=self._process.pid)
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())


async def _asked(process: asyncio.subprocess.Process, order: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order)
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if length > _LARGEST:
        raise ValueError("an answer too big")
    return await process.stdout.readexactly(length)
