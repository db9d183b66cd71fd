"""Templates that are rolled out step by step: what waits is shown to the server, the canary's Deployments are read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf

from vcenter_operator.applier.carrying import Carrying
from vcenter_operator.applier.core.decisions import Plan
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.rollouts import availability, deployments_of, noted, to_check, together
from vcenter_operator.applier.ports import Cluster
from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common.errors import PermanentError, TransientError
from vcenter_operator.common.messages import Step
from vcenter_operator.common.record.port import OK, RolledOut
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_READ_EVERY = 2.0
"""Seconds between two looks at the Deployments of a canary."""


@dataclass(frozen=True)
class Proceeded:
    """How far the rollouts of one vCenter have come."""

    notes: dict[str, RolledOut] | None = None
    """`Applied.rollouts`."""
    unanswered: TransientError | None = None
    """Why not all was checked; the rest is tried again."""
    look_at: float = inf
    """When (monotonic) it is looked at again."""


class RollingOut:
    """`available_for`: seconds that a canary's Deployments have to be available."""

    def __init__(self, cluster: Cluster, carrying: Carrying, *, available_for: float) -> None:
        self._cluster = cluster
        self._carrying = carrying
        self._available_for = available_for

    async def proceed(self, state: VCenterState, intended: Plan, outcome: Outcome) -> Proceeded:
        """What can be said after a plan was carried out, as far as it was."""
        delta = state.delta
        assert delta is not None
        if not delta.rollouts:
            state.checked, state.available_since = {}, {}
            return Proceeded()
        unanswered = await self._check(state, intended)
        before = state.applied.rollouts if state.applied else None
        available: dict[str, str | None] = {}
        look_at = inf
        for template, rollout in delta.rollouts.items():
            if rollout.step is not Step.CANARY:
                state.available_since.pop(template, None)
                continue
            known = (before or {}).get(template)
            if known is not None and (known.version, known.applied) == (rollout.version, OK):
                available[template] = OK
                continue
            available[template] = await self._available(state, template, rollout.version)
            if available[template] != OK:
                look_at = time.monotonic() + _READ_EVERY
        notes = noted(before, delta, intended, outcome, state.checked, available)
        return Proceeded(notes, unanswered, look_at)

    async def _check(self, state: VCenterState, intended: Plan) -> TransientError | None:
        """Each manifest is shown to the server once."""
        changes = to_check(intended)
        wanted = {change.id: change.digest for change in changes}
        state.checked = {one: said for one, said in state.checked.items() if wanted.get(one) == said[0]}
        if not (new := [change for change in changes if change.id not in state.checked]):
            return None
        try:
            said, failed = await self._carrying.check(state, new)
        except TransientError as error:
            return error
        state.checked |= {one: (wanted[one], answer) for one, answer in said.items()}
        return failed

    async def _available(self, state: VCenterState, template: str, version: int) -> str | None:
        """Available at two looks so far apart: what starts and falls over is not."""
        assert state.delta is not None
        wanted = deployments_of(state.delta, template)
        try:
            found = await self._cluster.deployments(state.host, {one.namespace for one in wanted}) if wanted else {}
        except (TransientError, PermanentError) as error:
            log.info("Deployments cannot be read", vcenter=state.host, error=str(error))
            return None
        said = together({one: availability(found.get(one)) for one in wanted})
        if said != OK or not wanted:
            state.available_since.pop(template, None)
            return said
        now = time.monotonic()
        of, since = state.available_since.setdefault(template, (version, now))
        if of != version:
            state.available_since[template] = version, now
            return None
        return OK if now - since >= self._available_for else None
