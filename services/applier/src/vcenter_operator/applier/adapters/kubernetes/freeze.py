"""The freeze on Kubernetes: a ConfigMap in the operator's own namespace.

    kubectl create configmap vcenter-operator-freeze -n monsoon3 --from-literal=reason="maintenance of vc-a-0"

While it exists nothing is written to any object, within a second of its creation; its `reason` is shown. Deleting it
goes on where things stood. It is watched, and read afresh before every piece of work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.applier.ports import Frozen
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.kubernetes.watching import Resource, Watched, Watcher

NAME = "vcenter-operator-freeze"


class ConfigMapFreeze:
    """See `ports.Freeze`."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    @classmethod
    @asynccontextmanager
    async def watching(cls, client: ApiClient, namespace: str) -> AsyncIterator[Self]:
        """Watches the ConfigMap while entered."""
        resource = Resource("", "v1", "configmaps", namespace, field_selector=f"metadata.name={NAME}")
        async with Watcher(client, resource) as watcher:
            yield cls(watcher)

    async def look(self) -> None:
        """See `Freeze.look`."""
        await self._watched.fresh()

    def check(self) -> None:
        """See `Freeze.check`."""
        snapshot = self._watched.snapshot
        if snapshot is None:
            raise TransientError("it is not known yet whether everything is frozen")
        for item in snapshot.items.values():
            reason = (item.get("data") or {}).get("reason") or f"ConfigMap {NAME} exists"
            raise Frozen(str(reason).strip())
