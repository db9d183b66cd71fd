"""What a module logged, whatever the logging of the process is set to."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import structlog


@contextmanager
def captured(*modules: ModuleType) -> Iterator[list[MutableMapping[str, Any]]]:
    """The entries that the loggers named `log` of these modules make inside the `with` block.

    `structlog.testing.capture_logs` misses loggers that were in use before: they keep their processors.
    """
    capture = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(
        logging.getLogger("captured"), processors=[capture], wrapper_class=structlog.stdlib.BoundLogger
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setattr(module, "log", logger)
        yield capture.entries
