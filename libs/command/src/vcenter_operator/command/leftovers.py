"""What `vcenter-operator leftovers` does: lists what the deployed operator made and nobody wants any more.

That one never deleted what it forgot. An object that is wanted is adopted; so what is left of its objects, once every
vCenter is as stated, is wanted by none. As long as one is not, nobody can tell, and no command to delete is offered.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from vcenter_operator.applier.core.adoption import is_of_deployed_operator, owning_template
from vcenter_operator.command.status.broker import names_of
from vcenter_operator.command.status.model import VCenter
from vcenter_operator.command.status.reading import vcenter_of
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.errors import OperatorError
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import TEMPLATES, VCENTERS
from vcenter_operator.common.kubernetes.errors import NotFound
from vcenter_operator.common.settings import Settings

EXIT_NONE, EXIT_LEFT, EXIT_NOT_TOLD = 0, 1, 2
_AT_ONCE = 10
"""Lists asked for at the same time."""
_NEEDED = frozenset({"list", "patch"})
"""Verbs of a kind that can have been applied, and can be looked for."""


@dataclass(frozen=True, order=True)
class Leftover:
    """An object of the deployed operator."""

    namespace: str
    resource: str
    """As kubectl takes it: `deployments.apps`."""
    name: str
    uid: str
    kind: str
    template: str
    """The VCenterTemplate that it names as its owner."""
    since: str
    """When it was made (RFC 3339)."""

    @classmethod
    def of(cls, resource: Resource, item: Mapping[str, Any], kind: str) -> Leftover:
        """By its metadata."""
        metadata = item["metadata"]
        return cls(
            namespace=metadata["namespace"],
            resource=f"{resource.plural}.{resource.group}".rstrip("."),
            name=metadata["name"],
            uid=metadata["uid"],
            kind=kind,
            template=owning_template(metadata) or "",
            since=metadata["creationTimestamp"],
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}  (VCenterTemplate {self.template}, made {self.since})"


@dataclass(frozen=True)
class Found:
    """What there is, and why it may be wanted, or not be all."""

    leftovers: tuple[Leftover, ...]
    doubts: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """For people; the commands to look at the objects, and to delete them where they are in nobody's way."""
        if not self.leftovers:
            return
        wanted = "may be wanted still" if self.doubts else "no vCenter wants"
        yield f"{len(self.leftovers)} objects of the deployed operator that {wanted}:"
        yield from (f"  {one}" for one in self.leftovers)
        for verb in ("get",) if self.doubts else ("get", "delete"):
            for namespace, group in groupby(self.leftovers, lambda one: one.namespace):
                yield f"kubectl {verb} -n {namespace} " + " ".join(f"{one.resource}/{one.name}" for one in group)

    @property
    def exit_code(self) -> int:
        """0: nothing is left; 1: something is; 2: that cannot be told."""
        if self.doubts:
            return EXIT_NOT_TOLD
        return EXIT_LEFT if self.leftovers else EXIT_NONE


async def leftovers(settings: Settings, namespaces: Sequence[str]) -> int:
    """Lists them, in these namespaces besides those that have templates. Returns the exit code.

    Raises:
        ConfigurationError: a setting is wrong.
        TransientError: the API server is away.
    """
    async with connect(settings) as (client, surroundings):
        found = await find(Api(client), surroundings.own_namespace, namespaces, names_of(settings).topology)
    sys.stdout.writelines(f"{line}\n" for line in found.lines())
    sys.stderr.writelines(f"{doubt}\n" for doubt in found.doubts)
    return found.exit_code


async def find(api: Api, own_namespace: str, namespaces: Sequence[str], topology: Topology) -> Found:
    """The same, on a connection. The vCenters are asked for first: what was wanted by then is adopted."""
    records = await _items(api, replace(VCENTERS, namespace=own_namespace))
    doubts = list(unsettled([vcenter_of(record, topology) for record in records]))
    templates = await _items(api, TEMPLATES)
    where = sorted({own_namespace, *namespaces, *(item["metadata"]["namespace"] for item in templates)})
    kinds = await _kinds(api, doubts)
    places = asyncio.Semaphore(_AT_ONCE)

    async def look(kind: str, resource: Resource) -> list[Leftover]:
        async with places:
            try:
                listing = await api.list(resource.path(), metadata_only=True)
            except OperatorError as error:
                doubts.append(f"{resource.plural} in {resource.namespace} could not be listed: {error}")
                return []
        items = (item for item in listing.items if is_of_deployed_operator(item["metadata"]))
        return [Leftover.of(resource, item, kind) for item in items]

    found = await asyncio.gather(*(look(kind, replace(one, namespace=name)) for kind, one in kinds for name in where))
    # One object may answer in two groups: its uid tells.
    left = {one.uid: one for group in found for one in group}
    return Found(tuple(sorted(left.values())), tuple(sorted(doubts)))


def unsettled(vcenters: Sequence[VCenter]) -> Iterator[str]:
    """Why objects may be wanted by a vCenter though they are not adopted, a line for each."""
    if not vcenters:
        yield "no vCenter is known yet, so that what is wanted is not either"
    for vcenter in vcenters:
        applied = next((one for one in vcenter.conditions if one.type == "Applied"), None)
        known = applied is not None and applied.reason != "PartlyUnknown"
        if vcenter.state != "gone" and not (vcenter.state == "ready" and known):
            yield f"{vcenter.name} may want more: {vcenter.trouble or applied or 'nothing is known of it yet'}"


async def _kinds(api: Api, doubts: list[str]) -> list[tuple[str, Resource]]:
    """Every namespaced kind of the server that can be applied, in its preferred version."""
    found = await api.get("/apis") or {}
    groups = [("", "v1"), *(_preferred(group) for group in found.get("groups") or ())]
    kinds: list[tuple[str, Resource]] = []
    for group, version in groups:
        try:
            served = await api.kinds(group, version) or {}
        except OperatorError as error:
            doubts.append(f"kinds of {group} are not known: {error}")
            continue
        kinds += [
            (name, Resource(group, version, kind.plural))
            for name, kind in served.items()
            if kind.namespaced and kind.verbs >= _NEEDED and "/" not in name
        ]
    return kinds


def _preferred(group: Mapping[str, Any]) -> tuple[str, str]:
    return str(group["name"]), str((group.get("preferredVersion") or group["versions"][0])["version"])


async def _items(api: Api, resource: Resource) -> list[dict[str, Any]]:
    """None where the kind is not there: the operator has never run in this cluster."""
    try:
        return (await api.list(resource.path())).items
    except NotFound:
        return []
