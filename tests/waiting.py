"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    condition: Callable[[], T | None],
    what: str,
    *,
    within: float = 60.0,
    every: float = 0.1,
    otherwise: Callable[[], str] | None = None,
) -> T:
    """The first truthy value of `condition`, asked every `every` seconds.

    Fails the test after `within` seconds, with what was waited for, the last value (or the last AssertionError), and
    what `otherwise` has to say.
    """
    deadline = time.monotonic() + within
    while True:
        last: object
        try:
            value = condition()
        except AssertionError as error:
            last = error
        else:
            if value:
                return value
            last = value
        if time.monotonic() > deadline:
            more = f"\n{otherwise()}" if otherwise else ""
            raise AssertionError(f"not within {within:g} s: {what}; last: {last!r:.2000}{more}")
        time.sleep(every)
