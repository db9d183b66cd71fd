"""Which changes of a vCenter's conditions people must notice. All others are for whoever looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from vcenter_operator.common.events import EventType


class Notice(NamedTuple):
    """What an Event says."""

    type: EventType
    reason: str
    note: str


_AT_ONCE = frozenset(
    {
        ("Discovered", "NotInZone"),
        ("Discovered", "ZoneHeld"),
        ("Connected", "LoginRefused"),
        ("Connected", "CertificateRefused"),
        ("Applied", "Refused"),
        ("Applied", "Adopting"),
    }
)
"""Somebody has to do something, or to know. An unreachable vCenter or a retry is told of only once it lasts: most pass
by themselves."""
LASTING = 300.0
"""Seconds after which a vCenter without a session is told of, whatever the reason."""
_HELD = "DeletionHeld"


def notices(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]], now: datetime) -> Iterator[Notice]:
    """What to tell when conditions change; `after` are those that were written, whether they changed or not."""
    known = {condition["type"]: condition for condition in before}
    for condition in after:
        kind, earlier = condition["type"], known.get(condition["type"])
        if kind == _HELD:
            yield from _about_deletions(earlier, condition)
        elif _at_once(condition):
            if earlier is None or _said(earlier) != _said(condition):
                yield Notice("Warning", condition["reason"], condition["message"])
        elif condition["status"] == "True" and earlier is not None and (_at_once(earlier) or lasts(earlier, now)):
            yield Notice(
                "Normal", condition["reason"], f"no longer {earlier['reason']}. {condition['message']}".strip()
            )


def is_disconnected(conditions: Iterable[Mapping[str, Any]]) -> bool:
    """Whether there is no session, for a reason that is told of only where it lasts."""
    return any(
        condition["type"] == "Connected" and condition["status"] != "True" and not _at_once(condition)
        for condition in conditions
    )


def lasting(conditions: Iterable[Mapping[str, Any]], now: datetime) -> Iterator[Notice]:
    """What to tell of a trouble that has not passed."""
    for condition in conditions:
        if is_disconnected((condition,)) and lasts(condition, now):
            yield Notice("Warning", condition["reason"], f"since {_since(condition):%H:%M} UTC: {condition['message']}")


def lasts(condition: Mapping[str, Any], now: datetime) -> bool:
    """Whether the vCenter has been without a session for long."""
    troubled = condition["type"] == "Connected" and condition["status"] == "False"
    return troubled and condition["reason"] != "NotInZone" and (now - _since(condition)).total_seconds() >= LASTING


def _since(condition: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(condition["lastTransitionTime"])


def _about_deletions(earlier: Mapping[str, Any] | None, condition: Mapping[str, Any]) -> Iterator[Notice]:
    if condition["status"] == "True":
        if earlier is None or earlier["status"] != "True" or earlier["message"] != condition["message"]:
            yield Notice("Warning", _HELD, condition["message"])
    elif earlier is not None and earlier["status"] == "True":
        yield Notice("Normal", "DeletionReleased", condition["message"] or "no deletion is held any more")


def _at_once(condition: Mapping[str, Any]) -> bool:
    return condition["status"] != "True" and (condition["type"], condition["reason"]) in _AT_ONCE


def _said(condition: Mapping[str, Any]) -> tuple[str, str, str]:
    """A refused object that changes is another thing to notice; the wording of the rest is not."""
    message = condition["message"] if condition["reason"] == "Refused" else ""
    return condition["status"], condition["reason"], message
