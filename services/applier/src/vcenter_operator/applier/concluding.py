"""What came of a plan: told to people, and stored in the record."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from vcenter_operator.applier.acting import Result
from vcenter_operator.applier.core.budget import Budget
from vcenter_operator.applier.core.decisions import Plan
from vcenter_operator.applier.core.describe import describe_object, summarize
from vcenter_operator.applier.core.outcome import Outcome, tally
from vcenter_operator.applier.core.settling import section, without_a_plan
from vcenter_operator.applier.ports import Frozen, OnPlan
from vcenter_operator.applier.recording import Recorder, acting_on
from vcenter_operator.applier.state import LEFT, VCenterState
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.record.port import Applied, RolledOut
from vcenter_operator.common.telemetry import logger

log = logger(__name__)


class Concluding:
    """`now` is the clock of the record."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        budget: Budget,
        dry_run: bool,
        on_plan: OnPlan | None,
        now: Callable[[], datetime],
    ) -> None:
        self._recorder = recorder
        self._budget = budget
        self._dry_run = dry_run
        self._on_plan = on_plan
        self._now = now

    def tell(self, state: VCenterState, intended: Plan, outcome: Outcome) -> None:
        """Logs what is new about what is left, and hands the plan to whoever listens."""
        for what, object_id, reason in state.news(intended):
            say = log.info if what == LEFT else log.warning
            say(what, vcenter=state.host, object=describe_object(object_id), reason=reason)
        log.debug("planned", vcenter=state.host, plan=summarize(intended))
        if self._on_plan is not None:
            self._on_plan(state.host, intended, outcome)

    def outcome(self, state: VCenterState, done: Result, asked: tuple[ObjectId, ...] = ()) -> Outcome:
        """What was done, for people."""
        fights, _ = state.drift.fights(time.monotonic())
        return Outcome(
            created=tuple(one.id for one in done.created),
            updated=tuple(one.id for one in done.updated),
            deleted=tuple(removal.id for removal in done.deleted),
            handed_over=tuple(removal.id for removal in done.handed_over),
            claimed=tuple(taking.id for taking in done.claimed),
            asked=asked,
            failed=tuple(done.failed),
            interrupted=str(done.stopped) if done.stopped else "changed meanwhile" if done.undone else None,
            frozen=done.stopped.reason if isinstance(done.stopped, Frozen) else None,
            fights=fights,
            paused=frozenset(state.paused),
            dry_run=self._dry_run,
        )

    async def conclude(
        self,
        state: VCenterState,
        intended: Plan,
        outcome: Outcome,
        done: Result,
        *,
        token: str | None = None,
        rollouts: dict[str, RolledOut] | None,
    ) -> None:
        """Stores what came of it, unless something newer was acted on meanwhile; `token`: what is answered by it."""
        state.tally = tally(intended, outcome)
        delta, owned, now, orders = state.delta, state.owned, self._now(), state.orders
        assert delta is not None
        assert state.holdings is not None
        fields = state.drift.name(state.holdings.objects)

        def concluded(applied: Applied | None) -> Applied | None:
            base = acting_on(state, applied)
            gone = [*done.deleted, *done.handed_over]
            if base is None:
                return None
            written = section(base, delta, intended, outcome, gone=gone, owned=owned, budget=self._budget, now=now)
            answered = {} if token is None else {"reconciled": token}
            return written.model_copy(update={"fields": fields, "rollouts": rollouts, **answered})

        await self._recorder.store(state, concluded)
        # What was read just now is not noticed any more.
        state.noticed |= state.orders != orders

    async def conclude_broken(self, state: VCenterState, intended: Plan | None, done: Result, error: Exception) -> None:
        """Shows why the work broke off, and remembers what was done before. That this fails too is no news."""
        outcome = replace(self.outcome(state, done), interrupted=str(error))
        with suppress(TransientError):
            if intended is not None:
                known = state.applied.rollouts if state.applied else None
                await self.conclude(state, intended, outcome, done, rollouts=known)
                return

            def broken(applied: Applied | None) -> Applied | None:
                base = acting_on(state, applied)
                return base and without_a_plan(base, outcome)

            await self._recorder.store(state, broken)
