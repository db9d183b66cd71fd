"""Who works on which partition: the arithmetic of fair shares, and the life of one partition with its owner.

Shared by both adapters. Every replica takes free partitions up to its share, ceil(P / members), and gives up what
exceeds it. A replica that fails to take one steps back: it is no member for a while, so that others take its share.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import structlog

from vcenter_operator.common import metrics
from vcenter_operator.common.bus.dispatch import Dispatcher
from vcenter_operator.common.bus.port import Consumer, Ownership
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_STEP_BACK = (0.5, 30.0)
"""Seconds: after a first failure, and at most."""
_SETTLED = 60.0
"""Seconds after which a failure has nothing to do with the one before."""
_UNSETTLED = 5.0
"""Seconds after a change of members in which every free partition is looked for at once."""


class Seat(Protocol):
    """What sharing needs of an adapter, for one stage on one replica."""

    async def join(self) -> None:
        """Counts as a member from now on."""
        ...

    async def leave(self) -> None:
        """Counts no more."""
        ...

    async def acquire(self, partition: int) -> bool:
        """Takes the lock, if it is free."""
        ...

    async def work(self, partition: int) -> None:
        """Works on a partition that was acquired, until cancelled; an error where that cannot go on."""
        ...

    async def release(self, partition: int) -> None:
        """Frees the lock."""
        ...


def fair_share(partitions: int, members: int) -> int:
    """How many partitions a replica holds at most."""
    return math.ceil(partitions / max(1, members))


class Sharing:
    """The partitions of one stage that one replica holds; `balance` is called about every second."""

    def __init__(self, stage: Stage, partitions: int, seat: Seat) -> None:
        self._stage = stage
        self._partitions = partitions
        self._seat = seat
        self._held: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[int] = set()
        self._joined = False
        self._stopped = asyncio.Event()
        self._members = 0
        self._changed_at = time.monotonic()
        self._next = random.randrange(partitions)  # noqa: S311 - spreads replicas, no secret
        self._failures = 0
        self._failed_at = -math.inf
        self._away_until = -math.inf

    async def balance(self, members: int) -> bool:
        """One round, with the number of members as it is now. True: count again at once, it is about to change."""
        if self._stopped.is_set():
            return False
        self._reap()
        if time.monotonic() < self._away_until:
            await self._step_back()
            return False
        if not self._joined:
            await self._seat.join()
            self._joined = True
            self._changed_at = time.monotonic()
            return True
        if members != self._members:
            self._members = members
            self._changed_at = time.monotonic()
        share = fair_share(self._partitions, members)
        self._give_up(share)
        for partition in self._candidates(share):
            if len(self._held) >= share:
                break
            if await self._seat.acquire(partition):
                if self._stopped.is_set():
                    await self._seat.release(partition)
                    break
                self._held[partition] = asyncio.create_task(
                    self._hold(partition), name=f"{self._stage} partition {partition}"
                )
        return False

    async def stop(self) -> None:
        """Gives everything up, finishing what is under way within the grace time."""
        self._stopped.set()
        if self._joined:
            self._joined = False
            with suppress(TransientError):
                await self._seat.leave()
        for task in self._held.values():
            task.cancel()
        await asyncio.gather(*self._held.values(), return_exceptions=True)

    def _give_up(self, share: int) -> None:
        staying = sorted(self._held.keys() - self._leaving)
        for partition in staying[share:]:
            self._leaving.add(partition)
            self._held[partition].cancel()

    def _candidates(self, share: int) -> Iterable[int]:
        """All that are not held while something changes or the share is far from full, else one in turn."""
        others = [
            (self._next + offset) % self._partitions
            for offset in range(self._partitions)
            if (self._next + offset) % self._partitions not in self._held
        ]
        self._next = (self._next + 1) % self._partitions
        unsettled = time.monotonic() - self._changed_at < _UNSETTLED or len(self._held) < share - 1
        return others if unsettled else others[:1]

    async def _hold(self, partition: int) -> None:
        try:
            with structlog.contextvars.bound_contextvars(stage=str(self._stage), partition=partition):
                await self._seat.work(partition)
        finally:
            await self._seat.release(partition)

    def _reap(self) -> None:
        for partition, task in list(self._held.items()):
            if not task.done():
                continue
            del self._held[partition]
            self._leaving.discard(partition)
            self._changed_at = time.monotonic()
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failed(partition, error)

    def _failed(self, partition: int, error: BaseException) -> None:
        now = time.monotonic()
        if now >= self._away_until:  # several at once have one cause
            self._failures = 1 if now - self._failed_at > _SETTLED else self._failures + 1
            self._failed_at = now
            first, longest = _STEP_BACK
            pause = min(longest, first * 2.0 ** min(self._failures - 1, 16))
            self._away_until = now + pause * random.uniform(0.75, 1.0)  # noqa: S311 - jitter, no secret
        log.warning(
            "partition given up after an error",
            stage=str(self._stage),
            partition=partition,
            error=str(error),
            pause=round(self._away_until - now, 2),
            exc_info=None if isinstance(error, TransientError) else error,
        )

    async def _step_back(self) -> None:
        if self._joined:
            self._joined = False
            await self._seat.leave()


@asynccontextmanager
async def tenure(
    ownership: Ownership, consumer: Consumer, delays: RetryDelays, *, grace: float, capacity: int = 50
) -> AsyncIterator[Dispatcher]:
    """One partition with its owner: `take`, the dispatcher to feed, `release`.

    At the end what is under way has `grace` seconds to finish, unless the ownership was lost.
    """
    dispatcher = Dispatcher(consumer, ownership, delays, capacity)
    with metrics.owned(ownership.stage, lambda: dispatcher.unanswered, lambda: len(dispatcher.retrying)):
        try:
            await consumer.take(ownership)
            log.info("partition taken", epoch=ownership.epoch)
            metrics.PARTITIONS_TAKEN.labels(ownership.stage).inc()
            yield dispatcher
        finally:
            if not ownership.held:
                metrics.PARTITIONS_LOST.labels(ownership.stage).inc()
            try:
                await dispatcher.close(grace if ownership.held else 0.0)
            finally:
                try:
                    await _release(consumer, ownership, grace)  # nobody else has it before: what ends may say so
                finally:
                    ownership.end()


async def _release(consumer: Consumer, ownership: Ownership, grace: float) -> None:
    try:
        async with asyncio.timeout(grace):
            await consumer.release(ownership)
    except Exception as error:
        log.error("release failed", epoch=ownership.epoch, error=str(error), exc_info=error)
    else:
        log.info("partition released", epoch=ownership.epoch)
