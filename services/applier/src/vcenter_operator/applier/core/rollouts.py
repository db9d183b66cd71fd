"""Templates that are rolled out step by step: what waits for its turn, and what a vCenter notes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcenter_operator.applier.core.decisions import Change, Plan, Withheld
from vcenter_operator.applier.core.describe import describe_object
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.policies import templates_of
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta, Rollout, Step, as_reason
from vcenter_operator.common.record.port import OK, RolledOut

Checked = Mapping[ObjectId, tuple[str, str]]
"""Digest of a manifest that the server was shown, and what it said: `ok`, or what it refuses."""


def waiting(delta: ManifestDelta) -> frozenset[str]:
    """Templates of which nothing is written yet."""
    return frozenset(template for template, rollout in delta.rollouts.items() if rollout.step is Step.CHECK)


def to_check(plan: Plan) -> list[Change]:
    """What waits for its turn, and is to be written then."""
    held = (one.item for one in plan.withheld if one.by is Withheld.ROLLING_OUT)
    return [item for item in held if isinstance(item, Change)]


def deployments_of(delta: ManifestDelta, template: str) -> list[ObjectId]:
    """The Deployments that a template yields for this vCenter."""
    return [one for one, entry in delta.index.items() if entry.template == template and _is_deployment(one)]


def availability(deployment: Mapping[str, Any] | None) -> str | None:
    """`ok`: all its replicas are new and available; else what fails. None: not yet.

    As `kubectl rollout status` reads a Deployment.
    """
    if deployment is None:
        return None
    spec, status = deployment["spec"], deployment.get("status") or {}
    if int(status.get("observedGeneration") or 0) < int(deployment["metadata"]["generation"]):
        return None
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return f"ProgressDeadlineExceeded: {condition.get('message') or 'no message'}"
    wanted, updated = int(spec.get("replicas", 1)), int(status.get("updatedReplicas") or 0)
    there, available = int(status.get("replicas") or 0), int(status.get("availableReplicas") or 0)
    return OK if there <= updated and min(updated, available) >= wanted else None


def together(said: Mapping[ObjectId, str | None]) -> str | None:
    """What several come to: what fails first, then what is not known yet."""
    for object_id, one in sorted(said.items()):
        if one not in (None, OK):
            return as_reason(f"{describe_object(object_id)}: {one}")
    return None if None in said.values() else OK


def noted(
    before: Mapping[str, RolledOut] | None,
    delta: ManifestDelta,
    plan: Plan,
    outcome: Outcome,
    checked: Checked,
    available: Mapping[str, str | None],
) -> dict[str, RolledOut] | None:
    """`Applied.rollouts` after a plan; None: nothing is rolled out step by step.

    `available`: what the Deployments of templates come to of which this vCenter is the canary. Where a template is
    suspended or fails to render, a plan says nothing about it, and what was noted stays.
    """
    notes: dict[str, RolledOut] = {}
    for template, rollout in delta.rollouts.items():
        known = (before or {}).get(template)
        last = known if known is not None and known.version == rollout.version else _new(rollout)
        if template in delta.suspended or _fails(delta, template):
            notes[template] = last
        elif rollout.step is Step.CHECK:
            notes[template] = _checked(rollout, template, plan, outcome, checked)
        else:
            applied = _applied(template, plan, outcome)
            if applied == OK and rollout.step is Step.CANARY:
                applied = available.get(template)
            notes[template] = last.model_copy(update={"applied": applied})
    return notes or None


def _checked(rollout: Rollout, template: str, plan: Plan, outcome: Outcome, checked: Checked) -> RolledOut:
    said: dict[ObjectId, str | None] = _refused(template, plan, outcome)
    said |= {left.id: None for left in (*plan.lacking, *plan.waiting) if left.template == template}
    held = [one for one in plan.withheld if one.by is Withheld.ROLLING_OUT and template in templates_of(one.item)]
    changes = [one.item for one in held if isinstance(one.item, Change)]
    for change in changes:
        digest, answer = checked.get(change.id, ("", ""))
        said[change.id] = answer if digest == change.digest else None
    return RolledOut(
        version=rollout.version,
        checked=together(said),
        changes=len(held),
        deployments=sum(_is_deployment(change.id) for change in changes),
    )


def _applied(template: str, plan: Plan, outcome: Outcome) -> str | None:
    said: dict[ObjectId, str | None] = _refused(template, plan, outcome)
    said |= {left.id: None for left in (*plan.lacking, *plan.waiting) if left.template == template}
    said |= {one.id: None for one in plan.withheld if template in templates_of(one.item)}
    said |= {one.id: one.error if one.permanent else None for one in outcome.failed if one.template == template}
    failing = together(said)
    return None if failing == OK and outcome.interrupted is not None else failing


def _refused(template: str, plan: Plan, outcome: Outcome) -> dict[ObjectId, str | None]:
    """What the server refused before; not what is put off because others undo it."""
    return {
        left.id: left.reason for left in plan.refused if left.template == template and left.id not in outcome.paused
    }


def _fails(delta: ManifestDelta, template: str) -> bool:
    """Whether the template, or all of them, could not be rendered for some unit."""
    return any(one.template == template or (one.template, one.unit) == (None, None) for one in delta.unknown)


def _is_deployment(object_id: ObjectId) -> bool:
    return (object_id.group, object_id.kind) == ("apps", "Deployment")


def _new(rollout: Rollout) -> RolledOut:
    return RolledOut(version=rollout.version)
