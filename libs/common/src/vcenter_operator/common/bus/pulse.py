"""Whether messages flow: an owned partition that is idle is told from one whose consumer is dead.

Where nothing arrived for a while the owner sends a probe to itself, through the queue and the consumer that statements
come through. A probe that the bus took and that does not arrive shows a consumer which receives nothing any more,
though connection and channel are open (ended by the broker without a word, say). A broker that is away takes no probe:
that says nothing about this process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from vcenter_operator.common.errors import BusUnavailable
from vcenter_operator.common.messages import Stage

PROBE_EVERY = 15.0
"""Seconds without an arrival after which a probe is sent."""
_PATIENCE = 2
"""A probe has so many times as long to arrive."""


class Pulse:
    """Of one owned partition."""

    def __init__(self, stage: Stage, partition: int, every: float) -> None:
        self._stage = stage
        self._partition = partition
        self._every = every
        self._arrived_at = time.monotonic()
        self._unanswered_since: float | None = None

    def arrived(self) -> None:
        """Something came through."""
        self._arrived_at = time.monotonic()
        self._unanswered_since = None

    async def beat(self, probe: Callable[[], Awaitable[None]]) -> None:
        """Sends probes until cancelled, one at a time, each after an idle while."""
        while True:
            idle = time.monotonic() - self._arrived_at
            if idle < self._every or self._unanswered_since is not None:
                await asyncio.sleep(max(self._every - idle, self._every / 10))
                continue
            sent = time.monotonic()
            try:
                await probe()
            except BusUnavailable:
                await asyncio.sleep(self._every)
            else:
                if self._arrived_at < sent:
                    self._unanswered_since = sent

    @property
    def stopped(self) -> str | None:
        """What is wrong, for people; None: nothing is known to be."""
        if self._unanswered_since is None:
            return None
        silent = time.monotonic() - self._unanswered_since
        if silent < _PATIENCE * self._every:
            return None
        return f"messages do not flow in partition {self._partition} of {self._stage}: a probe is {silent:.0f} s old"


class Pulses:
    """Of all partitions that a replica owns."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._all: set[Pulse] = set()

    @contextmanager
    def of(self, stage: Stage, partition: int) -> Iterator[Pulse]:
        """The pulse of a partition that is consumed inside the `with` block."""
        pulse = Pulse(stage, partition, self._every)
        self._all.add(pulse)
        try:
            yield pulse
        finally:
            self._all.discard(pulse)

    def stopped(self) -> list[str]:
        """What is wrong, for people; empty: nothing is known to be."""
        return sorted(what for pulse in self._all if (what := pulse.stopped) is not None)
