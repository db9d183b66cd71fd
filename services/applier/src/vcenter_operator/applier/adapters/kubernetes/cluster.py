"""The cluster port on the API server.

An update names uid and resourceVersion of the object as it was just seen to be ours; where only the version moved (a
controller writes the status all the time) it is read and tried again. A create is applied without force: whatever
appeared under the id since it was seen to be free wins, and shows as a conflict.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self, TypeVar

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.applier.adapters.kubernetes.failures import at_the_port
from vcenter_operator.applier.adapters.kubernetes.kinds import Kinds, Served
from vcenter_operator.applier.adapters.kubernetes.live import Live
from vcenter_operator.applier.adapters.kubernetes.parent import Parents, Scope
from vcenter_operator.applier.adapters.kubernetes.reading import Reading
from vcenter_operator.applier.adapters.kubernetes.writing import DryRunWrites, RealWrites
from vcenter_operator.applier.core.adoption import is_template
from vcenter_operator.applier.core.observed import CLAIMED_BY, Claim, GroupKind, Observed
from vcenter_operator.applier.core.ownedfields import released
from vcenter_operator.applier.ports import Changed, Guard, Holdings, Known, OnAnswer, Place, place_of
from vcenter_operator.common import labels
from vcenter_operator.common.errors import PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.errors import Conflict, Forbidden, NotFound, Rejected
from vcenter_operator.common.kubernetes.recordview import RecordView

_T = TypeVar("_T")
_TRIES = 3
_NEVER = "1"
_DEPLOYMENTS = Resource("apps", "v1", "deployments")


class KubernetesCluster:
    """See `ports.Cluster`. `namespace` is the operator's own."""

    dry_run: ClassVar[bool] = False
    _writes_of: ClassVar[type[RealWrites | DryRunWrites]] = RealWrites

    def __init__(self, api: Api, namespace: str, *, concurrency: int = 10, records: RecordView | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._kinds = Kinds(api)
        self._reading = Reading(api, self._kinds, namespace, concurrency)
        self._writes = self._writes_of(api)
        self._records = records
        self._parents = Parents(api, self._writes, namespace, records)
        self._live: Live | None = None
        self._barred: dict[Place, str] = {}

    @asynccontextmanager
    async def watching(self, client: ApiClient) -> AsyncIterator[Self]:
        """While entered, what is owned is watched, and known without asking."""
        self._live = Live(client, self._kinds, self._reading, self._namespace)
        try:
            yield self
        finally:
            await self._live.close()
            self._live = None

    def listen(self, noticed: Callable[[str], None]) -> None:
        """See `Cluster.listen`: changes of the parent count too."""
        if self._live is not None:
            self._live.noticed = noticed
        if self._records is not None:
            self._records.listen(noticed)

    def known(self, host: str, places: Collection[Place], ids: Collection[ObjectId]) -> Known | None:
        """See `Cluster.known`: what is not in any ApplySet cannot be known."""
        if self._live is None or (scope := self._parents.known_scope(host)) is None:
            return None
        wanted, barred = {*scope.places, *places}, self._barred_beside(scope, places)
        objects = self._live.members(host, wanted - barred.keys())
        if objects is None:
            return None
        holdings = Holdings(objects, scope.kinds, scope.namespaces, barred=barred)
        return Known(holdings, self._live.others(host, ids))

    async def owned(self, host: str, places: Collection[Place], *, afresh: bool = True) -> Holdings:
        """See `Cluster.owned`: one list for each kind and namespace, unless all of them are watched."""
        with at_the_port():
            scope = None if afresh else self._parents.known_scope(host)
            if scope is None:
                scope = await self._parents.scope(host)
            wanted, barred = {*scope.places, *places}, self._barred_beside(scope, places)
            if self._live is not None:
                await self._live.follow(host, wanted - barred.keys())
                objects = self._live.members(host, wanted)
                if not afresh and objects is not None:
                    return Holdings(objects, scope.kinds, scope.namespaces)
            holdings = await self._listed(host, scope, places)
            if self._live is not None and holdings.barred.keys() != barred.keys():
                await self._live.follow(host, wanted - holdings.barred.keys())
        return holdings

    async def _listed(self, host: str, scope: Scope, places: Collection[Place]) -> Holdings:
        """What is there now, kinds that are not served, and where the account may not look.

        Members are where the parent names it: there a refusal is raised, since nothing is known then. Beside that,
        where no member ever was, it concerns what is to be written there alone. A set that names nothing yet is none.
        """
        objects: dict[ObjectId, Observed] = {}
        unserved: set[GroupKind] = set()
        barred: dict[Place, str] = {}
        for place, listed in (await self._reading.members(host, {*scope.places, *places})).items():
            if isinstance(listed, Forbidden):
                if place in scope.places or not (scope.kinds or self.dry_run):
                    raise listed
                barred[place] = self._barred[place] = str(listed)
                continue
            self._barred.pop(place, None)
            if listed is None:
                unserved.add(place[0])
                continue
            objects |= {one.id: one for one in listed.objects}
            if self._live is not None:
                self._live.listed(host, place, listed)
        return Holdings(objects, scope.kinds, scope.namespaces, frozenset(unserved & scope.kinds), barred)

    def _barred_beside(self, scope: Scope, places: Collection[Place]) -> dict[Place, str]:
        """Of these places, where the account may not look, as far as that was found out: see `_listed`."""
        beside = (place for place in places if place not in scope.places)
        return {place: self._barred[place] for place in beside if place in self._barred} if scope.kinds else {}

    def forget(self, host: str) -> None:
        """See `Cluster.forget`."""
        if self._live is not None:
            self._live.forget(host)

    async def occupants(self, host: str, ids: Collection[ObjectId], *, afresh: bool = True) -> dict[ObjectId, Observed]:
        """See `Cluster.occupants`: few are asked for one by one, many by a list of their namespace.

        In places that are watched what is in an ApplySet is left out: else each vCenter would list the whole region.
        """
        with at_the_port():
            live = None if afresh else self._live
            told = {place for place in map(place_of, ids) if live is not None and live.knows([place])}
            return await self._reading.occupants(host, ids, told)

    async def apply(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> Observed:
        """See `Cluster.apply`: server-side apply, and a PUT where the server cannot patch (422)."""
        with at_the_port():
            path = (await self._served(object_id, manifest)).resource.path(
                object_id.name, namespace=object_id.namespace
            )
            try:
                answer = await self._apply(path, manifest, current, guard)
            except Rejected as error:
                if error.status != 422 or current is None:
                    raise
                answer = await self._replace(path, manifest, current, guard)
            except NotFound:
                self._kinds.forget(object_id.group)
                raise
            return self._seen(object_id, answer, host)

    async def check(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> None:
        """See `Cluster.check`: the same requests with `dryRun=All`."""
        await self._trial.apply(host, object_id, manifest, current, guard)

    @cached_property
    def _trial(self) -> DryRunCluster:
        return DryRunCluster(self._api, self._namespace)

    async def deployments(self, host: str, namespaces: Collection[str]) -> dict[ObjectId, Mapping[str, Any]]:
        """See `Cluster.deployments`: one list for each namespace."""
        selector = f"{labels.PART_OF}={labels.applyset_id(host, self._namespace)}"
        with at_the_port():
            found = [
                await self._api.list(_DEPLOYMENTS.path(namespace=namespace), label_selector=selector)
                for namespace in sorted(namespaces)
            ]
        return {
            ObjectId("apps", "Deployment", item["metadata"]["namespace"], item["metadata"]["name"]): item
            for listing in found
            for item in listing.items
        }

    async def delete(self, current: Observed, guard: Guard) -> None:
        """See `Cluster.delete`: with uid and resourceVersion as preconditions, in the background.

        Of a kind that is not served, or no more in that version, an object may be there all the same: nothing is said.
        """
        with at_the_port():
            if (path := await self._path(current)) is None:
                raise TransientError(f"{current.kind} is not served just now")

            async def attempt(one: Observed) -> None:
                try:
                    await self._writes.delete(guard, path, uid=one.uid, version=one.version)
                except NotFound:
                    self._kinds.forget(one.id.group)
                    raise
                if self._live is not None:
                    self._live.deleted(one)

            await self._still(current, attempt)

    async def claim(self, current: Observed, claim: Claim, guard: Guard) -> None:
        """See `Cluster.claim`: an annotation, nothing else of the object."""
        await self._annotate(current, {"annotations": {CLAIMED_BY: str(claim)}}, guard)

    async def hand_over(self, current: Observed, guard: Guard) -> None:
        """See `Cluster.hand_over`: label and annotations become those that the claim names."""
        claim = current.claim
        assert claim is not None
        annotations = {
            labels.VCENTER: claim.host,
            labels.TEMPLATE: claim.template,
            labels.UNIT: str(claim.unit),
            labels.DIGEST: None,
            CLAIMED_BY: None,
        }
        part_of = {labels.PART_OF: labels.applyset_id(claim.host, self._namespace)}
        await self._annotate(current, {"labels": part_of, "annotations": annotations}, guard)

    async def contain(self, host: str, kinds: Collection[GroupKind], namespaces: Collection[str], guard: Guard) -> None:
        """See `Cluster.contain`."""
        with at_the_port():
            await self._parents.contain(host, kinds, namespaces, guard)

    async def _apply(
        self, path: str, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> dict[str, Any]:
        if current is None:
            return await self._create(path, manifest, guard)

        async def attempt(one: Observed) -> dict[str, Any]:
            sole = await self._unshared(path, manifest, one, guard) if one.shared else one
            return await self._writes.apply(guard, path, _only_if(manifest, sole), force=True)

        return await self._still(current, attempt)

    async def _unshared(self, path: str, manifest: Mapping[str, Any], one: Observed, guard: Guard) -> Observed:
        """Takes from others what they own too and the manifest has no more, so that it goes. Raises Conflict."""
        found = await self._api.get(path, metadata_only=True)
        if found is None or found["metadata"]["resourceVersion"] != one.version:
            raise Conflict(f"{path} changed meanwhile")
        body = _only_if(manifest, one)
        tried = await self._api.apply(path, body, field_manager=labels.FIELD_MANAGER, dry_run=True)
        entries = released(found["metadata"]["managedFields"], tried["metadata"]["managedFields"])
        if entries is None:
            return one
        body = {"metadata": {"uid": one.uid, "resourceVersion": one.version, "managedFields": entries}}
        answer = await self._writes.patch(guard, path, body)
        return replace(one, version=answer["metadata"]["resourceVersion"])

    async def _create(self, path: str, manifest: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
        """A resourceVersion that no object has: whatever stands there is a conflict, even if no field were one."""
        metadata = {**manifest.get("metadata", {}), "resourceVersion": _NEVER}
        try:
            return await self._writes.apply(guard, path, {**manifest, "metadata": metadata}, force=False)
        except Conflict:
            if await self._api.get(path, metadata_only=True) is not None:
                raise
        return await self._writes.apply(guard, path, manifest, force=False)

    async def _replace(self, path: str, manifest: Mapping[str, Any], current: Observed, guard: Guard) -> dict[str, Any]:
        """Finalizers and owners that others set are theirs, and stay: all but a VCenterTemplate."""
        found = await self._api.get(path, metadata_only=True)
        if found is None:
            raise Changed(f"{path} is gone")
        seen = self._reading.observed(current.id, found["metadata"], *([current.host] if current.host else []))
        _unless_changed(current, seen)
        body = _only_if(manifest, seen)
        owners = found["metadata"].get("ownerReferences") or ()
        others = {
            "finalizers": found["metadata"].get("finalizers"),
            "ownerReferences": [owner for owner in owners if not is_template(owner)],
        }
        body["metadata"] = {**{name: value for name, value in others.items() if value}, **body["metadata"]}
        return await self._writes.replace(guard, path, body)

    async def _annotate(self, current: Observed, metadata: Mapping[str, Any], guard: Guard) -> None:
        with at_the_port():
            if (path := await self._path(current)) is None:
                raise TransientError(f"{GroupKind.of(current.id)} is not served just now")
            body = {"metadata": {"uid": current.uid, "resourceVersion": current.version, **metadata}}
            self._seen(current.id, await self._writes.patch(guard, path, body), current.host)

    def _seen(self, object_id: ObjectId, answer: Mapping[str, Any], host: str | None) -> Observed:
        """The object as a write left it."""
        one = self._reading.observed(object_id, answer["metadata"], *([host] if host else []))
        if self._live is not None:
            self._live.wrote(one, answer["metadata"])
        return one

    async def _still(self, current: Observed, attempt: Callable[[Observed], Awaitable[_T]]) -> _T:
        """Does something to an object as it is, as long as nothing but its version changed since it was planned."""
        for _ in range(_TRIES - 1):
            try:
                return await attempt(current)
            except Conflict:
                seen = await self._reading.one(current.id, *([current.host] if current.host else []))
                _unless_changed(current, seen)
                assert seen is not None
                current = seen
        return await attempt(current)

    async def _served(self, object_id: ObjectId, manifest: Mapping[str, Any]) -> Served:
        """Raises TransientError while the kind is not served, PermanentError when its scope does not fit."""
        api_version = str(manifest.get("apiVersion") or "")
        served = await self._kinds.find(GroupKind.of(object_id), api_version.rpartition("/")[2])
        if served is None:
            raise TransientError(f"the server does not know {object_id.kind} in {api_version} (yet)")
        if served.namespaced and not object_id.namespace:
            raise PermanentError(f"{object_id.kind} is namespaced: take it out of the cluster-scoped kinds")
        if object_id.namespace and not served.namespaced:
            raise PermanentError(f"{object_id.kind} is cluster-scoped, and not among the kinds that are allowed")
        return served

    async def _path(self, one: Observed) -> str | None:
        served = await self._kinds.find(GroupKind.of(one.id))
        return None if served is None else served.resource.path(one.id.name, namespace=one.id.namespace)


class DryRunCluster(KubernetesCluster):
    """The same decisions and requests, each write hard-wired to `dryRun=All`: the server checks and changes nothing."""

    dry_run: ClassVar[bool] = True
    _writes_of: ClassVar[type[RealWrites | DryRunWrites]] = DryRunWrites

    def __init__(self, api: Api, namespace: str, *, concurrency: int = 10, on_answer: OnAnswer | None = None) -> None:
        super().__init__(api, namespace, concurrency=concurrency)
        self._on_answer = on_answer

    def _seen(self, object_id: ObjectId, answer: Mapping[str, Any], host: str | None) -> Observed:
        if self._on_answer is not None:
            self._on_answer(object_id, answer)
        return super()._seen(object_id, answer, host)


def _only_if(manifest: Mapping[str, Any], one: Observed) -> dict[str, Any]:
    """The manifest for exactly this object in exactly this version."""
    metadata = {**manifest.get("metadata", {}), "uid": one.uid, "resourceVersion": one.version}
    return {**manifest, "metadata": metadata}


def _unless_changed(planned: Observed, seen: Observed | None) -> None:
    """Raises Changed when anything but the version is different: the plan was made for something else."""
    if seen is None or replace(seen, version=planned.version) != planned:
        raise Changed(f"{planned.id} changed meanwhile")
