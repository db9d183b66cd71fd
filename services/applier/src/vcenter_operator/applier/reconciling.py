"""One vCenter made to be as its delta says: looked at, planned, carried out, remembered."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from vcenter_operator.applier.acting import Acting, Result
from vcenter_operator.applier.core.conditions import conditions
from vcenter_operator.applier.core.decisions import Change, Plan, Policy, Refusal
from vcenter_operator.applier.core.describe import describe_object, summarize
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.plan import plan
from vcenter_operator.applier.core.settling import foreseen, section
from vcenter_operator.applier.ports import Cluster, Freeze, Frozen, OnPlan
from vcenter_operator.applier.recording import Acceptance, Recorder
from vcenter_operator.applier.state import LEFT, VCenterState
from vcenter_operator.common import labels
from vcenter_operator.common.bus.port import Bus
from vcenter_operator.common.configuration import ConfigurationSource
from vcenter_operator.common.errors import ConfigurationError, OwnershipLost, PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ResyncRequest, Stage
from vcenter_operator.common.sealing import Keyring
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_ROUNDS = 3
"""How often a plan is made anew at once because something changed meanwhile; then the statement is delivered again."""
_ASK_AGAIN_AFTER = 5.0
"""Seconds after which the same manifest is asked for again."""


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
        self._places = asyncio.Semaphore(concurrency)
        self._look_every = look_every
        self._try_refused_after = try_refused_after
        self._on_plan = on_plan
        self._now = now

    async def reconcile(self, state: VCenterState, *, recorded: bool = False, look: bool = False) -> None:
        """Plans and acts until there is nothing left that can be done now. Raises TransientError for the rest.

        `recorded`: the record was read just now. `look`: look afresh even where the plan from memory is empty.
        """
        done = Result()
        try:
            if look:
                await self._recorder.keep(state)
            if look or state.holdings is None:
                await self.look(state)
            intended = self._plan(state)
            if not intended.quiet:
                if not recorded and await self._newer_was_acted_on(state):
                    return
                intended = await self._act(state, intended, done)
            elif look:
                await self._narrow(state, [])
        except OwnershipLost:
            raise
        except (TransientError, PermanentError) as error:
            await self._conclude_broken(state, done, error)
            raise
        asked = await self._ask(state, intended) if done.stopped is None else ()
        outcome = _outcome(done, asked, dry_run=self._cluster.dry_run)
        if not look or outcome.changed or not intended.quiet:
            self._tell(state, intended, outcome)
        await self._conclude(state, intended, outcome, done)
        _raise_what_is_left(intended, done)

    async def _act(self, state: VCenterState, intended: Plan, done: Result) -> Plan:
        """Looks, plans and carries out, again where something changed meanwhile. Returns the plan that was last."""
        for attempt in range(_ROUNDS):
            await self._freeze.look()
            try:
                self._freeze.check()
            except Frozen as frozen:
                done.stopped = frozen
                return intended
            await self.look(state)
            intended = self._plan(state)
            if attempt and intended.quiet:
                done.undone = []
                return intended
            await self._foresee(state, intended)
            done.add(await self._carry_out(state, intended))
            if done.stopped is not None or not done.undone:
                return intended
        return intended

    async def _foresee(self, state: VCenterState, intended: Plan) -> None:
        assert state.applied is not None
        owned, budget = _owned(state), self._policy.budget
        await self._recorder.conclude(
            state, foreseen(state.applied, intended, owned=owned, budget=budget, now=self._now())
        )

    async def _carry_out(self, state: VCenterState, intended: Plan) -> Result:
        assert state.holdings is not None
        keyring = await self._keyring() if intended.creates or intended.updates else None
        acting = self._acting(state, lambda change: self._manifest(state, change, keyring))
        result = await acting.carry_out(intended, state.holdings)
        state.holdings = result.holdings
        gone = [removal.current for removal in (*result.deleted, *result.handed_over)]
        state.own([*result.created, *result.updated], gone)
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

        return Acting(self._cluster, self._places, guard, manifest_of, own_namespace=self._own_namespace)

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

    async def look(self, state: VCenterState) -> None:
        """Reads all that is owned, and what stands under the ids of the index."""
        holdings = await self._cluster.owned(state.host, state.places)
        index = state.delta.index if state.delta else {}
        missing = [object_id for object_id in index if object_id not in holdings.objects]
        found = await self._cluster.occupants(state.host, missing) if missing else {}
        ours = {object_id: one for object_id, one in found.items() if one.host == state.host}
        state.others = {object_id: one for object_id, one in found.items() if object_id not in ours}
        state.holdings = replace(holdings, objects={**holdings.objects, **ours})
        state.look_at = time.monotonic() + self._look_every * random.uniform(0.8, 1.2)  # noqa: S311

    def _plan(self, state: VCenterState) -> Plan:
        assert state.delta is not None
        return plan(state.observed, state.delta, state.memory(time.monotonic()), self._policy, self._now())

    async def _newer_was_acted_on(self, state: VCenterState) -> bool:
        assert state.delta is not None
        acceptance = await self._recorder.accept(state, state.delta.provenance, afresh=True)
        return acceptance is Acceptance.OLDER

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

    async def _conclude(self, state: VCenterState, intended: Plan, outcome: Outcome, done: Result) -> None:
        assert state.delta is not None
        assert state.applied is not None
        written = section(
            state.applied,
            state.delta,
            intended,
            outcome,
            gone=[*done.deleted, *done.handed_over],
            owned=_owned(state),
            budget=self._policy.budget,
            now=self._now(),
        )
        await self._recorder.conclude(state, written)

    async def _conclude_broken(self, state: VCenterState, done: Result, error: Exception) -> None:
        """Shows why the work broke off, and remembers what was done before. That this fails too is no news."""
        outcome = replace(_outcome(done, (), dry_run=self._cluster.dry_run), interrupted=str(error))
        with suppress(TransientError):
            if state.holdings is None:
                assert state.applied is not None
                shown = conditions(Plan(state.host), outcome)
                await self._recorder.conclude(state, state.applied.model_copy(update={"conditions": shown}))
            else:
                await self._conclude(state, self._plan(state), outcome, done)


def _owned(state: VCenterState) -> int:
    assert state.holdings is not None
    return sum(not one.terminating for one in state.holdings.objects.values())


def _outcome(done: Result, asked: tuple[ObjectId, ...], *, dry_run: bool) -> Outcome:
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
        dry_run=dry_run,
    )


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


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - 1} more" if len(items) > 1 else ""
