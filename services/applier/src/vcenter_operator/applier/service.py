"""The applier: makes the cluster hold what the renderer states, and nothing that it once held and should not any more.

A statement is dropped if anything newer was acted on; else it is noted in the record as acted on, planned against what
the vCenter owns, and carried out. What costs requests is done only where the plan from memory is not empty: everything
owned is looked at afresh then, planned again, and only then written. What failed for a passing reason makes the
statement be delivered again, and is planned anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from math import inf

from vcenter_operator.applier import metrics
from vcenter_operator.applier.core.decisions import Policy
from vcenter_operator.applier.ports import Cluster, Freeze, OnPlan
from vcenter_operator.applier.reconciling import Reconciler, Superseded
from vcenter_operator.applier.recording import Recorder
from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common.bus.port import Bus, Ownership
from vcenter_operator.common.configuration import ConfigurationSource
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import OwnershipLost, PermanentError, TransientError
from vcenter_operator.common.messages import ManifestDelta, ResyncRequest, Stage, Statement
from vcenter_operator.common.record.port import Store
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_LOOK_DELAYS = RetryDelays(first=1.0, longest=60.0)


class ApplierService:
    """The stage, a bus `Consumer`."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        configuration: ConfigurationSource,
        cluster: Cluster,
        freeze: Freeze,
        *,
        policy: Policy | None = None,
        concurrency: int = 10,
        look_every: float = 300.0,
        relist_every: float = 3600.0,
        try_refused_after: float = 600.0,
        available_for: float = 10.0,
        on_plan: OnPlan | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus = bus
        self._store = store
        self._recorder = Recorder(store)
        self._look_every = look_every
        self._freeze, self._policy, self._now = freeze, policy or Policy(), now
        self._first_looks = asyncio.Semaphore(concurrency)
        self._reconciler = Reconciler(
            bus,
            self._recorder,
            configuration,
            cluster,
            freeze,
            policy=self._policy,
            concurrency=concurrency,
            look_every=look_every,
            relist_every=relist_every,
            try_refused_after=try_refused_after,
            available_for=available_for,
            on_plan=on_plan,
            now=now,
        )
        self._cluster = cluster
        self._states: dict[str, VCenterState] = {}
        self._looking: set[str] = set()
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Works until cancelled."""
        self._cluster.listen(self._noticed)
        with metrics.shown(self._states.values, self._freeze, self._policy.budget, self._now):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._bus.serve(Stage.APPLIER, self), name="applier")
                group.create_task(self._keep_looking(group), name="applier looks")

    async def take(self, ownership: Ownership) -> None:
        """Finds what the partition's vCenters own, then asks the renderer to state all of it."""
        records = await self._store.list()
        mine = [record for record in records if self._partition(Stage.APPLIER, record.host) == ownership.partition]
        for record in mine:
            state = VCenterState(record.host, ownership, record=record, applied=record.applied)
            self._states[record.host] = state
        await asyncio.gather(*(self._first_look(self._states[record.host]) for record in mine))
        await self._bus.request(ResyncRequest(stage=Stage.RENDERER, partition=ownership.partition))

    async def release(self, ownership: Ownership) -> None:
        """Forgets the partition's vCenters."""
        for host, state in list(self._states.items()):
            if state.ownership is ownership:
                del self._states[host]
                self._cluster.forget(host)

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        """Nobody is downstream."""

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        """See the module. TransientError as long as anything is left to be done."""
        if not isinstance(statement, ManifestDelta):
            raise PermanentError(f"a {type(statement).__name__} is nothing for the applier")
        state = self._states.get(statement.host)
        if state is None or state.ownership is not ownership:
            state = self._states[statement.host] = VCenterState(statement.host, ownership)
        async with state.lock:
            try:
                if not await self._recorder.is_newest(state, statement.provenance):
                    raise Superseded
                state.accept(statement)
                await self._reconciler.reconcile(state)
            except Superseded:
                log.info("dropped: something newer was acted on", vcenter=statement.host)
        if state.noticed:
            self._due.set()

    async def _first_look(self, state: VCenterState) -> None:
        """One vCenter whose objects cannot be read does not keep the partition: its own statements fail."""
        try:
            async with self._first_looks:
                await self._reconciler.look(state, afresh=False)
        except (TransientError, PermanentError) as error:
            log.warning("objects not listed", vcenter=state.host, error=str(error))

    def _noticed(self, host: str) -> None:
        """Somebody else changed something of this vCenter's."""
        if (state := self._states.get(host)) is not None:
            state.noticed = True
            self._due.set()

    async def _keep_looking(self, group: asyncio.TaskGroup) -> None:
        """Looks where something was noticed, at all that is owned now and then, and soon where that left work."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(1.0, self._look_every / 4)):
                    await self._due.wait()
            self._due.clear()
            now = time.monotonic()
            for state in list(self._states.values()):
                # One that is being worked on must not keep the others waiting.
                if state.delta is None or state.lock.locked() or state.host in self._looking:
                    continue
                if state.noticed or now >= min(state.look_at, state.retry_at, state.due_at):
                    self._looking.add(state.host)
                    group.create_task(self._look_again(state, afresh=now >= state.look_at))

    async def _look_again(self, state: VCenterState, *, afresh: bool) -> None:
        async with state.lock:
            state.noticed, state.retry_at, state.due_at = False, inf, inf
            try:
                if not state.ownership.held:
                    return
                await self._reconciler.reconcile(state, again=True, afresh=afresh)
            except (OwnershipLost, Superseded):
                return
            except (TransientError, PermanentError) as error:
                log.info("look at what is owned", vcenter=state.host, error=str(error))
            except Exception:
                log.exception("look at what is owned failed", vcenter=state.host)
            else:
                state.failures = 0
                return
            finally:
                self._looking.discard(state.host)
                if state.noticed:
                    self._due.set()
            state.failures += 1
            again_at = time.monotonic() + min(self._look_every, _LOOK_DELAYS.after(state.failures))
            state.retry_at = min(state.retry_at, again_at)

    def _partition(self, stage: Stage, host: str) -> int:
        return self._bus.topology.partition(stage, host)
