"""A cluster in memory, with uids, resourceVersions and finalizers, that shows every write to a witness first."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vcenter_operator.applier.core.observed import CLAIMED_BY, Claim, GroupKind, Observed, observe
from vcenter_operator.applier.ports import Changed, Guard, Holdings, Known, Place
from vcenter_operator.common import labels
from vcenter_operator.common.identity import ObjectId

OURS = "as applied"
"""The fields of an object that are ours, where nobody else took one."""


@dataclass(frozen=True)
class Write:
    """One write that is about to happen. `actor`: the vCenter on whose behalf."""

    actor: str
    action: str
    id: ObjectId
    before: Observed | None
    metadata: Mapping[str, Any]


class SimulatedCluster:
    """Keeps the port `Cluster`. `witness` sees each write once its preconditions held, and may raise."""

    dry_run: bool = False

    def __init__(self, namespace: str, witness: Callable[[Write], None] = lambda _: None) -> None:
        self.witness = witness
        self.objects: dict[ObjectId, Observed] = {}
        self.metadata: dict[ObjectId, dict[str, Any]] = {}
        self._namespace = namespace
        self._count = itertools.count(1)

    def put(
        self, object_id: ObjectId, metadata: Mapping[str, Any], *, anew: bool = False, fields: str = ""
    ) -> Observed:
        """Makes the object be so, whoever's it is; with a new uid where it did not exist, or `anew`.

        `fields`: those of ours that it has.
        """
        before = None if anew else self.objects.get(object_id)
        version = str(next(self._count))
        stored = {**metadata, "uid": before.uid if before else f"uid-{version}", "resourceVersion": version}
        one = observe(object_id, stored, namespace=self._namespace, hosts=[], ours=True, fields=fields)
        self.metadata[object_id], self.objects[object_id] = stored, one
        return one

    def remove(self, object_id: ObjectId) -> None:
        """Takes it out, finalizers or not."""
        self.objects.pop(object_id, None)
        self.metadata.pop(object_id, None)

    def finish(self) -> None:
        """What is being deleted is gone."""
        for one in [one for one in self.objects.values() if one.terminating]:
            self.remove(one.id)

    def listen(self, noticed: Callable[[str], None]) -> None:
        """See `Cluster.listen`."""

    def known(self, host: str, places: Collection[Place], ids: Collection[ObjectId]) -> Known | None:
        """See `Cluster.known`: it has to be looked at."""
        return None

    def forget(self, host: str) -> None:
        """See `Cluster.forget`."""

    async def owned(self, host: str, places: Collection[Place], *, afresh: bool = True) -> Holdings:
        """See `Cluster.owned`."""
        return Holdings({one.id: one for one in self.objects.values() if one.host == host})

    async def occupants(self, host: str, ids: Collection[ObjectId], *, afresh: bool = True) -> dict[ObjectId, Observed]:
        """See `Cluster.occupants`."""
        return {object_id: self.objects[object_id] for object_id in ids if object_id in self.objects}

    async def apply(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> Observed:
        """See `Cluster.apply`."""
        before = self._unless_changed(object_id, current)
        self._write(host, "update" if before else "create", object_id, before, manifest["metadata"], guard)
        finalizers = (self.metadata.get(object_id) or {}).get("finalizers")
        return self.put(object_id, {**manifest["metadata"], "finalizers": finalizers}, fields=OURS)

    async def check(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> None:
        """See `Cluster.check`."""
        self._unless_changed(object_id, current)
        guard()

    async def deployments(self, host: str, namespaces: Collection[str]) -> dict[ObjectId, Mapping[str, Any]]:
        """See `Cluster.deployments`: there is no more than metadata."""
        return {}

    async def delete(self, current: Observed, guard: Guard) -> None:
        """See `Cluster.delete`."""
        if current.id not in self.objects:
            return
        before = self._unless_changed(current.id, current)
        self._write(current.host or "", "delete", current.id, before, {}, guard)
        if current.lingers:
            self.objects[current.id] = replace(current, terminating=True, version=str(next(self._count)))
        else:
            self.remove(current.id)

    async def claim(self, current: Observed, claim: Claim, guard: Guard) -> None:
        """See `Cluster.claim`."""
        self._edit(claim.host, "claim", current, {}, {CLAIMED_BY: str(claim)}, guard)

    async def hand_over(self, current: Observed, guard: Guard) -> None:
        """See `Cluster.hand_over`."""
        claim = current.claim
        assert claim is not None
        part_of = {labels.PART_OF: labels.applyset_id(claim.host, self._namespace)}
        annotations = {
            labels.VCENTER: claim.host,
            labels.TEMPLATE: claim.template,
            labels.UNIT: str(claim.unit),
            labels.DIGEST: None,
            CLAIMED_BY: None,
        }
        self._edit(current.host or "", "hand over", current, part_of, annotations, guard)

    async def contain(self, host: str, kinds: Collection[GroupKind], namespaces: Collection[str], guard: Guard) -> None:
        """See `Cluster.contain`."""

    def _edit(
        self,
        actor: str,
        action: str,
        current: Observed,
        new_labels: Mapping[str, str],
        annotations: Mapping[str, str | None],
        guard: Guard,
    ) -> None:
        before = self._unless_changed(current.id, current)
        metadata = self.metadata[current.id]
        merged = {**(metadata.get("annotations") or {}), **annotations}
        edited = {
            **metadata,
            "labels": {**(metadata.get("labels") or {}), **new_labels},
            "annotations": {name: value for name, value in merged.items() if value is not None},
        }
        self._write(actor, action, current.id, before, edited, guard)
        self.put(current.id, edited, fields=current.fields)

    def _unless_changed(self, object_id: ObjectId, current: Observed | None) -> Observed | None:
        there = self.objects.get(object_id)
        if (there and (there.uid, there.version)) != (current and (current.uid, current.version)):
            raise Changed(f"{object_id} changed meanwhile")
        return there

    def _write(
        self,
        actor: str,
        action: str,
        object_id: ObjectId,
        before: Observed | None,
        metadata: Mapping[str, Any],
        guard: Guard,
    ) -> None:
        guard()
        self.witness(Write(actor, action, object_id, before, metadata))


class TriedCluster(SimulatedCluster):
    """A dry run on another cluster: what is there now, and writes that are lost."""

    dry_run = True

    def __init__(self, cluster: SimulatedCluster, namespace: str) -> None:
        super().__init__(namespace)
        self.objects, self.metadata = dict(cluster.objects), copy.deepcopy(cluster.metadata)
