"""Whether a zone may be believed: one that lost an unlikely share of its vCenters at once needs a second look."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Doubt:
    """Why a complete zone is held as unknown: these of the vCenters that were present are not in it."""

    lost: frozenset[str]
    known: int
    """How many were present before."""


def doubt(known: Set[str], found: Set[str], *, share: float, earlier: Doubt | None = None) -> Doubt | None:
    """The doubt about a zone in which `found` are present where `known` were; None: it is believed.

    Doubtful is the loss of more than `share` of them and more than one, and the loss of all (an empty zone is more
    often a mistake than a truth). A second look that lacks none but those that the `earlier` one lacked confirms it.
    """
    lost = frozenset(known - found)
    if not lost or (earlier is not None and lost <= earlier.lost):
        return None
    many = len(lost) > 1 and len(lost) > share * len(known)
    return Doubt(lost, len(known)) if many or lost == known else None
