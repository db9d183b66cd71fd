"""How a vCenter that fails is tried again: less and less often, by probes alone while it does not answer, and rarely
where it refuses the account.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.record import RefusedLogins

OPENS_AFTER = 3
"""Failures in a row after which the circuit is open."""
REFUSALS = 3
"""Refused logins in a row after which the account is given a rest."""


@dataclass
class Circuit:
    """Closed, a session is begun with the vCenter. Open, it has to answer a probe first, each time.

    A probe takes no login, and less time: so a vCenter that is half up, or that ends every session, collects no
    sessions, and one that hangs holds a thread only briefly. `longest`: seconds between two attempts, at most.
    """

    longest: float
    failures: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it has to answer a probe before anything else."""
        return self.failures >= OPENS_AFTER

    def failed(self, lasted: float = 0.0) -> float:
        """The delay (seconds) before the next attempt. `lasted`: seconds for which there was a session that worked.

        One that did not outlast the longest delay is no success: what fails again and again right after the login
        must not be logged on to again and again either.
        """
        self.failures = 1 if lasted >= self.longest else self.failures + 1
        return RetryDelays(longest=self.longest).after(self.failures)

    def describe(self) -> str:
        """What is to be added to the reason of a failure; the same text as long as nothing changes."""
        if not self.is_open:
            return ""
        return f"; failed {OPENS_AFTER} times in a row or more: only probed, every {self.longest:g} s at most"


@dataclass(frozen=True)
class Rests:
    """Seconds for which no login is tried after one was refused: `first`, and `later` from the third in a row on."""

    first: float
    later: float

    def after(self, times: int) -> float:
        """After so many refused logins in a row."""
        return self.first if times < REFUSALS else self.later

    def left(self, refused: RefusedLogins, now: datetime) -> float:
        """What is left of it. The clocks of two replicas may differ: a refusal in the future rests no longer."""
        rest = self.after(refused.times)
        return min(max((refused.last + timedelta(seconds=rest) - now).total_seconds(), 0.0), rest)


def refused(before: RefusedLogins | None, credentials: str, now: datetime) -> RefusedLogins:
    """The count after one more refused login. Other credentials (by their digest) count anew."""
    times = before.times if before is not None and before.credentials == credentials else 0
    return RefusedLogins(times=times + 1, last=now.replace(microsecond=0), credentials=credentials)
