"""Whether the zone's serial goes forward, where several servers may answer behind one address and one lags behind.

An older serial than the newest that is known says either that the server which answered lags behind another one, or
that the zone was set back (a restore). The first is over as soon as the other one answers; the second is not. So an
older zone is not believed before only older ones have been seen for a while, and often enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from vcenter_operator.discovery.core.serial import is_newer

LOOKS = 12
"""How often only older serials have to be seen: of two servers of which one lags, one in 4096 times by chance."""


class Standing(Enum):
    """What a serial is to what is known."""

    SAME = auto()
    NEWER = auto()
    BEHIND = auto()
    """Older, and not to be believed yet."""
    SET_BACK = auto()
    """Older, and nothing else was seen for so long that the zone itself was set back."""


class Lineage:
    """The newest serial that is known. Times are seconds of a monotonic clock; with a `patience` of 0 an older
    serial is a set-back at once.
    """

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._newest: int | None = None
        self._since: float | None = None
        self._looks = 0

    @property
    def doubted(self) -> bool:
        """Whether the last serial that was seen was behind."""
        return self._since is not None

    @property
    def newest(self) -> int | None:
        """The newest serial that is known; None: none yet."""
        return self._newest

    def remember(self, serials: Iterable[int]) -> None:
        """What was recorded before counts as known."""
        for serial in serials:
            if self._newest is None or is_newer(serial, self._newest):
                self._newest = serial

    def is_behind(self, serial: int) -> bool:
        """Whether it is older than the newest, or has no order with it (RFC 1982, 3.2)."""
        return self._newest is not None and serial != self._newest and not is_newer(serial, self._newest)

    def weigh(self, serial: int, now: float) -> Standing:
        """What a server's serial, asked at that time, is to what is known."""
        if not self.is_behind(serial):
            self._since, self._looks = None, 0
            return Standing.SAME if serial == self._newest else Standing.NEWER
        if self._since is None:
            self._since = now
        self._looks += 1
        long = now - self._since >= self._patience and self._looks >= LOOKS
        return Standing.SET_BACK if long or self._patience == 0 else Standing.BEHIND

    def accept(self, serial: int) -> None:
        """A complete zone with this serial was taken: it is the newest now, whatever was known."""
        self._newest, self._since, self._looks = serial, None, 0
