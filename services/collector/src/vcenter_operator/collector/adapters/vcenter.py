"""Real vCenters, through pyVmomi: a session and a thread for each."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from vcenter_operator.collector.adapters.admission import Admission
from vcenter_operator.collector.adapters.connection import Line
from vcenter_operator.collector.adapters.session import FAILURES, Session, translated
from vcenter_operator.collector.adapters.worker import Worker
from vcenter_operator.collector.core.model import Answer, Reference, Snapshot
from vcenter_operator.collector.ports import Credentials, Endpoint, NotAnswering, VCenterError
from vcenter_operator.common.telemetry import logger

T = TypeVar("T")

log = logger(__name__)

_LOGOUT = 2.0
"""Seconds for logging out: a stage stops within seconds, and a session that is left behind ends by itself."""
_CALLS = 5
"""How many read timeouts a job of several calls may take."""


@dataclass(frozen=True)
class Timeouts:
    """In seconds; see `CollectorSettings`."""

    connect: float = 10.0
    read: float = 60.0
    wait: int = 60


class PyVmomiVCenters:
    """Logs on to vCenters on one port, with one way of verifying their certificates."""

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        port: int = 443,
        timeouts: Timeouts | None = None,
        page_size: int | None = None,
    ) -> None:
        self._context = context
        self._port = port
        self._timeouts = timeouts or Timeouts()
        self._page_size = page_size
        # Who is logged on to waits for no login, of vCenters that hang perhaps.
        self._beginning, self._reading = Admission(), Admission()

    async def log_on(self, endpoint: Endpoint, credentials: Credentials) -> PyVmomiVCenter:
        """See `VCenters.log_on`."""
        async with self._beginning.admitted():
            vcenter = self._vcenter(endpoint)
            try:
                await vcenter.log_on(credentials)
            except BaseException:
                await vcenter.close()
                raise
            return vcenter

    async def probe(self, endpoint: Endpoint) -> None:
        """See `VCenters.probe`."""
        vcenter = self._vcenter(endpoint)
        try:
            await vcenter.greet()
        finally:
            await vcenter.close()

    def _vcenter(self, endpoint: Endpoint) -> PyVmomiVCenter:
        timeouts = self._timeouts
        line = Line(endpoint, self._port, self._context, connect_timeout=timeouts.connect, read_timeout=timeouts.read)
        session = Session(line, margin=timeouts.connect, page_size=self._page_size)
        return PyVmomiVCenter(line, session, timeouts, self._reading)


class PyVmomiVCenter:
    """See `VCenter`. Its thread ends with it."""

    def __init__(self, line: Line, session: Session, timeouts: Timeouts, admission: Admission) -> None:
        self._line = line
        self._session = session
        self._timeouts = timeouts
        self._admission = admission
        self._worker = Worker(f"vcenter {line.endpoint.host}")
        self._closed = False

    async def log_on(self, credentials: Credentials) -> None:
        """Begins the session. Raises VCenterError.

        Cancelled, it is not cut off: `close` gives the vCenter a moment to answer, and takes the session back.
        """
        await self._call(partial(self._session.log_on, credentials), _CALLS * self._timeouts.read, cut=False)

    async def greet(self) -> None:
        """Finds out whether it answers. Raises VCenterError."""
        await self._call(self._session.greet, _CALLS * self._timeouts.connect)

    async def snapshot(self) -> Snapshot:
        """See `VCenter.snapshot`."""
        async with self._admission.admitted():
            return await self._call(self._session.snapshot, _CALLS * self._timeouts.read)

    async def ask(self, references: Sequence[Reference]) -> dict[Reference, Answer]:
        """See `VCenter.ask`."""
        if not references:
            return {}
        return await self._call(partial(self._session.ask, references), _CALLS * self._timeouts.read)

    async def wait_for_change(self, timeout: float) -> bool:
        """See `VCenter.wait_for_change`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while (left := until - loop.time()) > 0:
            seconds = min(self._timeouts.wait, math.ceil(left))
            if await self._call(partial(self._session.wait, seconds), seconds + _CALLS * self._timeouts.connect):
                return True
        return False

    async def watch_anew(self) -> None:
        """See `VCenter.watch_anew`."""
        await self._call(self._session.watch_anew, _CALLS * self._timeouts.read)

    async def resume(self) -> None:
        """See `VCenter.resume`."""
        await self._call(self._session.resume, _CALLS * self._timeouts.connect)

    async def close(self) -> None:
        """See `VCenter.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(_LOGOUT):
                await self._worker.run(partial(self._session.log_out, _LOGOUT))
        except TimeoutError:
            # Whoever closes it waits no longer, but the logout may still come about.
            asyncio.get_running_loop().call_later(_CALLS * _LOGOUT, self._line.cut)
        finally:
            self._worker.stop()

    async def _call(self, job: Callable[[], T], within: float, *, cut: bool = True) -> T:
        """The job, in the thread. Sockets have timeouts for each read; `within` (seconds) is for all of it.

        `cut`: cancelled, the job is made to fail at once.
        """
        try:
            async with asyncio.timeout(within) as deadline:
                return await self._worker.run(job)
        except asyncio.CancelledError:
            if cut:
                self._line.cut()
            raise
        except VCenterError:
            raise
        except Exception as error:
            if deadline.expired():
                self._line.cut()
                raise NotAnswering("it did not answer in time") from None
            if not isinstance(error, FAILURES):
                log.info("an answer that cannot be understood", exc_info=error)
            raise translated(error) from None
