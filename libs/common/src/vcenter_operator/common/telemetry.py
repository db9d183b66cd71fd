"""Structured logs: one line per thing that matters, for people on a terminal, JSON otherwise.

What is bound with `structlog.contextvars` (vCenter, correlation id, stage, partition) is on every line below it.
Secrets are masked by name as a last line of defence; no caller may rely on it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Literal, get_args

import structlog
from structlog.typing import Processor

Level = Literal["DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL"]
"""Any level that Python names, as in the deployed operator."""
LEVELS: tuple[Level, ...] = get_args(Level)

_SECRET_NAMES = ("password", "secret", "tsig", "bus_key", "token", "authorization", "manifest_body")


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    bound: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return bound


def configure(level: Level = "INFO", *, json: bool | None = None) -> None:
    """Sets up logging for the process, to stderr. `json` None: JSON unless stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_secrets,
    ]
    renderer: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def level() -> str:
    """From which level on lines are logged."""
    return logging.getLevelName(logging.getLogger().level)


def set_level(level: Level) -> None:
    """Lines below it are not logged from now on."""
    root = logging.getLogger()
    root.setLevel(level)
    for noisy in ("kubernetes_asyncio", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    for told_by_us in ("aiormq", "aio_pika"):  # with a traceback for every attempt at a broker that is away
        logging.getLogger(told_by_us).setLevel(logging.CRITICAL)


def mask_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replaces the value of every field whose name says that it is a secret, however deep."""
    for name, value in event.items():
        event[name] = "***" if _is_secret(name) else _masked(value)
    return event


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: "***" if _is_secret(str(key)) else _masked(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_masked(inner) for inner in value)
    return value


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return any(secret in name.lower() for secret in _SECRET_NAMES)
