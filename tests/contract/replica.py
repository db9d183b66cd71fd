"""One replica as a process of its own, for the tests that kill or stop one: ``python -m tests.contract.replica``.

It owns partitions of the collector and has an effect on the world every few milliseconds for each, as long as its
ownership holds: a line in a file that all replicas append to. It prints a line of JSON for each thing that happens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.contract.harness import DELAYS
from vcenter_operator.common.bus import Ownership, Topology
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.errors import OwnershipLost
from vcenter_operator.common.messages import ResyncRequest, Stage, Statement


class Worker:
    """A consumer that writes effects."""

    def __init__(self, effects: Path, work: float) -> None:
        self._file = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._work = work
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def take(self, ownership: Ownership) -> None:
        tell("take", partition=ownership.partition, epoch=ownership.epoch)
        self._tasks[ownership.partition] = asyncio.create_task(self._effects(ownership))

    async def release(self, ownership: Ownership) -> None:
        tell("release", partition=ownership.partition, epoch=ownership.epoch)
        self._tasks.pop(ownership.partition).cancel()

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        tell("start", host=statement.host, epoch=ownership.epoch)
        await asyncio.sleep(self._work)
        tell("done", host=statement.host, epoch=ownership.epoch, age=str(statement.age[0]))

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        tell("resync", host=request.host)

    async def _effects(self, ownership: Ownership) -> None:
        with suppress(OwnershipLost):
            while True:
                now = time.monotonic()
                ownership.verify()
                os.write(self._file, f"{ownership.partition} {ownership.epoch} {now}\n".encode())
                await asyncio.sleep(0.01)
        tell("expired", partition=ownership.partition, epoch=ownership.epoch)


def tell(event: str, **fields: object) -> None:
    """One line of JSON on stdout, with the time of the machine's monotonic clock."""
    sys.stdout.write(json.dumps({"event": event, "at": time.monotonic(), **fields}) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=Path, required=True)
    parser.add_argument("--effects", type=Path, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--heartbeat", type=int, required=True)
    parser.add_argument("--work", type=float, default=0.0)
    options = parser.parse_args()
    bus = await RabbitMQBus.connect(
        os.environ["BUS_URL"],
        Topology(options.partitions),
        FolderEpochs(options.epochs),
        heartbeat=options.heartbeat,
        delays=DELAYS,
    )
    await bus.serve(Stage.COLLECTOR, Worker(options.effects, options.work))


if __name__ == "__main__":
    asyncio.run(main())
