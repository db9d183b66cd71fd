"""The watch over one vCenter: logs on, reads, concludes, states, waits for a change; again and again until stopped.

Whatever goes wrong with a vCenter stays in its watch: it is shown, and tried again until DNS says that it is gone;
`circuit` says when and how.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NoReturn

import structlog

from vcenter_operator.collector.circuit import REFUSALS, Circuit, Rests, refused
from vcenter_operator.collector.core.evidence import Conclusion, conclude, to_ask
from vcenter_operator.collector.keeping import Sessions
from vcenter_operator.collector.metrics import Session
from vcenter_operator.collector.ports import (
    Access,
    CertificateRefused,
    Endpoint,
    LoginRefused,
    VCenter,
    VCenterError,
    VCenters,
)
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.collector.standing import Standing, connected
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import OperatorError, PermanentError, TransientError
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.tracing import Observation

log = logger(__name__)

_PACE = 0.05
"""Seconds between the end of a reading and the next one, at least: changes come in bursts."""
_SETTLES = 2.0
"""Seconds after a reading that had news until the next, at most. What a vCenter reports is the difference between two
of its versions: a cluster that came after one and went before the other is in the reading that fell between, and in no
report."""


class Watch:
    """One vCenter, watched by one task while it is in the zone and its partition is ours."""

    def __init__(
        self,
        standing: Standing,
        vcenters: VCenters,
        sessions: Sessions,
        access: Callable[[str], Awaitable[Access]],
        settings: CollectorSettings,
    ) -> None:
        self._standing = standing
        self._vcenters = vcenters
        self._sessions = sessions
        self._keep = False
        self._access = access
        self._settings = settings
        self._endpoint = Endpoint(standing.host)
        self._unplaced: tuple[str, ...] = ()
        self._circuit = Circuit(settings.retry_longest)
        self._worked_since: float | None = None
        self._connected = False
        self.read_at: float | None = None
        """When everything about it was read last (seconds since the epoch)."""
        self._unstated = 0
        self._rests = Rests(settings.login_retry, settings.login_pause)
        self._digest = ""
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    @property
    def session(self) -> Session | None:
        """How it stands with its session; None: it is not watched."""
        if self._task is None:
            return None
        if self._connected:
            return Session.CONNECTED
        refused = self._standing.recorder.refused
        if refused is not None and refused.credentials == self._digest:
            return Session.REFUSED
        return Session.PROBING if self._circuit.is_open else Session.CONNECTING

    async def follow(self, addresses: tuple[str, ...]) -> None:
        """Watches it at these addresses; a session at others is ended."""
        async with self._lock:
            endpoint = Endpoint(self._standing.host, addresses)
            if self._task is None or endpoint != self._endpoint:
                await self._stop()
                self._endpoint = endpoint
                self._start()

    async def log_on_again(self) -> None:
        """Its access changed: what is under way with the old one, a rest after refusals too, ends now."""
        async with self._lock:
            if self._task is not None:
                await self._stop()
                self._start()

    async def stop(self, *, keep: bool = False) -> None:
        """Ends the session, within a few seconds; `keep`: leaves it to whoever watches the vCenter next."""
        async with self._lock:
            self._keep = keep
            await self._stop()

    def _start(self) -> None:
        self._circuit = Circuit(self._settings.retry_longest)
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
                    failure = OperatorError(f"unexpected {type(error).__name__}: {error}")
                await asyncio.sleep(await self._failed(failure))

    async def _watch(self) -> NoReturn:
        """One session, until it fails."""
        self._worked_since = None
        await self._standing.recorder.recall()
        access = await self._access(self._standing.host)
        self._digest = access.digest
        await self._rest()
        endpoint = replace(self._endpoint, thumbprints=access.thumbprints)
        if self._circuit.is_open:
            await self._vcenters.probe(endpoint)
        observation = Observation(Stage.COLLECTOR)
        with observation.step("log on"):
            vcenter = await self._sessions.begin(endpoint, access.credentials)
        self._standing.recorder.refused = None
        self._connected = True
        try:
            clock = asyncio.get_running_loop().time
            anew = clock() + self._net()
            while True:
                started = clock()
                conclusion = await self._read(vcenter, observation)
                ended, self.read_at = clock(), time.time()
                self._worked_since = self._worked_since or ended
                new = await self._stated(conclusion, observation)
                if new is None:
                    continue
                # The first change is read at once, what follows it together; and a large vCenter that changes all
                # the time is read a third of the time at most.
                earliest = ended + max(_PACE, 2 * (ended - started))
                due = min(anew, max(earliest, ended + _SETTLES)) if new else anew
                changed = await vcenter.wait_for_change(max(0.0, due - clock()))
                observation = Observation(Stage.COLLECTOR)
                if changed:
                    await asyncio.sleep(max(0.0, earliest - clock()))
                elif due == anew:
                    await vcenter.watch_anew()
                    anew = clock() + self._net()
        finally:
            self._connected = False
            if self._keep:
                self._sessions.keep(endpoint, access.credentials, vcenter)
            else:
                await vcenter.close()

    def _net(self) -> float:
        """Seconds until the vCenter is read though it reports nothing, and anew though it reports all the time."""
        return self._settings.snapshot_every * random.uniform(0.8, 1)  # noqa: S311

    async def _rest(self) -> None:
        """Until a login may be tried, after others were refused: here, or by the owner before.

        Whoever takes over has to know of the last one, or it would count anew: without a record of it none is tried
        for the long rest.
        """
        recorder = self._standing.recorder
        if recorder.refused is None or recorder.refused.credentials != self._digest:
            return
        if left := self._rests.left(recorder.refused, datetime.now(UTC)):
            log.info("no login is tried for a while", seconds=round(left))
            await asyncio.sleep(left)
        try:
            async with asyncio.timeout(self._rests.later):
                await recorder.until_written()
        except TimeoutError:
            log.warning("a login is tried though it cannot be recorded that the last one was refused")

    async def _read(self, vcenter: VCenter, observation: Observation) -> Conclusion:
        with observation.step("read snapshot"):
            snapshot = await vcenter.snapshot()
        recorded = self._standing.recorder.clusters
        answers = await vcenter.ask(to_ask(recorded, snapshot))
        return conclude(self._settings.convention, recorded, snapshot, answers)

    async def _stated(self, conclusion: Conclusion, observation: Observation) -> bool | None:
        """Whether it said anything new; None, after a delay: it could not be stated, and is read again.

        An ownership that lapsed is no exception: it may be confirmed again, and if it is not, `stop` follows.
        """
        try:
            new = await self._standing.state(conclusion, observation)
        except OperatorError as error:
            self._unstated += 1
            delay = RetryDelays(longest=self._settings.retry_longest).after(self._unstated)
            log.warning("the inventory could not be stated, will try again", error=str(error), delay=round(delay, 1))
            await asyncio.sleep(delay)
            return None
        self._unstated = 0
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
        return new

    async def _failed(self, error: OperatorError) -> float:
        """Shows the failure; the delay (seconds) before the next attempt."""
        message = str(error)
        if isinstance(error, LoginRefused):
            delay, more = self._refused()
            message += more
        elif isinstance(error, VCenterError):
            lasted = asyncio.get_running_loop().time() - self._worked_since if self._worked_since else 0.0
            delay = self._circuit.failed(lasted)
            message += self._circuit.describe()
        else:
            self._unstated += 1
            delay = RetryDelays(longest=self._settings.retry_longest).after(self._unstated)
        if isinstance(error, CertificateRefused):
            delay = self._settings.retry_longest * random.uniform(0.75, 1)  # noqa: S311
        log.warning("vCenter cannot be watched, will try again", error=message, delay=round(delay, 1))
        try:
            await self._standing.show(connected("False", _reason(error), message))
        except OperatorError as problem:
            log.info("this cannot be recorded now, and is tried again", error=str(problem))
        return delay

    def _refused(self) -> tuple[float, str]:
        """Counts a refused login: the delay (seconds) before the next, and what is to be said of it.

        It was answered, so nothing is wrong with the vCenter.
        """
        self._circuit.failures = 0
        recorder = self._standing.recorder
        count = recorder.refused = refused(recorder.refused, self._digest, datetime.now(UTC))
        rest = self._rests.after(count.times)
        if count.times < REFUSALS:
            return rest, f"; the next login is tried after {rest:g} s"
        return rest, (
            f"; refused {REFUSALS} times in a row, so it is tried only every {rest:g} s, lest the account is "
            "locked (another password in the Secret is tried at once)"
        )


def _reason(error: OperatorError) -> str:
    match error:
        case VCenterError():
            return error.reason
        case PermanentError():
            return "NotConfigured"
        case TransientError():
            return "Waiting"
    return VCenterError.reason
