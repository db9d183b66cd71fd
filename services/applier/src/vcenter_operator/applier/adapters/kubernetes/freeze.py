"""The freeze on Kubernetes: a ConfigMap in the operator's own namespace.

    kubectl create configmap vcenter-operator-freeze -n monsoon3 --from-literal=reason="maintenance of vc-a-0"

While it exists nothing is written to any object, within a second of its creation; its `reason` is shown. Deleting it
goes on where things stood. It is watched, and read afresh before every piece of work,
and twice a second while that goes on: a watch that the other side forgot tells nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.applier.ports import ClusterAway, Frozen
from vcenter_operator.common.errors import OperatorError, TransientError
from vcenter_operator.common.kubernetes.watching import Resource, Watched, Watcher

NAME = "vcenter-operator-freeze"

_EVERY = 0.4
"""Seconds between two looks while something is written."""
_KNOWN_FOR = 5.0
"""Seconds after which what was seen counts no more while something is written: looks have failed since."""


class ConfigMapFreeze:
    """See `ports.Freeze`."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._looked_at = 0.0
        self._attending = 0
        self._looking: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def watching(cls, client: ApiClient, namespace: str) -> AsyncIterator[Self]:
        """Watches the ConfigMap while entered."""
        resource = Resource("", "v1", "configmaps", namespace, field_selector=f"metadata.name={NAME}")
        async with Watcher(client, resource) as watcher:
            yield cls(watcher)

    async def look(self) -> None:
        """See `Freeze.look`."""
        began = time.monotonic()
        await self._watched.fresh()
        self._looked_at = began

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """See `Freeze.attended`. All that write at the same time share the looks."""
        if self._attending == 0:
            self._looked_at = time.monotonic()
            self._looking = asyncio.create_task(self._keep_looking(), name="freeze")
        self._attending += 1
        try:
            yield
        finally:
            self._attending -= 1
            if self._attending == 0 and self._looking is not None:
                self._looking.cancel()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            with suppress(OperatorError, TimeoutError):
                async with asyncio.timeout(_KNOWN_FOR / 2):
                    await self.look()

    def check(self) -> None:
        """See `Freeze.check`."""
        snapshot = self._watched.snapshot
        if snapshot is None:
            raise TransientError("it is not known yet whether everything is frozen")
        if self._attending and time.monotonic() - self._looked_at > _KNOWN_FOR:
            raise ClusterAway(f"whether everything is frozen could not be read for {_KNOWN_FOR:.0f} s")
        for item in snapshot.items.values():
            reason = (item.get("data") or {}).get("reason") or f"ConfigMap {NAME} exists"
            raise Frozen(str(reason).strip())
