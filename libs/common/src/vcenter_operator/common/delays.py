"""How long it takes until something that failed is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryDelays:
    """Seconds before the attempts of a statement: doubled each time from `first` up to `longest`, with jitter."""

    first: float = 0.5
    longest: float = 60.0
    aside: float = 5.0
    """For a statement that would wait here beyond capacity: how long it waits in the broker instead."""

    def after(self, attempts: int) -> float:
        """The delay after this many failed attempts: between three quarters of its step and the whole."""
        step = min(self.longest, self.first * 2.0 ** min(max(attempts, 1) - 1, 32))
        return step * random.uniform(0.75, 1.0)  # noqa: S311 - jitter, not a secret

    @property
    def steps(self) -> tuple[float, ...]:
        """Every step there is, shortest first: the broker has a queue for each."""
        steps = [self.first]
        while steps[-1] * 2 < self.longest:
            steps.append(steps[-1] * 2)
        return (*steps, self.longest) if self.longest > self.first else (self.first,)

    def step(self, delay: float) -> float:
        """The step that a delay is rounded up to; the longest where it is longer still."""
        return next((step for step in self.steps if step >= delay), self.steps[-1])
