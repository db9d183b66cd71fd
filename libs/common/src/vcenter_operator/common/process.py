"""How a process runs one stage or all of them, from its settings to its exit code."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Any, Protocol, TypeVar

from vcenter_operator.common import metrics, tracing
from vcenter_operator.common.bus.inprocess import Broker, InProcessBus
from vcenter_operator.common.bus.port import Bus, Epochs, Topology
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import ConfigurationError, TransientError
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.serving import served
from vcenter_operator.common.settings import PREFIX, Settings
from vcenter_operator.common.stagehelp import parser
from vcenter_operator.common.telemetry import configure, logger

log = logger(__name__)

S = TypeVar("S", bound=Settings)
T = TypeVar("T")

EXIT_DONE, EXIT_FAILED, EXIT_CONFIGURATION = 0, 1, 2
"""Exit codes: it ended, or was stopped as told; it failed, see the log; settings or Secret are wrong."""
IN_PROCESS = "in-process"
RABBITMQ = "rabbitmq"

_MARGIN = 3.0
"""Seconds above `stop_within` after which a process that was told to stop is ended whatever it does."""
_WAITING = RetryDelays(first=0.5, longest=10.0)


class Service(Protocol):
    """A stage, composed."""

    async def run(self) -> None:
        """Works until it is cancelled."""
        ...


Wiring = Callable[[S, Platform], AbstractAsyncContextManager[Service]]
"""Composes a stage on a platform: `wiring.on_kubernetes` or `wiring.embedded` of the stage."""


async def open_bus(settings: Settings, epochs: Epochs, *, url: str | None = None, dry_run: bool = False) -> Bus:
    """The bus that `url`, or else `settings.bus`, names: an AMQP URL or `in-process`.

    Raises:
        ConfigurationError: the URL, the login or the CA bundle is wrong.
        BusUnavailable: the broker is away.
    """
    topology = Topology(settings.partitions, settings.generation, dry_run)
    if (url or settings.bus) == IN_PROCESS:
        broker = Broker(topology)
        return InProcessBus(broker, epochs, stop_within=settings.stop_within, probe_every=settings.probe_every)
    from vcenter_operator.common.bus.rabbitmq import RabbitMQBus  # noqa: PLC0415 - not needed in process

    return await RabbitMQBus.connect(
        url or settings.bus,
        topology,
        epochs,
        heartbeat=settings.heartbeat,
        stop_within=settings.stop_within,
        ca=settings.bus_ca,
        certificate=settings.bus_certificate,
        key=settings.bus_certificate_key,
        probe_every=settings.probe_every,
    )


async def patiently(what: str, operation: Callable[[], Awaitable[T]]) -> T:
    """The operation's result; as long as that fails for a transient reason, it is logged and tried again."""
    attempts = 0
    while True:
        try:
            return await operation()
        except TransientError as error:
            attempts += 1
            delay = error.retry_after if error.retry_after is not None else _WAITING.after(attempts)
            log.warning("waiting", waiting_for=what, error=str(error), again_in=delay)
            await asyncio.sleep(delay)


async def serve(*services: Service) -> None:
    """Runs all of them until cancelled. Where one fails, the others are stopped and its error is raised."""
    async with asyncio.TaskGroup() as group:
        for service in services:
            group.create_task(service.run(), name=type(service).__name__)


def run(body: Callable[[], Coroutine[Any, Any, None]], settings: Callable[[], Settings]) -> int:
    """Runs `body` until it returns, or until SIGTERM or SIGINT cancels it; returns the exit code.

    `settings` are loaded first; logs go by them. A body that does not end in time after the signal (a thread that
    hangs, say) takes the process with it: exit code 1.
    """
    try:
        loaded = settings()
    except ConfigurationError as error:
        return _wrong(error)
    configure(loaded.log_level, json={"json": True, "text": False}.get(loaded.log_format))
    try:
        asyncio.run(_until_told(body, loaded.stop_within))
    except ConfigurationError as error:
        return _wrong(error)
    except BaseExceptionGroup as group:
        if (wrong := _first(group, ConfigurationError)) is not None:
            return _wrong(wrong)
        log.exception("failed")
        return EXIT_FAILED
    except Exception:
        log.exception("failed")
        return EXIT_FAILED
    return EXIT_DONE


def stage_main(stage: Stage, settings: type[S], wiring: Wiring[S], argv: Sequence[str] | None = None) -> int:
    """What the command of a single stage does: on Kubernetes, over RabbitMQ. Returns the exit code."""
    command = parser(stage, settings)
    dry_run: bool = command.parse_args(argv).dry_run

    def loaded() -> S:
        made = settings.load()
        if made.bus == IN_PROCESS:
            raise ConfigurationError(
                f"{PREFIX}BUS: a stage by itself needs a broker: an AMQP URL (amqp:// or amqps://)"
            )
        return made

    return run(lambda: _stage(stage, loaded(), wiring, command.prog, dry_run), loaded)


async def _stage(stage: Stage, settings: S, wiring: Wiring[S], name: str, dry_run: bool) -> None:
    from vcenter_operator.common.kubernetes.platform import open_platform  # noqa: PLC0415 - slow to import

    # Told from the start: who only waits for a broker shows partitions that nobody owns.
    metrics.serves(stage, Topology(settings.partitions, settings.generation).partitions_of(stage))
    # Traces before the bus is there: loading what they need may hold up the loop for a moment.
    with tracing.exported(name, RABBITMQ, dry_run=dry_run):
        async with (
            served(settings.probe_port, probe_every=settings.probe_every) as health,
            open_platform(settings, dry_run=dry_run) as platform,
            wiring(settings, platform) as service,
        ):
            health.bus = platform.bus
            log.info("started", dry_run=dry_run)
            await serve(service)


async def _until_told(body: Callable[[], Coroutine[Any, Any, None]], stop_within: float) -> None:
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(body(), name="body")
    told: list[signal.Signals] = []

    def stop() -> None:
        log.info("stopping", signal=told[0].name)
        work.cancel()

    def on_signal(number: int, _: FrameType | None) -> None:
        told.append(signal.Signals(number))
        if len(told) == 1:
            _end_within(stop_within + _MARGIN)
            loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        await work
    except asyncio.CancelledError:
        if not told:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        log.info("stopped")


def _end_within(seconds: float) -> None:
    """Shows where every thread stands and ends the process with code 1, unless it has ended by then.

    Not by the loop, which may hang; nor by a thread of Python's, which may not be started from a signal handler. It
    also covers threads that the interpreter would wait for at its exit.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)


def _wrong(error: ConfigurationError) -> int:
    print(f"vcenter-operator: {error}", file=sys.stderr)  # noqa: T201 - one line for a person, not a log
    return EXIT_CONFIGURATION


def _first(group: BaseExceptionGroup[BaseException], kind: type[ConfigurationError]) -> ConfigurationError | None:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            if (found := _first(error, kind)) is not None:
                return found
        elif isinstance(error, kind):
            return error
    return None
