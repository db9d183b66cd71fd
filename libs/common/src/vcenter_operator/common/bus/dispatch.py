"""The work on one partition: a worker for each vCenter, and for each only the newest statement.

Shared by both adapters, so that order, coalescing, retry and parking are the same on either.

What the broker waits for an answer to is bounded: a vCenter has at most one statement in work and one that waits,
what these supersede is acknowledged at once, what failed waits in the broker. Beyond `capacity` unanswered ones
nothing waits here any more, so that vCenters which take long leave room for the others.

What waits already when a partition is taken is read first, and worked on then: of a backlog, however long, one
statement on each vCenter is worked on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from vcenter_operator.common import metrics, tracing
from vcenter_operator.common.bus.port import Consumer, Ownership
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import OwnershipLost, PermanentError, TransientError
from vcenter_operator.common.messages import ResyncRequest, Statement, older
from vcenter_operator.common.metrics import Answer
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

Age = tuple[Any, ...]
"""See `Statement.age`."""

CLEAR_EVERY = 10.0
"""Seconds between two looks for parked statements that are superseded by now."""
MAX_ATTEMPTS_OF_UNEXPECTED = 5
"""An error that is none of ours is a defect: it is tried again this often, then parked."""

_LINKS = 16
"""A trace names at most so many statements that another one superseded."""

_QUIET = 1.0
"""Seconds without an arrival after which a backlog counts as read: the rest does not fit in, or is not there."""


class Delivery(Protocol):
    """A body that the bus handed over and wants an answer for.

    Without one it is returned to the queue when the partition is released, or its owner is lost.
    """

    @property
    def attempts(self) -> int:
        """How often it was tried before."""
        ...

    @property
    def published_at(self) -> float | None:
        """When it was published first (seconds since the epoch); None: nobody said so."""
        ...

    async def ack(self) -> None:
        """Done, or superseded. Nothing happens where the broker has taken it back already."""
        ...

    async def retry(self, delay: float, attempts: int) -> None:
        """Again after `delay` seconds, `attempts` of them counted. Raises BusUnavailable."""
        ...

    async def park(self, reason: str) -> None:
        """Put aside with the reason. Raises BusUnavailable."""
        ...


@dataclass(frozen=True)
class _Waiting:
    statement: Statement
    delivery: Delivery
    superseded: tuple[str, ...] = ()
    """Trace contexts of the last that need no work because of it."""

    def superseded_by(self) -> tuple[str, ...]:
        """The same of one that takes its place."""
        own = self.statement.trace.traceparent
        return (*self.superseded, own)[-_LINKS:] if own is not None else self.superseded


@dataclass(frozen=True)
class _Newest:
    age: Age
    message_id: str
    done: bool = False

    @classmethod
    def of(cls, statement: Statement) -> _Newest:
        return cls(statement.age, statement.trace.message_id)


@dataclass(frozen=True)
class _Aside:
    """What was parked of a vCenter last."""

    age: Age
    reason: str
    message_id: str

    def says_again(self, statement: Statement, reason: str) -> bool:
        """Whether a statement only repeats it. The very message that was parked is one that somebody put back."""
        return (self.age, self.reason) == (statement.age, reason) and self.message_id != statement.trace.message_id


class Dispatcher:
    """Deliveries and requests of one owned partition to the consumer, until `close`."""

    def __init__(
        self, consumer: Consumer, ownership: Ownership, delays: RetryDelays | None = None, capacity: int = 50
    ) -> None:
        self._consumer = consumer
        self._ownership = ownership
        self._delays = delays or RetryDelays()
        self._capacity = capacity
        self._statements = metrics.Statements(ownership.stage)
        self._waiting: dict[str, _Waiting] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._newest: dict[str, _Newest] = {}
        self._parked: dict[str, _Aside] = {}
        self.retrying: set[str] = set()
        """vCenters whose statement failed for a passing reason, and was not done since."""
        self._requests: dict[str | None, ResyncRequest | None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._backlog = 0
        self._came = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def unanswered(self) -> int:
        """How many deliveries are held without an answer."""
        return len(self._waiting) + len(self._workers) + len(self._tasks) - len(self._requests)

    def knows(self, host: str) -> bool:
        """Whether anything was said of a vCenter since the partition was taken."""
        return host in self._newest

    def supersedes(self, host: str, age: Age) -> bool:
        """Whether a parked statement of that age is needed no more: a newer one came, or the same is done by now.

        One that is newer in any part stays. Whoever does not own the partition any more does not know what came since.
        """
        newest = self._newest.get(host)
        if newest is None or not self._ownership.held or older(newest.age, age):
            return False
        return newest.done or newest.age != age

    def expect(self, backlog: int) -> None:
        """So many deliveries wait already, of which none was handed over: none is worked on until all are here."""
        if backlog > 0:
            self._backlog = backlog
            self._reading = asyncio.create_task(self._begin_when_read())

    def arrived(self) -> None:
        """The bus handed something over, whatever it was."""
        self._backlog -= 1
        self._came.set()

    async def deliver(self, statement: Statement, delivery: Delivery) -> None:
        """Hands over a statement. One that is superseded, or supersedes what waits, costs no work."""
        if self._closing:
            return
        host = statement.host
        self._statements.received()
        if self._superseded(statement, delivery):
            await delivery.ack()
            self._statements.answered(Answer.SUPERSEDED)
            return
        self._newest[host] = _Newest.of(statement)
        waiting = self._waiting.get(host)
        if waiting is None and host in self._workers and self.unanswered >= self._capacity:
            self._spawn(self._insist(lambda: delivery.retry(self._delays.aside, delivery.attempts)))
            self._statements.answered(Answer.PUT_OFF)
            return
        self._waiting[host] = _Waiting(statement, delivery, waiting.superseded_by() if waiting else ())
        if self._reading is None:
            self._begin(host)
        if waiting is not None:
            await waiting.delivery.ack()
            self._statements.answered(Answer.SUPERSEDED)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Parks what is no statement for us."""
        log.error("parked", error=reason, attempts=delivery.attempts + 1)
        if not self._closing:
            self._statements.received()
            self._spawn(self._insist(lambda: delivery.park(reason)))
            self._statements.answered(Answer.PARKED)

    def resync(self, request: ResyncRequest) -> None:
        """Hands over a resync request. What waits already for the same vCenter is asked in one."""
        if self._closing:
            return
        metrics.RESYNCS.labels(self._ownership.stage).inc()
        running = request.host in self._requests
        waiting = self._requests.get(request.host)
        self._requests[request.host] = _merged(waiting, request) if waiting else request
        if not running:
            self._spawn(self._answer(request.host))

    async def close(self, grace: float) -> None:
        """Finishes what is under way within `grace` seconds, less once the ownership ends; then cancels it."""
        self._closing = True
        if self._reading is not None:
            self._reading.cancel()
        tasks = {*self._workers.values(), *self._tasks}
        if not tasks:
            return
        finished = asyncio.ensure_future(asyncio.wait(tasks))
        ended = asyncio.ensure_future(self._ownership.ended())
        try:
            await asyncio.wait({finished, ended}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (finished, ended, *tasks):
                task.cancel()
            await asyncio.gather(finished, ended, *tasks, return_exceptions=True)

    async def _begin_when_read(self) -> None:
        with suppress(TimeoutError):
            while self._backlog > 0:
                self._came.clear()
                async with asyncio.timeout(_QUIET):
                    await self._came.wait()
        self._reading = None
        for host in self._waiting:
            self._begin(host)

    def _begin(self, host: str) -> None:
        if host not in self._workers:
            self._workers[host] = asyncio.create_task(self._work(host), name=f"worker {host}")

    def _superseded(self, statement: Statement, delivery: Delivery) -> bool:
        newest = self._newest.get(statement.host)
        if newest is None:
            return False
        if older(statement.age, newest.age):
            return True
        # A repeat was tried since this one was put off: one of the two goes on, or each repeat would add another
        # that never ends.
        put_off = delivery.attempts > 0 and statement.trace.message_id != newest.message_id
        return put_off and not older(newest.age, statement.age)

    async def _work(self, host: str) -> None:
        try:
            while not self._closing and (waiting := self._waiting.pop(host, None)) is not None:
                with structlog.contextvars.bound_contextvars(
                    vcenter=host, correlation_id=waiting.statement.trace.correlation_id
                ):
                    await self._attempt(waiting)
        except Exception as error:  # left without an answer: delivered again when the partition is released
            log.error("statement not answered", vcenter=host, error=str(error), exc_info=error)
        finally:
            self._workers.pop(host, None)

    async def _attempt(self, waiting: _Waiting) -> None:
        statement, delivery = waiting.statement, waiting.delivery
        attempts = delivery.attempts + 1
        try:
            self._ownership.verify()
            with (
                self._statements.handling(),
                tracing.processing(
                    statement, self._ownership, attempt=attempts, superseded=waiting.superseded
                ) as traced,
            ):
                await self._consumer.handle(traced, self._ownership)
        except Exception as error:
            if not self._ownership.held:
                log.info("left to the next owner", error=str(error))
                self._statements.answered(Answer.LEFT)
                return
            await self._failed(statement, delivery, attempts, error)
        else:
            self._done(statement)
            await delivery.ack()
            self._statements.answered(Answer.DONE, delivery.published_at)

    def _done(self, statement: Statement) -> None:
        self._parked.pop(statement.host, None)
        self.retrying.discard(statement.host)
        newest = self._newest[statement.host]
        if newest.message_id == statement.trace.message_id:  # what was said since may fail yet
            self._newest[statement.host] = replace(newest, done=True)

    async def _failed(self, statement: Statement, delivery: Delivery, attempts: int, error: Exception) -> None:
        delay = self._delays.after(attempts)
        if isinstance(error, TransientError):
            if not isinstance(error, OwnershipLost) and error.retry_after is not None:
                delay = error.retry_after
            log.info("will try again", error=str(error), attempts=attempts, delay=round(delay, 2))
        elif isinstance(error, PermanentError):
            await self._park(statement, delivery, str(error))
            return
        else:
            log.error("unexpected error", attempts=attempts, exc_info=error)
            if attempts >= MAX_ATTEMPTS_OF_UNEXPECTED:
                await self._park(statement, delivery, f"unexpected {type(error).__name__}: {error}")
                return
        self.retrying.add(statement.host)
        if await self._insist(lambda: delivery.retry(delay, attempts), unless_newer=(statement.host, delivery)):
            self._statements.answered(Answer.RETRIED)

    async def _park(self, statement: Statement, delivery: Delivery, reason: str) -> None:
        log.error("parked", error=reason, attempts=delivery.attempts + 1)
        self.retrying.discard(statement.host)
        known = self._parked.get(statement.host)
        if known is not None and known.says_again(statement, reason):
            await delivery.ack()  # parked already: once is enough
            self._statements.answered(Answer.SUPERSEDED)
            return
        if await self._insist(lambda: delivery.park(reason), unless_newer=(statement.host, delivery)):
            self._statements.answered(Answer.PARKED)
            self._parked[statement.host] = _Aside(statement.age, reason, statement.trace.message_id)

    async def _insist(
        self, settle: Callable[[], Awaitable[None]], unless_newer: tuple[str, Delivery] | None = None
    ) -> bool:
        """Until the broker takes it: True; or a newer statement makes it needless: False."""
        failures = 0
        while True:
            if unless_newer is not None and unless_newer[0] in self._waiting:
                await unless_newer[1].ack()
                self._statements.answered(Answer.SUPERSEDED)
                return False
            try:
                await settle()
                return True
            except TransientError as error:
                failures += 1
                delay = self._delays.after(failures)
                log.warning("the broker did not take it back", error=str(error), delay=round(delay, 2))
                await asyncio.sleep(delay)

    async def _answer(self, host: str | None) -> None:
        try:
            while (request := self._requests[host]) is not None:
                self._requests[host] = None
                with structlog.contextvars.bound_contextvars(correlation_id=request.trace.correlation_id):
                    await self._resync(request)
        finally:
            del self._requests[host]

    async def _resync(self, request: ResyncRequest) -> None:
        try:
            self._ownership.verify()
            with tracing.processing(request, self._ownership) as traced:
                await self._consumer.resync(traced, self._ownership)
        except OwnershipLost:
            return
        except Exception as error:  # whoever asked asks again
            log.warning(
                "resync failed",
                host=request.host,
                partition=request.partition,
                error=str(error),
                exc_info=None if isinstance(error, TransientError | PermanentError) else error,
            )

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _merged(waiting: ResyncRequest, request: ResyncRequest) -> ResyncRequest:
    """One request for what both ask: the statement is said in any case, `objects` are those whose body is lacking."""
    return request.model_copy(update={"objects": tuple(dict.fromkeys((*waiting.objects, *request.objects)))})
