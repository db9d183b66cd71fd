"""The condition `Ready`: what the conditions of all stages come to, in one word. Nobody states it, it follows.

Whoever writes a condition writes `Ready` along, by compare-and-swap, so that it never contradicts the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vcenter_operator.common.record.port import Condition

READY = "Ready"

_LONGEST = 100
"""Characters of its message: it is the last column of `kubectl get vc`. The condition it follows from has all of it."""
_REQUEST = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE) /\S+: ")
_HELD = "DeletionHeld"
_BY_URGENCY = ("Connected", "Applied", "Rendered", "Collected", "Discovered")
"""Which of several troubles a person hears of first: what stops everything, then what stops a part."""
_IN_ORDER = ("Discovered", "Connected", "Collected", "Rendered", "Applied")


def readiness(conditions: Iterable[Mapping[str, Any]]) -> Condition:
    """Ready, from all other conditions of a vCenter (with type, status, reason and message).

    True: every stage says that all is well. Unknown: a stage has not said anything yet, or does not know.
    """
    stated = {condition["type"]: condition for condition in conditions}
    held, discovered = stated.get(_HELD), stated.get("Discovered")
    if discovered is not None and discovered["status"] == "False":
        return _as("False", discovered)  # what the other stages say follows from it
    if held is not None and held["status"] == "True":
        return _as("False", held, reason=_HELD)
    for status in ("False", "Unknown"):
        for kind in _BY_URGENCY:
            if (condition := stated.get(kind)) is not None and condition["status"] == status:
                return _as(status, condition)
    if missing := [kind.lower() for kind in _IN_ORDER if kind not in stated]:
        return _as("Unknown", {"reason": "Starting", "message": f"not yet {', '.join(missing)}"})
    return _as("True", stated["Applied"])  # with what a policy or a suspension would leave undone


def _as(status: str, condition: Mapping[str, Any], *, reason: str | None = None) -> Condition:
    message = " ".join(_REQUEST.sub("", str(condition.get("message") or "")).split())
    if len(message) > _LONGEST:
        message = message[: _LONGEST - 1] + "…"
    return Condition.model_validate(
        {"type": READY, "status": status, "reason": reason or condition["reason"], "message": message}
    )
