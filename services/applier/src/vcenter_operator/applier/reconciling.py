"""One vCenter made to be as its delta says: looked at, planned, carried out, remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from math import inf

from vcenter_operator.applier import metrics
from vcenter_operator.applier.acting import Result
from vcenter_operator.applier.asking import Asking
from vcenter_operator.applier.carrying import Carrying
from vcenter_operator.applier.concluding import Concluding
from vcenter_operator.applier.core.approval import accepted
from vcenter_operator.applier.core.deciding import decide
from vcenter_operator.applier.core.decisions import Plan, Policy
from vcenter_operator.applier.core.describe import describe_object
from vcenter_operator.applier.core.settling import foreseen
from vcenter_operator.applier.looking import Looking
from vcenter_operator.applier.ports import Changed, Cluster, Freeze, Frozen, OnPlan
from vcenter_operator.applier.recording import Recorder, acting_on
from vcenter_operator.applier.rollingout import RollingOut
from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common import tracing
from vcenter_operator.common.bus.port import Bus
from vcenter_operator.common.configuration import ConfigurationSource
from vcenter_operator.common.errors import OwnershipLost, PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.record.port import Applied
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_ROUNDS = 3
"""How often a plan is made anew at once because something changed meanwhile; then the statement is delivered again."""


class Superseded(Exception):
    """Something newer was acted on: there is nothing to be done any more."""


class Reconciler:
    """Shared by all vCenters of a process; `concurrency` bounds how many objects are written at once."""

    def __init__(
        self,
        bus: Bus,
        recorder: Recorder,
        configuration: ConfigurationSource,
        cluster: Cluster,
        freeze: Freeze,
        *,
        policy: Policy,
        concurrency: int,
        look_every: float,
        relist_every: float,
        try_refused_after: float,
        available_for: float,
        on_plan: OnPlan | None,
        now: Callable[[], datetime],
    ) -> None:
        self._recorder = recorder
        self._cluster = cluster
        self._freeze = freeze
        self._policy = policy
        self._now = now
        self._looking = Looking(cluster, look_every=look_every, relist_every=relist_every)
        self._asking = Asking(bus)
        self._carrying = Carrying(
            configuration,
            cluster,
            freeze,
            concurrency=concurrency,
            try_refused_after=try_refused_after,
        )
        self._rolling_out = RollingOut(cluster, self._carrying, available_for=available_for)
        self._concluding = Concluding(recorder, budget=policy.budget, dry_run=cluster.dry_run, on_plan=on_plan, now=now)

    async def reconcile(self, state: VCenterState, *, again: bool = False, afresh: bool = False) -> None:
        """Plans and acts until there is nothing left that can be done now. Raises TransientError for the rest.

        `again`: no new statement came; nothing is told then unless something is to be done. `afresh`: look at
        everything, also where it is known. Raises Superseded.
        """
        done = Result()
        try:
            if again:
                await self._recorder.keep(state)
            token = state.to_answer
            if newly_asked := token is not None and token != state.heeded:
                state.refused = {}
            # What was noticed may not be known: one of the watches may be interrupted.
            known = self._looking.know(state)
            anew = afresh or newly_asked
            if anew or (not known and (again or state.holdings is None)):
                await self.look(state, afresh=anew)
            state.heeded = token
            with tracing.step("plan") as planning:
                intended = await self._heeded(state, self._plan(state))
                planning.set(**_counts(intended))
            if not intended.quiet:
                with tracing.step("apply"):
                    intended = await self._act(state, intended, done)
            elif again:
                await self._carrying.narrow(state, [])
        except OwnershipLost:
            raise
        except (TransientError, PermanentError) as error:
            planned = self._plan(state) if state.holdings is not None else None
            await self._concluding.conclude_broken(state, planned, done, error)
            raise
        cause = None if again or state.delta is None else state.delta.trace
        asked = await self._asking.ask(state, intended, cause) if done.stopped is None else ()
        outcome = self._concluding.outcome(state, done, asked)
        proceeded = await self._rolling_out.proceed(state, intended, outcome)
        if not again or outcome.changed or not intended.quiet:
            self._concluding.tell(state, intended, outcome)
        if not (again and asked):  # what was edited or deleted is put right in a moment, without a word in the record
            answered = token if _all_done(intended, done) else None
            with tracing.step("conclude"):
                await self._concluding.conclude(
                    state, intended, outcome, done, token=answered, rollouts=proceeded.notes
                )
        state.due_at = min(self._due_at(intended), proceeded.look_at)
        state.unfinished |= bool(outcome.changed and not again and not outcome.dry_run)
        _raise_what_is_left(intended, done, proceeded.unanswered)
        _all_is_done(state)

    async def look(self, state: VCenterState, *, afresh: bool = True) -> None:
        """See `Looking.look`."""
        await self._looking.look(state, afresh=afresh)

    async def _heeded(self, state: VCenterState, intended: Plan) -> Plan:
        """Stores what a person released, before any of it goes, and plans by it. Raises Superseded."""
        if state.applied is None or accepted(state.applied, intended, state.orders) is None:
            return intended

        def released(applied: Applied | None) -> Applied | None:
            base = acting_on(state, applied)
            return base and (accepted(base, intended, state.orders) or base)

        if not await self._recorder.store(state, released):
            raise Superseded
        log.warning("released", vcenter=state.host, plan=intended.held_plan, objects=len(intended.held))
        return self._plan(state)

    def _due_at(self, intended: Plan) -> float:
        """When (monotonic) time alone changes the plan."""
        if intended.retained_until is None:
            return inf
        return time.monotonic() + max(0.0, (intended.retained_until - self._now()).total_seconds())

    async def _act(self, state: VCenterState, intended: Plan, done: Result) -> Plan:
        """Carries out what is planned, again where something changed meanwhile. Returns the plan that was last.

        What is known without asking is good enough to begin with: what it was wrong about shows as changed.
        """
        for attempt in range(_ROUNDS):
            if attempt or not self._looking.know(state):
                await self.look(state, afresh=bool(attempt))
                intended = self._plan(state)
                if attempt and intended.quiet:
                    done.undone = []
                    return intended
            try:
                with tracing.step("prepare"):
                    await self._prepare(state, intended)
            except Frozen as frozen:
                done.stopped = frozen
                return intended
            except Changed:
                done.undone = _touched(intended)
                continue
            done.add(await self._carrying.carry_out(state, intended))
            if done.stopped is not None or not done.undone:
                return intended
        return intended

    async def _prepare(self, state: VCenterState, intended: Plan) -> None:
        """What has to be so before anything is written: the record says what is acted on, and nothing is frozen.

        Raises Superseded, Frozen, Changed: the record is not what was planned by, and TransientError.
        """
        assert state.delta is not None
        planned_by, orders, gone_since = acting_on(state, state.applied), state.orders, state.gone_since

        def acting(applied: Applied | None) -> Applied | None:
            base = acting_on(state, applied)
            if base is not None and base != planned_by:
                raise Changed(f"the record of {state.host} changed since it was planned")
            return base and foreseen(base, intended, owned=state.owned, budget=self._policy.budget, now=self._now())

        stored, looked = await asyncio.gather(
            self._recorder.store(state, acting, afresh=True), self._freeze.look(), return_exceptions=True
        )
        for failed in (stored, looked):
            if isinstance(failed, BaseException):
                raise failed
        if not stored:
            raise Superseded
        if state.orders != orders:
            raise Changed(f"something was said about {state.host} since it was planned")
        if state.gone_since != gone_since:
            raise Changed(f"DNS says something else of {state.host} since it was planned")
        self._freeze.check()

    def _plan(self, state: VCenterState) -> Plan:
        assert state.delta is not None
        assert state.holdings is not None
        now, owned = time.monotonic(), state.holdings.objects
        made = decide(state.observed(now), state.delta, state.memory(now), self._policy, state.orders, self._now())
        updates = (replace(one, current=owned[one.id]) if one.id in state.edited else one for one in made.updates)
        return replace(made, updates=tuple(updates))


def _raise_what_is_left(intended: Plan, done: Result, unanswered: TransientError | None) -> None:
    """Raises what stopped the work, or TransientError for what has to be tried or asked again."""
    if done.stopped is not None:
        raise done.stopped
    if failing := [failure for failure in done.failed if not failure.permanent]:
        raise TransientError(f"{describe_object(failing[0].id)}{_more(failing)}: {failing[0].error}")
    for items, what in (
        (done.undone, "changed meanwhile"),
        ([left.id for left in intended.lacking], "manifest asked for"),
        ([left.id for left in intended.waiting], "is being deleted"),
        ([left.id for left in intended.contested], "waits for the vCenter that it belongs to"),
    ):
        if items:
            raise TransientError(f"{describe_object(items[0])}{_more(items)}: {what}")
    if unanswered is not None:
        raise unanswered


def _all_done(intended: Plan, done: Result) -> bool:
    """Whether the plan was carried out, but for what is refused or waits for others."""
    failing = any(not failure.permanent for failure in done.failed)
    return not (done.stopped or done.undone or failing or intended.lacking)


def _all_is_done(state: VCenterState) -> None:
    """Tells how long it took, where anything was to be done."""
    if state.unfinished and state.delta is not None:
        state.unfinished = False
        metrics.effected(state.delta.trace)


def _counts(intended: Plan) -> dict[str, int]:
    """For traces."""
    names = ("creates", "updates", "deletes", "handovers", "claims", "held", "conflicts", "unknown")
    return {name: len(getattr(intended, name)) for name in names}


def _touched(intended: Plan) -> list[ObjectId]:
    changes = (intended.creates, intended.updates, intended.deletes, intended.handovers, intended.claims)
    return [item.id for items in changes for item in items]


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - 1} more" if len(items) > 1 else ""
