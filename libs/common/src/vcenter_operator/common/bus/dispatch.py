"""The work on one partition: a worker for each vCenter, and for each only the newest statement.

Shared by both adapters, so that order, coalescing, retry and parking are the same on either.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog

from vcenter_operator.common.bus.port import Consumer, Ownership
from vcenter_operator.common.errors import OwnershipLost, PermanentError, TransientError
from vcenter_operator.common.messages import ResyncRequest, Statement
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

MAX_ATTEMPTS_OF_UNEXPECTED = 5
"""An error that is none of ours is a defect: it is tried again this often, then parked."""


@dataclass
class RetryDelays:
    """Seconds before the attempts of a statement: doubled each time up to `longest`."""

    first: float = 0.5
    longest: float = 60.0

    def after(self, attempts: int) -> float:
        """The delay after this many failed attempts."""
        return min(self.longest, self.first * 2.0 ** min(attempts - 1, 16))


class Delivery(Protocol):
    """A statement that the bus handed over and wants an answer for."""

    statement: Statement
    attempts: int
    """How often it was tried before."""

    async def ack(self) -> None:
        """Done, or superseded."""

    async def give_back(self) -> None:
        """Returned to the queue for whoever owns the partition next."""

    async def retry(self, delay: float) -> None:
        """Again after `delay` seconds, with one attempt more counted."""

    async def park(self, reason: str) -> None:
        """Put aside with the reason."""


class Dispatcher:
    """Deliveries of one owned partition to the consumer, until `close`."""

    def __init__(self, consumer: Consumer, ownership: Ownership, delays: RetryDelays) -> None:
        self._consumer = consumer
        self._ownership = ownership
        self._delays = delays
        self._waiting: dict[str, Delivery] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    async def deliver(self, delivery: Delivery) -> None:
        """Hands over a delivery; one that is superseded by what waits, or supersedes it, costs no work."""
        if self._closing:
            await delivery.give_back()
            return
        host = delivery.statement.host
        waiting = self._waiting.get(host)
        if waiting is not None and delivery.statement.older_than(waiting.statement):
            await delivery.ack()
            return
        self._waiting[host] = delivery
        if host not in self._workers:
            self._workers[host] = asyncio.create_task(self._work(host), name=f"worker {host}")
        if waiting is not None:
            await waiting.ack()

    async def resync(self, request: ResyncRequest) -> None:
        """Hands over a resync request; its failure is logged, since whoever asked asks again."""
        with structlog.contextvars.bound_contextvars(correlation_id=request.trace.correlation_id):
            try:
                self._ownership.verify()
                await self._consumer.resync(request, self._ownership)
            except OwnershipLost:
                return
            except Exception as error:
                log.warning("resync failed", host=request.host, partition=request.partition, error=str(error))

    async def close(self, grace: float) -> None:
        """Finishes what is under way within `grace` seconds; the rest is cancelled and returned to the queue."""
        self._closing = True
        waiting, self._waiting = self._waiting, {}
        for delivery in waiting.values():
            await delivery.give_back()
        workers = list(self._workers.values())
        if not workers:
            return
        _, late = await asyncio.wait(workers, timeout=grace)
        for worker in late:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, host: str) -> None:
        try:
            while (delivery := self._waiting.pop(host, None)) is not None:
                with structlog.contextvars.bound_contextvars(
                    vcenter=host, correlation_id=delivery.statement.trace.correlation_id
                ):
                    await self._attempt(delivery)
        finally:
            self._workers.pop(host, None)

    async def _attempt(self, delivery: Delivery) -> None:
        attempts = delivery.attempts + 1
        try:
            self._ownership.verify()
            await self._consumer.handle(delivery.statement, self._ownership)
        except (OwnershipLost, asyncio.CancelledError) as error:
            await delivery.give_back()
            if isinstance(error, asyncio.CancelledError):
                raise
        except TransientError as error:
            delay = error.retry_after if error.retry_after is not None else self._delays.after(attempts)
            log.info("will try again", error=str(error), attempts=attempts, delay=delay)
            await delivery.retry(delay)
        except PermanentError as error:
            log.error("parked", error=str(error), attempts=attempts)
            await delivery.park(str(error))
        except Exception as error:
            log.exception("unexpected error", attempts=attempts)
            if attempts < MAX_ATTEMPTS_OF_UNEXPECTED:
                await delivery.retry(self._delays.after(attempts))
            else:
                await delivery.park(f"unexpected {type(error).__name__}: {error}")
        else:
            await delivery.ack()
