"""What `vcenter-operator approve` does: shows what is held for one vCenter, asks, and gives the word for exactly that.

The word is an annotation on the `VCenter`, written only onto the resource as it was shown; where it changed meanwhile
and the same plan is still held, it is written anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.kubernetes.api import Api
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import VCENTERS
from vcenter_operator.common.kubernetes.errors import Conflict
from vcenter_operator.common.record.document import record_of
from vcenter_operator.common.record.orders import APPROVE
from vcenter_operator.common.record.port import Applied
from vcenter_operator.common.settings import Settings

EXIT_APPROVED, EXIT_NOTHING_APPROVED = 0, 1
FIELD_MANAGER = "vcenter-operator-approve"
_TRIES = 8


@dataclass(frozen=True)
class Held:
    """What waits for a word."""

    host: str
    version: str
    """The resourceVersion at which it does."""
    plan: str
    objects: tuple[ObjectId, ...]
    why: str

    def lines(self) -> list[str]:
        """For people: why, then each object, then the name of the plan."""
        listed = [f"- {one.kind} {one.namespace}/{one.name}".replace(" /", " ") for one in sorted(self.objects)]
        return [f"{self.host}: {self.why}", *listed, f"plan {self.plan}: {len(self.objects)} objects would be deleted"]


def held_by(resource: Mapping[str, Any]) -> Held | None:
    """What is held, by a `VCenter` resource; None: nothing is."""
    record = record_of(resource)
    applied = record.applied
    if applied is None or applied.held_plan is None:
        return None
    return Held(record.host, record.version, applied.held_plan, applied.held, _why(applied))


def found(resources: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """The vCenter of that FQDN or first label. Raises ConfigurationError."""
    names = {str(resource["metadata"]["name"]): resource for resource in resources}
    matching = [full for full in names if name in (full, full.partition(".")[0])]
    if len(matching) != 1:
        known = ", ".join(sorted(names)) or "none"
        raise ConfigurationError(f"vCenter {name}: there is no such VCenter in this namespace; there are: {known}")
    return names[matching[0]]


async def approve(settings: Settings, name: str, plan: str | None, ask: Callable[[str], bool]) -> int:
    """Gives the word for what is held, or for `plan` if that is what is held. Returns the exit code.

    Raises:
        ConfigurationError: there is no such vCenter, or a setting is wrong.
        TransientError: the API server is away.
    """
    async with connect(settings) as (client, surroundings):
        return await approve_on(Api(client), surroundings.own_namespace, name, plan, ask)


async def approve_on(api: Api, namespace: str, name: str, plan: str | None, ask: Callable[[str], bool]) -> int:
    """The same, on a connection."""
    vcenters = replace(VCENTERS, namespace=namespace)
    resource = found((await api.list(vcenters.path())).items, name)
    held = held_by(resource)
    if held is None:
        _say(f"{resource['metadata']['name']}: nothing is held")
        return EXIT_NOTHING_APPROVED
    for line in held.lines():
        _say(line)
    if plan is not None and plan != held.plan:
        _say(f"not approved: plan {plan} is not the one that is held")
        return EXIT_NOTHING_APPROVED
    if not ask(f"Delete these {len(held.objects)} objects?"):
        _say("not approved")
        return EXIT_NOTHING_APPROVED
    path = vcenters.path(held.host)
    now: Held | None = held
    for _ in range(_TRIES):
        if now is None or now.plan != held.plan:
            _say("not approved: the plan has changed meanwhile; look again")
            return EXIT_NOTHING_APPROVED
        metadata = {"resourceVersion": now.version, "annotations": {APPROVE: now.plan}}
        try:
            await api.merge_patch(path, {"metadata": metadata}, field_manager=FIELD_MANAGER)
        except Conflict:
            changed = await api.get(path)
            now = held_by(changed) if changed is not None else None
            continue
        _say(f"approved: {held.host} plan {held.plan}")
        return EXIT_APPROVED
    _say("not approved: the VCenter is written by others all the time; try again")
    return EXIT_NOTHING_APPROVED


def _why(applied: Applied) -> str:
    held = next((one.message for one in applied.conditions if one.type == "DeletionHeld"), "")
    return held.partition("; release exactly")[0] or "deletions are held"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
