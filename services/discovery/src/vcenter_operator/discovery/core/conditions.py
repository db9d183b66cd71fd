"""The condition `Discovered`, as people read it at a VCenter."""

from __future__ import annotations

from dataclasses import dataclass

from vcenter_operator.common.record import Condition
from vcenter_operator.common.record.orders import APPROVE
from vcenter_operator.discovery.core.plausibility import Doubt

TYPE = "Discovered"


@dataclass(frozen=True)
class Trouble:
    """Why the zone cannot be read at the moment."""

    reason: str
    """CamelCase."""
    message: str


def in_zone(domain: str, serial: int) -> Condition:
    """The vCenter is in the zone since this serial."""
    return Condition(type=TYPE, status="True", reason="InZone", message=f"in the zone {domain} (serial {serial})")


def not_in_zone(domain: str, serial: int) -> Condition:
    """A complete zone lacks the vCenter since this serial."""
    message = f"the complete zone {domain} lacks it (serial {serial})"
    return Condition(type=TYPE, status="False", reason="NotInZone", message=message)


def held(domain: str, serial: int, doubt: Doubt, word: str) -> Condition:
    """A zone lacks the vCenter, but too many others as well to be believed at once."""
    message = (
        f"the zone {domain} (serial {serial}) lacks {doubt.gone} of the {doubt.known} vCenters of the last hour: held "
        f"as unknown until a second look confirms it, or the annotation {APPROVE}={word} on any of these VCenters"
    )
    return Condition(type=TYPE, status="Unknown", reason="ZoneHeld", message=message)


def unreadable(trouble: Trouble) -> Condition:
    """The zone cannot be read; what was last known stays."""
    message = f"{trouble.message}; what was last known stays"
    return Condition(type=TYPE, status="Unknown", reason=trouble.reason, message=message)
