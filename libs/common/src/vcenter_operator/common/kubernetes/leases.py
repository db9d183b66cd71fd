"""Epochs as `leaseTransitions` of Leases in the operator's own namespace."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.crds import VCENTERS
from vcenter_operator.common.kubernetes.errors import Conflict, NotFound
from vcenter_operator.common.labels import FIELD_MANAGER
from vcenter_operator.common.record.document import highest_epoch

LEASES = Resource("coordination.k8s.io", "v1", "leases")
RAISED_WITHIN = 30.0
"""Seconds after which a contended epoch is given up, to be tried again by the caller."""


class LeaseEpochs:
    """`Epochs`: one Lease `vcenter-operator-<name>` each, raised by a write that holds only for the version read.

    The Lease is a counter alone: it neither expires nor locks. Its holder names the process that raised it last.
    One that is missing starts above every epoch in the records: where somebody deleted it, all that is stated from then
    on would else be older than what was acted on. It is raised above all others of its stage for the same reason: with
    another number of partitions a vCenter changes its partition, and finds its way back when that is undone.
    """

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._api = Api(client)
        self._leases = replace(LEASES, namespace=namespace)
        self._holder = f"{socket.gethostname()}-{os.getpid()}"

    async def raise_epoch(self, name: str) -> int:
        """See `Epochs.raise_epoch`."""
        try:
            async with asyncio.timeout(RAISED_WITHIN):
                while True:
                    try:
                        return await self._raise_once(name)
                    except Conflict:
                        await asyncio.sleep(random.uniform(0.005, 0.05))  # noqa: S311
        except TimeoutError:
            raise TransientError(f"epoch {name}: could not be raised within {RAISED_WITHIN:.0f} s") from None

    async def _raise_once(self, name: str) -> int:
        path = self._leases.path(lease_name(name))
        lease = await self._api.get(path)
        epoch = await _highest(self._api, self._leases, name) + 1
        spec = {**((lease or {}).get("spec") or {}), **self._spec(epoch)}
        if lease is None:
            new = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
            new["metadata"] = {"name": lease_name(name), "namespace": self._leases.namespace}
            await self._api.create(self._leases.path(), new, field_manager=FIELD_MANAGER)
        else:
            await self._api.replace(path, {**lease, "spec": spec}, field_manager=FIELD_MANAGER)
        return epoch

    def _spec(self, epoch: int) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"holderIdentity": self._holder, "leaseTransitions": epoch, "acquireTime": now, "renewTime": now}


class DryRunLeaseEpochs:
    """`Epochs` above those in the cluster, counted in memory: nothing is written."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._api = Api(client)
        self._leases = replace(LEASES, namespace=namespace)
        self._raised: dict[str, int] = {}

    async def raise_epoch(self, name: str) -> int:
        """See `Epochs.raise_epoch`."""
        known = await _highest(self._api, self._leases, name)
        self._raised[name] = max(self._raised.get(name, 0), known) + 1
        return self._raised[name]


async def _highest(api: Api, leases: Resource, name: str) -> int:
    """The highest epoch that was given out for the stage of `name`, or that any record remembers."""
    stage = lease_name(name).rpartition("-")[0]
    listing = await api.list(leases.path())
    raised = {
        lease["metadata"]["name"]: transitions(lease)
        for lease in listing.items
        if lease["metadata"]["name"].rpartition("-")[0] == stage
    }
    recorded = 0 if raised.get(lease_name(name)) else await _highest_recorded(api, leases.namespace)
    return max(recorded, *raised.values(), 0)


async def _highest_recorded(api: Api, namespace: str | None) -> int:
    """The highest epoch that any record remembers."""
    try:
        listing = await api.list(replace(VCENTERS, namespace=namespace).path())
    except NotFound:
        return 0
    return max(map(highest_epoch, listing.items), default=0)


def lease_name(name: str) -> str:
    """The name of the Lease that counts an epoch."""
    return f"vcenter-operator-{name}"


def transitions(lease: dict[str, Any] | None) -> int:
    """The epoch that a Lease is at; 0: never raised."""
    return int(((lease or {}).get("spec") or {}).get("leaseTransitions") or 0)
