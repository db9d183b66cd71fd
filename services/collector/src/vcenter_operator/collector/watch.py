"""The watch over one vCenter: logs on, reads, concludes, states, waits for a change; again and again until stopped.

Whatever goes wrong with a vCenter stays in its watch: it is shown, and tried again until DNS says that it is gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from vcenter_operator.collector.core.evidence import Conclusion, conclude, to_ask
from vcenter_operator.collector.ports import Credentials, Endpoint, LoginRefused, VCenter, VCenterError, VCenters
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.collector.standing import Standing, connected
from vcenter_operator.common.bus.dispatch import RetryDelays
from vcenter_operator.common.errors import OperatorError, PermanentError
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_REFUSALS = 3
"""Refused logins in a row after which the account is given a rest."""
_PACE = 0.05
"""Seconds between the end of a reading and the next one, at least: changes come in bursts."""


class Watch:
    """One vCenter, watched by one task while it is in the zone and its partition is ours."""

    def __init__(
        self,
        standing: Standing,
        vcenters: VCenters,
        credentials: Callable[[str], Awaitable[Credentials]],
        settings: CollectorSettings,
    ) -> None:
        self._standing = standing
        self._vcenters = vcenters
        self._credentials = credentials
        self._settings = settings
        self._endpoint = Endpoint(standing.host)
        self._unplaced: tuple[str, ...] = ()
        self._failures = 0
        self._refusals = 0
        self._first = True
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def follow(self, addresses: tuple[str, ...]) -> None:
        """Watches it at these addresses; a session at others is ended."""
        async with self._lock:
            endpoint = Endpoint(self._standing.host, addresses)
            if self._task is None or endpoint != self._endpoint:
                await self._stop()
                self._endpoint = endpoint
                self._start()

    async def log_on_again(self) -> None:
        """Credentials changed: what is under way with the old ones, a pause after refusals too, ends now."""
        async with self._lock:
            if self._task is not None:
                await self._stop()
                self._start()

    async def stop(self) -> None:
        """Ends the session, within a few seconds."""
        async with self._lock:
            await self._stop()

    def _start(self) -> None:
        self._failures = self._refusals = 0
        self._task = asyncio.create_task(self._run(), name=f"watch {self._standing.host}")

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        with structlog.contextvars.bound_contextvars(vcenter=self._standing.host):
            while True:
                try:
                    await self._watch()
                except OperatorError as error:
                    failure = error
                except Exception as error:
                    log.exception("unexpected error")
                    failure = PermanentError(f"unexpected {type(error).__name__}: {error}")
                await asyncio.sleep(await self._failed(failure))

    async def _watch(self) -> NoReturn:
        """One session, until it fails."""
        await self._standing.recall()
        if self._first and self._standing.shows(LoginRefused.reason):
            self._refusals = _REFUSALS - 1  # those of the last owner count too: one more is enough
        self._first = False
        vcenter = await self._vcenters.log_on(self._endpoint, await self._credentials(self._standing.host))
        self._refusals = 0
        try:
            clock = asyncio.get_running_loop().time
            while True:
                started = clock()
                conclusion = await self._read(vcenter)
                ended = clock()
                if not await self._stated(conclusion):
                    continue
                # The first change is read at once, what follows it together; and a large vCenter that changes all
                # the time is read a third of the time at most.
                earliest = ended + max(_PACE, 2 * (ended - started))
                if await vcenter.wait_for_change(self._settings.snapshot_every * random.uniform(0.8, 1)):  # noqa: S311
                    await asyncio.sleep(max(0.0, earliest - clock()))
        finally:
            await vcenter.close()

    async def _read(self, vcenter: VCenter) -> Conclusion:
        snapshot = await vcenter.snapshot()
        recorded = self._standing.recorded
        answers = await vcenter.ask(to_ask(recorded, snapshot))
        return conclude(self._settings.convention, recorded, snapshot, answers)

    async def _stated(self, conclusion: Conclusion) -> bool:
        """Whether it could be stated. If not it is read again after a delay, on the same session.

        An ownership that lapsed is no exception: it may be confirmed again, and if it is not, `stop` follows.
        """
        try:
            new = await self._standing.state(conclusion)
        except OperatorError as error:
            self._failures += 1
            delay = self._backoff()
            log.warning("the inventory could not be stated, will try again", error=str(error), delay=round(delay, 1))
            await asyncio.sleep(delay)
            return False
        self._failures = 0
        if new:
            log.info(
                "inventory stated",
                clusters=len(conclusion.clusters),
                unknown=[f"{cluster.cluster_name}: {cluster.reason}" for cluster in conclusion.unknown],
                gone=[f"{cluster.cluster_name} ({cluster.moid})" for cluster in conclusion.gone],
            )
        if conclusion.unplaced != self._unplaced:
            self._unplaced = conclusion.unplaced
            log.warning("clusters that cannot be placed", clusters=list(conclusion.unplaced))
        return True

    async def _failed(self, error: OperatorError) -> float:
        """Shows the failure; the delay (seconds) before the next attempt."""
        self._failures += 1
        delay, message = self._backoff(), str(error)
        if isinstance(error, LoginRefused):
            self._refusals += 1
            if self._refusals >= _REFUSALS:
                delay = self._settings.login_pause
                message += (
                    f"; refused {_REFUSALS} times in a row, so it is tried only every {delay:g} s, lest the account is "
                    "locked (a changed password in the Secret is tried at once)"
                )
        log.warning("vCenter cannot be watched, will try again", error=message, delay=round(delay, 1))
        if isinstance(error, VCenterError):
            reason = error.reason
        else:
            reason = "NotConfigured" if isinstance(error, PermanentError) else "Waiting"
        try:
            await self._standing.show(connected("False", reason, message))
        except OperatorError as problem:
            log.info("this cannot be recorded now, but with the next attempt", error=str(problem))
        return delay

    def _backoff(self) -> float:
        return RetryDelays(longest=self._settings.retry_longest).after(self._failures)
