"""What has to be stated anew about the vCenters, and the revisions that it gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vcenter_operator.common.identity import Revision


class Sighting(NamedTuple):
    """What a complete zone says of one vCenter."""

    present: bool
    addresses: tuple[str, ...] = ()


GONE = Sighting(present=False)


def changes(
    stated: Mapping[str, Sighting], found: Mapping[str, tuple[str, ...]], remembered: Iterable[str]
) -> dict[str, Sighting]:
    """What differs from what was stated, by vCenter.

    Whatever was stated, or is remembered from earlier, and is not found in a complete zone is gone.
    """
    now = dict.fromkeys((*remembered, *stated), GONE)
    now.update((host, Sighting(True, addresses)) for host, addresses in found.items())
    return {host: now[host] for host in sorted(now) if stated.get(host) != now[host]}


class Revisions:
    """Mints the revisions of one epoch, counting up from 1."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._sequence = 0

    def mint(self) -> Revision:
        """The next revision."""
        self._sequence += 1
        return Revision(self._epoch, self._sequence)
