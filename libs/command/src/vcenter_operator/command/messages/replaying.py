"""Statements handed to stages of this process, one after the other, and what the stages say and plan.

The stages are those of the operator, composed for a dry run on a bus that leads nowhere. A statement is handed to its
stage as the bus would; what the stage states is handed on to the next one, where that is run as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

from vcenter_operator.applier.core.decisions import Plan
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.command import pipeline
from vcenter_operator.command.messages.nowhere import Nowhere
from vcenter_operator.common.bus.port import Consumer, Ownership
from vcenter_operator.common.errors import PermanentError, TransientError
from vcenter_operator.common.messages import DnsChange, Stage, Statement
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.process import IN_PROCESS
from vcenter_operator.renderer.service import RendererService

_LOOK_EVERY = 0.05
NEXT = {Stage.COLLECTOR: Stage.RENDERER, Stage.RENDERER: Stage.APPLIER}
"""The stage that what a stage states is for."""


@dataclass(frozen=True)
class Replayed:
    """What a stage did with a statement."""

    stage: Stage
    statement: Statement
    said: tuple[Statement, ...]
    """What it stated."""
    plan: Plan | None
    """What the applier would do."""
    remark: str | None
    """Why it would be tried again or parked, or why the stage said nothing."""
    failed: bool = False
    """Whether the stage could not do its work."""


class Replay:
    """Stages in this process."""

    def __init__(self, platform: Platform, bus: Nowhere, within: float) -> None:
        self._platform = platform
        self._bus = bus
        self._within = within
        self._consumers: dict[Stage, Consumer] = {}
        self._owned: dict[tuple[Stage, int], Ownership] = {}
        self._plans: list[Plan] = []

    @classmethod
    @asynccontextmanager
    async def of(cls, platform: Platform, stages: Sequence[Stage], *, within: float) -> AsyncIterator[Replay]:
        """Composes the stages. `within` (seconds) bounds what one statement may take. Raises ConfigurationError."""
        bus = Nowhere(platform.bus.topology)
        self = cls(replace(platform, bus=bus), bus, within)
        async with pipeline.services(self._platform, stages, on_plan=self._planned, bus=IN_PROCESS) as services:
            self._consumers = dict(zip(stages, cast("list[Consumer]", services), strict=True))
            try:
                yield self
            finally:
                for (stage, _), ownership in self._owned.items():
                    ownership.end()
                    await self._consumers[stage].release(ownership)

    async def run(self, statements: Iterable[Statement]) -> list[Replayed]:
        """Hands over each in turn, and what follows from it. Raises TransientError: a stage cannot begin."""
        found: list[Replayed] = []
        for statement in statements:
            waiting = [statement]
            while waiting:
                handed = waiting.pop(0)
                found.append(await self._hand(handed))
                waiting += [said for said in found[-1].said if said.receiver in self._consumers]
        return found

    async def _hand(self, statement: Statement) -> Replayed:
        stage = statement.receiver
        consumer, ownership = self._consumers[stage], await self._ownership(stage, statement.host)
        self._bus.said.clear()
        self._plans.clear()
        remark, failed = None, True
        try:
            async with asyncio.timeout(self._within):
                await consumer.handle(statement, ownership)
                if isinstance(statement, DnsChange):
                    await self._collected()
            failed = False
        except TransientError as error:
            remark = f"would be tried again: {error}"
        except PermanentError as error:
            remark = f"would be parked: {error}"
        except TimeoutError:
            remark = await self._late(statement)
        said, plan = tuple(self._bus.said), self._plans[-1] if self._plans else None
        if not failed and not said and plan is None:
            remark, failed = self._why_nothing(consumer)
        return Replayed(stage, statement, said, plan, remark, failed)

    async def _ownership(self, stage: Stage, host: str) -> Ownership:
        """As if the partition were taken; what is minted meanwhile is newer than what is recorded."""
        partition = self._platform.bus.topology.partition(stage, host)
        if (stage, partition) not in self._owned:
            record = await self._platform.store.get(host)
            last = record.collected.revision.epoch if record is not None and record.collected is not None else 0
            ownership = self._owned[stage, partition] = Ownership(stage, partition, last + 1)
            await self._consumers[stage].take(ownership)
        return self._owned[stage, partition]

    async def _collected(self) -> None:
        """A collector states what it finds when it has found it."""
        while not self._bus.said:
            await asyncio.sleep(_LOOK_EVERY)

    async def _late(self, statement: Statement) -> str:
        record = await self._platform.store.get(statement.host)
        conditions = record.collected.conditions if record is not None and record.collected is not None else ()
        wrong = [f"{one.reason}: {one.message}" for one in conditions if one.status != "True"]
        return "; ".join([f"nothing came of it within {self._within:g} s", *wrong])

    def _why_nothing(self, consumer: Consumer) -> tuple[str, bool]:
        """In words, and whether it is a failure."""
        if isinstance(consumer, RendererService) and consumer.inputs.hindrance is not None:
            return f"nothing is rendered: {': '.join(consumer.inputs.hindrance)}", True
        if isinstance(consumer, RendererService):
            return "says nothing that was not said before", False
        return "would be dropped: something newer was acted on, by the record of the vCenter", False

    def _planned(self, _: str, plan: Plan, __: Outcome) -> None:
        self._plans.append(plan)
