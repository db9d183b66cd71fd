"""Parked statements that are needed no more are taken away by the replica that knows of something newer.

The queue is looked through when the number of parked messages is another than it was, and when one that was seen there
is superseded by now. So idle stages only ask for the number, and what was parked before a restart is known after it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from vcenter_operator.common.bus.dispatch import Age, Dispatcher
from vcenter_operator.common.bus.port import Parked
from vcenter_operator.common.bus.rabbitmq.connection import Link
from vcenter_operator.common.bus.rabbitmq.parking import count_parked, taking
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.errors import BusUnavailable, MalformedMessage
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.wire import statement_for

log = logger(__name__)

_LOOK_EVERY = 1800.0
"""Seconds after which they are looked through anyway: one may have come for one that went."""
_REST = 20
"""So many times as long as it took to look through the queue it is left alone afterwards."""


class Clearing:
    """Of one stage, by one replica: over the connection that it owns its partitions by, and ends with."""

    def __init__(self, link: Link, names: Names, stage: Stage, every: float) -> None:
        self._link = link
        self._names = names
        self._stage = stage
        self._every = every
        self._count = 0
        """How many were parked when they were looked through."""
        self._seen: list[tuple[str, Age]] = []
        """What they were about."""
        self._look_at = 0.0
        """When (monotonic) they are looked through though the number is the same."""

    async def run(self, dispatchers: Mapping[int, Dispatcher]) -> None:
        """Until cancelled. `dispatchers`: of the partitions that are owned at the time."""
        pause = self._every
        while True:
            await asyncio.sleep(pause)
            began = time.monotonic()
            try:
                await self._clear(dispatchers)
            except BusUnavailable as error:
                if self._link.lost.is_set() or _is_cancelled():
                    raise  # what failed on the way out is no reason to stay
                log.info("parked messages not looked through", stage=str(self._stage), error=str(error))
            pause = max(self._every, _REST * (time.monotonic() - began))

    async def _clear(self, dispatchers: Mapping[int, Dispatcher]) -> None:
        def superseded(host: str, age: Age) -> bool:
            return any(dispatcher.supersedes(host, age) for dispatcher in dispatchers.values())

        count = await count_parked(self._link, self._names, self._stage)
        known = count == self._count and time.monotonic() < self._look_at
        if not count or (known and not any(superseded(*each) for each in self._seen)):
            return
        seen: list[tuple[str, Age]] = []

        def chosen(parked: Parked) -> bool:
            try:
                statement = statement_for(self._stage, parked.body)
            except MalformedMessage:
                return False  # nobody can tell what is newer
            if superseded(statement.host, statement.age):
                return True
            seen.append((statement.host, statement.age))
            return False

        async with taking(self._link, self._names, self._stage, chosen) as taken:
            for message in taken:
                log.info("superseded, no longer parked", vcenter=message.headers.get("key"), id=message.message_id)
        self._count, self._seen = count - len(taken), seen
        self._look_at = time.monotonic() + _LOOK_EVERY


def _is_cancelled() -> bool:
    """Whether this task is to end, though another error has taken the place of the one that says so."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
