"""Records as `VCenter` resources: camelCase, a revision as `epoch.sequence`, conditions merged by type.

Both stores keep this shape, so that a folder's record reads like the cluster's. Pure: the clock is handed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from vcenter_operator.common.documents import decoded, encoded, time_text
from vcenter_operator.common.errors import PermanentError
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.record.orders import orders_of
from vcenter_operator.common.record.port import Applied, Collected, Discovered, Record, Rendered, Section
from vcenter_operator.common.record.readiness import READY, readiness

S = TypeVar("S", bound=Section)

_CONDITION_TYPES = "conditionTypes"


def status_with(status: Mapping[str, Any], section: Section, now: datetime) -> dict[str, Any]:
    """The whole status after a stage's section was replaced; equal to `status` where nothing changed."""
    own = section_status(status, section, now)
    stated = {condition["type"] for condition in own["conditions"]}
    foreign = [condition for condition in _foreign(status, section) if condition["type"] not in stated]
    conditions = sorted([*foreign, *own["conditions"]], key=lambda condition: str(condition["type"]))
    return {**status, section.stage.value: own[section.stage], "conditions": conditions}


def section_status(status: Mapping[str, Any], section: Section, now: datetime) -> dict[str, Any]:
    """What a stage states of the status: its section, its conditions, and what becomes of `Ready` by them.

    `lastTransitionTime` is kept from `status` where the condition's status is what it was.
    """
    before = {condition["type"]: condition for condition in status.get("conditions") or ()}
    own = {condition.type: condition for condition in section.conditions if condition.type != READY}
    foreign = [condition for condition in _foreign(status, section) if condition["type"] not in own]
    ready = readiness([*foreign, *(condition.model_dump() for condition in own.values())])
    conditions = []
    for condition in (*(own[kind] for kind in sorted(own)), ready):
        known = before.get(condition.type)
        same = known is not None and known["status"] == condition.status
        since = known["lastTransitionTime"] if known is not None and same else time_text(now)
        conditions.append({**condition.model_dump(), "lastTransitionTime": since})
    fields: dict[str, Any] = encoded(section)
    del fields["conditions"]
    if isinstance(section, Collected):
        fields["clusterCount"] = len(section.clusters)
    if isinstance(section, Applied):
        fields["heldCount"] = len(section.held) if section.held_plan is not None else 0  # else it is memory alone
    if own:
        fields[_CONDITION_TYPES] = sorted(own)
    return {section.stage.value: fields, "conditions": conditions}


def _foreign(status: Mapping[str, Any], section: Section) -> list[Mapping[str, Any]]:
    """The conditions that the stage of a section did not state when it wrote last."""
    before = {READY, *((status.get(section.stage) or {}).get(_CONDITION_TYPES) or ())}
    return [condition for condition in status.get("conditions") or () if condition["type"] not in before]


def states_already(status: Mapping[str, Any], wanted: Mapping[str, Any], stage: Stage) -> bool:
    """Whether the status says all that `section_status` made, and nothing else of this stage."""
    present = {condition["type"]: condition for condition in status.get("conditions") or ()}
    return status.get(stage) == wanted[stage] and all(
        present.get(condition["type"]) == condition for condition in wanted["conditions"]
    )


def record_of(resource: Mapping[str, Any]) -> Record:
    """The record that a `VCenter` resource holds. Fields of a later version of the operator are passed over.

    A section that is not what its stage writes is left out, and is in the record's `problems`, which name the field.
    """
    metadata, status = resource["metadata"], resource.get("status") or {}
    problems: dict[Stage, str] = {}

    def section(kind: type[S]) -> S | None:
        try:
            return _section(kind, metadata["name"], status)
        except PermanentError as error:
            problems[kind.stage] = str(error)
            return None

    return Record(
        host=metadata["name"],
        version=metadata.get("resourceVersion", ""),
        uid=metadata.get("uid", ""),
        discovered=section(Discovered),
        collected=section(Collected),
        rendered=section(Rendered),
        applied=section(Applied),
        orders=orders_of(resource),
        problems=problems,
    )


def highest_epoch(resource: Mapping[str, Any]) -> int:
    """The highest epoch of any revision in a `VCenter` resource, whatever else it holds; 0: none."""
    return max((_epoch(revision) for revision in _revisions(resource.get("status"))), default=0)


def _revisions(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in ("revision", "inventory") and isinstance(item, str):
                yield item
            else:
                yield from _revisions(item)


def _epoch(text: str) -> int:
    try:
        return Revision.parse(text).epoch
    except ValueError:
        return 0


def _section(kind: type[S], host: str, status: Mapping[str, Any]) -> S | None:
    if (fields := status.get(kind.stage)) is None:
        return None
    try:
        own = fields.get(_CONDITION_TYPES) or ()
        conditions = [
            {name: value for name, value in condition.items() if name in ("type", "status", "reason", "message")}
            for condition in status.get("conditions") or ()
            if condition["type"] in own
        ]
        return kind.model_validate({**decoded(kind, fields), "conditions": conditions})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PermanentError(f"VCenter {host}: status.{kind.stage}.{where}: {first['msg']}") from None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise PermanentError(f"VCenter {host}: status.{kind.stage}: {error}") from None
