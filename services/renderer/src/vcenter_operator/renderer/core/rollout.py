"""Rolling a template out step by step: checked everywhere, then one vCenter, then all of them.

Pure. What was decided last stands in the template's status, what came of it in the records of the vCenters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from vcenter_operator.common.messages import Step, as_reason
from vcenter_operator.common.record.port import OK, Record, RolledOut

_NAMED = 3
"""How many vCenters are told of."""


class Phase(StrEnum):
    """How far a rollout has come."""

    DRY_RUN = "DryRun"
    CANARY = "Canary"
    WIDE = "Wide"
    DONE = "Done"
    PAUSED = "Paused"
    """It goes on by an edit, or by a person's word."""


@dataclass(frozen=True)
class Decision:
    """What stands in `status.rollout` of a template."""

    version: int
    phase: Phase = Phase.DRY_RUN
    canary: str | None = None
    """The vCenter that goes first; None: not chosen, or nothing is changed anywhere."""
    reason: str = ""
    """Why it does not go on."""

    def step(self, host: str, version: int) -> Step:
        """How far a vCenter may go with what has this version."""
        if version != self.version:
            return Step.CHECK
        if self.phase in (Phase.WIDE, Phase.DONE):
            return Step.ALL
        # Where it was paused, the canary keeps what it has.
        return Step.CANARY if host == self.canary else Step.CHECK

    def as_status(self) -> dict[str, Any]:
        """`status.rollout`."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


def decided(template: Mapping[str, Any]) -> Decision | None:
    """What the status of a VCenterTemplate says; None: nothing, or nothing that can be read, and it begins anew."""
    match template.get("status"):
        case {"rollout": {"version": int(version), "phase": str(phase), **more}} if phase in list(Phase):
            canary, reason = more.get("canary"), more.get("reason")
            return Decision(version, Phase(phase), str(canary) if canary else None, str(reason or ""))
    return None


@dataclass(frozen=True)
class Progress:
    """What the record of a vCenter says of one rollout."""

    host: str
    awaited: bool = True
    """Whether it is connected and rendered, so that the dry run waits for it."""
    present: bool = True
    checked: str | None = None
    changes: int = 0
    deployments: int = 0
    applied: str | None = None
    """These four: see `RolledOut`."""


def progress_of(record: Record, template: str, version: int) -> Progress:
    """`template` is `<namespace>/<name>`. What is noted of another version says nothing."""
    present = record.discovered is not None and record.discovered.present
    sections = (record.collected, record.rendered)
    stated = {condition.type: condition.status for one in sections if one for condition in one.conditions}
    awaited = present and all(stated.get(kind) == "True" for kind in ("Connected", "Rendered"))
    noted = (record.applied.rollouts if record.applied else None) or {}
    if (known := noted.get(template)) is None or known.version != version:
        known = RolledOut(version=version)
    return Progress(record.host, awaited, present, known.checked, known.changes, known.deployments, known.applied)


def decide(
    known: Decision | None, version: int, vcenters: Iterable[Progress], *, released: bool, suspended: bool = False
) -> Decision:
    """The next step, or the same one with the reason why it is not done.

    `released`: a person's word sends exactly this version everywhere. `suspended`: nothing is carried out anyway, and
    what is noted says nothing of what comes when it is resumed.
    """
    now = known if known is not None and known.version == version else Decision(version)
    if suspended:
        return now if now.phase in (Phase.DONE, Phase.PAUSED) else replace(now, reason="the template is suspended")
    if released and now.phase not in (Phase.WIDE, Phase.DONE):
        return replace(now, phase=Phase.WIDE, reason="")
    seen = sorted((one for one in vcenters if one.present), key=lambda one: one.host)
    match now.phase:
        case Phase.DRY_RUN:
            return _checked(now, seen)
        case Phase.CANARY:
            return _led(now, seen)
        case Phase.WIDE:
            return _spread(now, seen)
    return now


def _checked(now: Decision, seen: Sequence[Progress]) -> Decision:
    if refused := _failing(seen, "checked"):
        return _paused(now, refused)
    known = [one for one in seen if one.checked == OK]
    waits_for = [one.host for one in seen if one.awaited and one.checked is None]
    if waits_for or not known:
        return replace(now, reason=f"dry run: {_waits_for(waits_for or ['a vCenter'])}")
    # One whose Deployments show whether it works, and that is connected, so that they can.
    changing = [one for one in known if one.changes]
    if not changing:
        return replace(now, phase=Phase.WIDE, reason="")
    canary = min(changing, key=lambda one: (not one.awaited, not one.deployments, one.host))
    return replace(now, phase=Phase.CANARY, canary=canary.host, reason="")


def _led(now: Decision, seen: Sequence[Progress]) -> Decision:
    canary = next((one for one in seen if one.host == now.canary), None)
    if canary is None:
        return _paused(now, f"{now.canary}: is gone")
    if refused := _failing([canary], "applied"):
        return _paused(now, refused)
    if canary.applied is None:
        return replace(now, reason=f"waits for the Deployments of {canary.host}")
    return replace(now, phase=Phase.WIDE, reason="")


def _spread(now: Decision, seen: Sequence[Progress]) -> Decision:
    """What fails by now is an ordinary failure: it is told, and stops nothing."""
    left = [one.host for one in seen if one.awaited and one.applied != OK]
    if not left:
        return replace(now, phase=Phase.DONE, reason="")
    return replace(now, reason=_failing(seen, "applied") or _waits_for(left))


def _paused(now: Decision, reason: str) -> Decision:
    return replace(now, phase=Phase.PAUSED, reason=as_reason(reason))


def _failing(seen: Iterable[Progress], what: str) -> str | None:
    failing = [f"{one.host}: {said}" for one in seen if (said := getattr(one, what)) not in (None, OK)]
    return as_reason(failing[0]) if failing else None


def _waits_for(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else ""
    return f"waits for {', '.join(hosts[:_NAMED])}{more}"
