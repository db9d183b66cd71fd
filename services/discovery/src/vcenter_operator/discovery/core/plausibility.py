"""Whether a zone may be believed: one that lost an unlikely share of its vCenters is doubted.

What went within the last hour counts along, so that neither one half-loaded zone nor a series of slightly smaller ones
passes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from vcenter_operator.common.identity import Revision
from vcenter_operator.common.record import Discovered

_WINDOW = timedelta(hours=1)
_FEW = 2
"""So many may always go within the window, short of all: in a small region one or two are a large share."""


@dataclass(frozen=True)
class Doubt:
    """Why a complete zone is held as unknown: these of the vCenters that were present are not in it."""

    lost: frozenset[str]
    gone: int
    """How many went within the window, these included."""
    known: int
    """How many were present at any time within the window."""


def departed(known: Mapping[str, Discovered], now: datetime) -> frozenset[str]:
    """Those that went within the window."""
    since = {host: section.gone_since for host, section in known.items()}
    return frozenset(host for host, at in since.items() if at is not None and now - at < _WINDOW)


def doubt(
    known: Set[str],
    found: Set[str],
    *,
    share: float,
    recent: Set[str] = frozenset(),
    earlier: Doubt | None = None,
) -> Doubt | None:
    """The doubt about a zone in which `found` are present where `known` were; None: it is believed.

    Doubtful is a loss with which more than `share` of all that were there within the window are gone, those that went
    before (`recent`) included, and more than a few; and the loss of all (an empty zone is more often a mistake than a
    truth). A second look that lacks none but those that the `earlier` one lacked confirms it.
    """
    lost = frozenset(known - found)
    if not lost or (earlier is not None and lost <= earlier.lost):
        return None
    before = known | recent
    gone = len(before - found)
    many = gone > _FEW and gone > share * len(before)
    return Doubt(lost, gone, len(before)) if many or lost == known else None


def digest(lost: Iterable[str], stated: Mapping[str, Revision]) -> str:
    """Names a loss, for a person's word: of these vCenters, as they were stated last. The same ones lost once more have

    been stated anew in between, so that no word counts twice.
    """
    text = "\n".join(f"{host} {stated[host]}" for host in sorted(lost))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
