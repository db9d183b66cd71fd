"""One vCenter made to be as its delta says: looked at, planned, carried out, remembered."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from math import inf
from typing import Any

from vcenter_operator.applier.acting import Acting, Result
from vcenter_operator.applier.core.approval import accepted
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.deciding import decide
from vcenter_operator.applier.core.decisions import Change, Plan, Policy, Refusal
from vcenter_operator.applier.core.describe import describe_object, summarize
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.settling import foreseen, section
from vcenter_operator.applier.places import Places
from vcenter_operator.applier.ports import Changed, Cluster, Freeze, Frozen, OnPlan
from vcenter_operator.applier.recording import Recorder
from vcenter_operator.applier.state import LEFT, VCenterState
from vcenter_operator.common import labels
from vcenter_operator.common.bus.port import Bus
from vcenter_operator.common.configuration import ConfigurationSource
from vcenter_operator.common.errors import ConfigurationError, OwnershipLost, PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ResyncRequest, Stage
from vcenter_operator.common.record.port import Applied
from vcenter_operator.common.sealing import Keyring
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_ROUNDS = 3
"""How often a plan is made anew at once because something changed meanwhile; then the statement is delivered again."""
_ASK_AGAIN_AFTER = 5.0
"""Seconds after which the same manifest is asked for again."""


class Superseded(Exception):
    """Something newer was acted on: there is nothing to be done any more."""


class Reconciler:
    """Shared by all vCenters of a process; `places` bounds how many objects are written at once."""

    def __init__(
        self,
        bus: Bus,
        recorder: Recorder,
        configuration: ConfigurationSource,
        cluster: Cluster,
        freeze: Freeze,
        *,
        own_namespace: str,
        policy: Policy,
        concurrency: int,
        look_every: float,
        relist_every: float,
        try_refused_after: float,
        on_plan: OnPlan | None,
        now: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._recorder = recorder
        self._configuration = configuration
        self._cluster = cluster
        self._freeze = freeze
        self._own_namespace = own_namespace
        self._policy = policy
        self._places = Places(concurrency)
        self._look_every = look_every
        self._relist_every = relist_every
        self._try_refused_after = try_refused_after
        self._on_plan = on_plan
        self._now = now

    async def reconcile(self, state: VCenterState, *, again: bool = False, afresh: bool = False) -> None:
        """Plans and acts until there is nothing left that can be done now. Raises TransientError for the rest.

        `again`: no new statement came; nothing is told then unless something is to be done. `afresh`: look at
        everything, also where it is known. Raises Superseded.
        """
        done = Result()
        try:
            if again:
                await self._recorder.keep(state)
            if (token := state.to_answer) is not None:
                state.refused, afresh = {}, True
            # What was noticed may not be known: one of the watches may be interrupted.
            if afresh or (not self._know(state) and (again or state.holdings is None)):
                await self.look(state)
            intended = await self._heeded(state, self._plan(state))
            if not intended.quiet:
                intended = await self._act(state, intended, done)
            elif again:
                await self._narrow(state, [])
        except OwnershipLost:
            raise
        except (TransientError, PermanentError) as error:
            await self._conclude_broken(state, done, error)
            raise
        asked = await self._ask(state, intended) if done.stopped is None else ()
        outcome = self._outcome(state, done, asked)
        if not again or outcome.changed or not intended.quiet:
            self._tell(state, intended, outcome)
        if not (again and asked):  # what was edited or deleted is put right in a moment, without a word in the record
            await self._conclude(state, intended, outcome, done, token=token if _all_done(intended, done) else None)
        state.due_at = self._due_at(intended)
        _raise_what_is_left(intended, done)

    async def _heeded(self, state: VCenterState, intended: Plan) -> Plan:
        """Stores what a person released, before any of it goes, and plans by it. Raises Superseded."""
        if state.applied is None or accepted(state.applied, intended, state.orders) is None:
            return intended

        def released(applied: Applied | None) -> Applied | None:
            base = self._acting_on(state, applied)
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
            if attempt or not self._know(state):
                await self.look(state)
                intended = self._plan(state)
                if attempt and intended.quiet:
                    done.undone = []
                    return intended
            try:
                await self._prepare(state, intended)
            except Frozen as frozen:
                done.stopped = frozen
                return intended
            except Changed:
                done.undone = _touched(intended)
                continue
            done.add(await self._carry_out(state, intended))
            if done.stopped is not None or not done.undone:
                return intended
        return intended

    async def _prepare(self, state: VCenterState, intended: Plan) -> None:
        """What has to be so before anything is written: the record says what is acted on, and nothing is frozen.

        Raises Superseded, Frozen, Changed: the record is not what was planned by, and TransientError.
        """
        assert state.delta is not None
        planned_by, orders = self._acting_on(state, state.applied), state.orders

        def acting(applied: Applied | None) -> Applied | None:
            base = self._acting_on(state, applied)
            if base is not None and base != planned_by:
                raise Changed(f"the record of {state.host} changed since it was planned")
            return base and foreseen(base, intended, owned=_owned(state), budget=self._policy.budget, now=self._now())

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
        self._freeze.check()

    def _acting_on(self, state: VCenterState, applied: Applied | None) -> Applied | None:
        """The section with the delta as what is acted on; None: something newer is."""
        assert state.delta is not None
        provenance = state.delta.provenance
        if applied is None:
            return Applied(acted_on=provenance)
        if provenance.older_than(applied.acted_on):
            return None
        return applied.model_copy(update={"acted_on": provenance})

    def _know(self, state: VCenterState) -> bool:
        """Takes over what is known without asking; False: it has to be looked at."""
        index = state.delta.index if state.delta else {}
        known = self._cluster.known(state.host, state.places, index)
        if known is None:
            return False
        objects = known.holdings.objects
        strangers = {one: seen for one, seen in state.strangers.items() if one in index and one not in objects}
        state.others = {**strangers, **known.others}
        state.hold(known.holdings)
        return True

    async def _carry_out(self, state: VCenterState, intended: Plan) -> Result:
        assert state.holdings is not None
        keyring = await self._keyring() if intended.creates or intended.updates else None
        acting = self._acting(state, lambda change: self._manifest(state, change, keyring))
        async with self._freeze.attended():
            result = await acting.carry_out(intended, state.holdings)
        state.holdings = result.holdings
        gone = [removal.current for removal in (*result.deleted, *result.handed_over)]
        state.own([*result.created, *result.updated], gone)
        self._remember_fields(state, [*result.created, *result.updated])
        self._remember_refusals(state, intended, result)
        if result.stopped is None:
            going_on = [failure.id for failure in result.failed] + result.undone
            await self._narrow(state, going_on + [left.id for left in intended.contested])
        return result

    async def _keyring(self) -> Keyring:
        try:
            return (await self._configuration.current()).keyring
        except ConfigurationError as error:
            raise TransientError(f"manifests cannot be opened until the Secret is mended: {error}") from None

    def _acting(self, state: VCenterState, manifest_of: Callable[[Change], dict[str, Any]]) -> Acting:
        def guard() -> None:
            state.ownership.verify()
            self._freeze.check()

        return Acting(
            self._cluster, lambda: self._places.taken(state.host), guard, manifest_of, own_namespace=self._own_namespace
        )

    async def _narrow(self, state: VCenterState, kept: list[ObjectId]) -> None:
        """A parent that names too much costs a list or two, no more: that this fails does not make the work fail."""
        assert state.holdings is not None
        try:
            acting = self._acting(state, lambda change: self._manifest(state, change, None))
            state.holdings = await acting.narrow(state.host, state.holdings, kept)
        except (TransientError, PermanentError) as error:
            log.info("ApplySet not narrowed", vcenter=state.host, error=str(error))

    def _manifest(self, state: VCenterState, change: Change, keyring: Keyring | None) -> dict[str, Any]:
        """The manifest of a change with the annotations that the applier adds. Raises PermanentError."""
        assert state.delta is not None
        assert keyring is not None
        digest, sealed = state.bodies[change.id]
        manifest = keyring.open(state.host, change.id, digest, sealed)
        metadata = {**manifest["metadata"]}
        metadata["annotations"] = {
            **metadata.get("annotations", {}),
            labels.DIGEST: digest,
            labels.REVISION: str(state.delta.provenance.inventory),
        }
        return {**manifest, "metadata": metadata}

    async def look(self, state: VCenterState, *, afresh: bool = True) -> None:
        """Reads all that is owned, and what stands under the ids of the index."""
        holdings = await self._cluster.owned(state.host, state.places, afresh=afresh)
        index = state.delta.index if state.delta else {}
        missing = [object_id for object_id in index if object_id not in holdings.objects]
        found = await self._cluster.occupants(state.host, missing) if missing else {}
        ours = {object_id: one for object_id, one in found.items() if one.host == state.host}
        state.others = {object_id: one for object_id, one in found.items() if object_id not in ours}
        state.strangers = state.others
        state.hold(replace(holdings, objects={**holdings.objects, **ours}))
        index = state.delta.index if state.delta else {}
        told = not state.strangers and self._cluster.known(state.host, state.places, index) is not None
        every = self._relist_every if told else self._look_every
        state.look_at = time.monotonic() + every * random.uniform(0.8, 1.2)  # noqa: S311

    def _plan(self, state: VCenterState) -> Plan:
        assert state.delta is not None
        assert state.holdings is not None
        now, owned = time.monotonic(), state.holdings.objects
        made = decide(state.observed(now), state.delta, state.memory(now), self._policy, state.orders, self._now())
        updates = (replace(one, current=owned[one.id]) if one.id in state.edited else one for one in made.updates)
        return replace(made, updates=tuple(updates))

    def _remember_fields(self, state: VCenterState, written: Sequence[Observed]) -> None:
        now = time.monotonic()
        for one in written:
            times = state.drift.wrote(one, edited=one.id in state.edited, now=now)
            if times:
                log.warning("undone by others: put right", object=describe_object(one.id), in_a_row=times)

    def _remember_refusals(self, state: VCenterState, intended: Plan, result: Result) -> None:
        digests = {change.id: change.digest for change in (*intended.creates, *intended.updates)}
        until = time.monotonic() + self._try_refused_after
        for failure in result.failed:
            if failure.permanent and failure.id in digests:
                state.refused[failure.id] = Refusal(digests[failure.id], failure.error), until

    async def _ask(self, state: VCenterState, intended: Plan) -> tuple[ObjectId, ...]:
        """Asks the renderer for the manifests that are lacking, unless that was done a moment ago."""
        assert state.delta is not None
        now = time.monotonic()
        digests = {left.id: state.delta.index[left.id].digest for left in intended.lacking}
        recently = {
            object_id: (digest, at)
            for object_id, (digest, at) in state.asked.items()
            if digests.get(object_id) == digest and now - at < _ASK_AGAIN_AFTER
        }
        wanted = tuple(sorted(digests.keys() - recently.keys()))
        state.asked = recently
        if not wanted:
            return ()
        partition = self._bus.topology.partition(Stage.RENDERER, state.host)
        try:
            await self._bus.request(
                ResyncRequest(stage=Stage.RENDERER, partition=partition, host=state.host, objects=wanted)
            )
        except TransientError as error:
            log.warning("manifests not asked for", vcenter=state.host, error=str(error))
            return ()
        state.asked |= {object_id: (digests[object_id], now) for object_id in wanted}
        return wanted

    def _tell(self, state: VCenterState, intended: Plan, outcome: Outcome) -> None:
        for what, object_id, reason in state.news(intended):
            say = log.info if what == LEFT else log.warning
            say(what, vcenter=state.host, object=describe_object(object_id), reason=reason)
        log.debug("planned", vcenter=state.host, plan=summarize(intended))
        if self._on_plan is not None:
            self._on_plan(state.host, intended, outcome)

    def _outcome(self, state: VCenterState, done: Result, asked: tuple[ObjectId, ...] = ()) -> Outcome:
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
            dry_run=self._cluster.dry_run,
        )

    async def _conclude(
        self, state: VCenterState, intended: Plan, outcome: Outcome, done: Result, *, token: str | None = None
    ) -> None:
        """Stores what came of it, unless something newer was acted on meanwhile; `token`: what is answered by it."""
        delta, owned, now, orders = state.delta, _owned(state), self._now(), state.orders
        assert delta is not None
        assert state.holdings is not None
        fields = state.drift.name(state.holdings.objects)

        def concluded(applied: Applied | None) -> Applied | None:
            base = self._acting_on(state, applied)
            gone = [*done.deleted, *done.handed_over]
            if base is None:
                return None
            written = section(
                base, delta, intended, outcome, gone=gone, owned=owned, budget=self._policy.budget, now=now
            )
            answered = {} if token is None else {"reconciled": token}
            return written.model_copy(update={"fields": fields, **answered})

        await self._recorder.store(state, concluded)
        # What was read just now is not noticed any more.
        state.noticed |= state.orders != orders

    async def _conclude_broken(self, state: VCenterState, done: Result, error: Exception) -> None:
        """Shows why the work broke off, and remembers what was done before. That this fails too is no news."""
        outcome = replace(self._outcome(state, done), interrupted=str(error))
        with suppress(TransientError):
            if state.holdings is not None:
                await self._conclude(state, self._plan(state), outcome, done)
                return
            shown = conditions(Plan(state.host), outcome)
            await self._recorder.store(
                state,
                lambda applied: (
                    (base := self._acting_on(state, applied)) and base.model_copy(update={"conditions": shown})
                ),
            )


def _owned(state: VCenterState) -> int:
    assert state.holdings is not None
    return sum(not one.terminating for one in state.holdings.objects.values())


def _raise_what_is_left(intended: Plan, done: Result) -> None:
    """Raises what stopped the work, or TransientError for what has to be tried again."""
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


def _all_done(intended: Plan, done: Result) -> bool:
    """Whether the plan was carried out, but for what is refused or waits for others."""
    failing = any(not failure.permanent for failure in done.failed)
    return not (done.stopped or done.undone or failing or intended.lacking)


def _touched(intended: Plan) -> list[ObjectId]:
    changes = (intended.creates, intended.updates, intended.deletes, intended.handovers, intended.claims)
    return [item.id for items in changes for item in items]


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - 1} more" if len(items) > 1 else ""
