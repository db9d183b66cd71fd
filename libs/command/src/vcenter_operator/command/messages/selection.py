"""Which statements are meant. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from vcenter_operator.command.diff.collecting import Scope
from vcenter_operator.common.bus.rabbitmq.topology import ARROWS
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import Stage

_AGO = re.compile(r"(\d+)\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Said(Protocol):
    """What can be told of a message without reading it."""

    @property
    def at(self) -> datetime: ...  # noqa: D102
    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def stage(self) -> Stage: ...  # noqa: D102
    @property
    def message_id(self) -> str: ...  # noqa: D102
    @property
    def correlation_id(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Selection:
    """A choice of statements; what is None does not matter."""

    since: datetime | None = None
    until: datetime | None = None
    vcenter: str | None = None
    """FQDN, or first label."""
    stage: Stage | None = None
    """The stage that they are for."""
    correlation: str | None = None
    """The beginning of their correlation id."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages whose arrows have to be read."""
        return tuple(stage for stage in ARROWS if self.stage in (None, stage))

    def takes(self, said: Said) -> bool:
        """Whether this one is meant."""
        return (
            (self.since is None or said.at >= self.since)
            and (self.until is None or said.at <= self.until)
            and self.stage in (None, said.stage)
            and Scope(self.vcenter).has_vcenter(said.host)
            and said.correlation_id.startswith(self.correlation or "")
        )


def moment(text: str, now: datetime) -> datetime:
    """A time that a person wrote: `90s`, `15m`, `6h`, `7d` ago, or as ISO 8601 (in UTC unless it says otherwise).

    Raises ConfigurationError.
    """
    if ago := _AGO.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(
            f"time {text!r}: is neither an age (90s, 15m, 6h, 7d) nor ISO 8601 (2026-03-01T14:05:00Z)"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
