"""Where the operator runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Surroundings:
    """What templates see as `own_namespace`, `region`, `domain` and `incluster`."""

    own_namespace: str
    region: str
    domain: str
    """The zone that holds the vCenters' names, in lower case, without a dot at the end."""
    incluster: bool
