"""The `VCenter` resources as they are now, without asking each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.kubernetes.crds import VCENTERS
from vcenter_operator.common.kubernetes.live import LiveView


class RecordView(LiveView[str, dict[str, Any]]):
    """Whole resources by name, but for `managedFields`.

    It may be a moment behind: what is decided by it is written with the resourceVersion as precondition.
    """

    def __init__(self, client: ApiClient, namespace: str) -> None:
        super().__init__(client, replace(VCENTERS, namespace=namespace))
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, noticed: Callable[[str], None]) -> None:
        """Calls back with the name of every resource that somebody else made, deleted, or changed beyond its status."""
        self._listeners.append(noticed)

    def named(self, name: str) -> dict[str, Any] | None:
        """One resource; None: there is none."""
        return self._items.get(name)

    def reduced(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """See `LiveView.reduced`."""
        metadata = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
        return {**item, "metadata": metadata}

    def key(self, one: dict[str, Any]) -> str:
        """See `LiveView.key`."""
        return str(one["metadata"]["name"])

    def version(self, one: dict[str, Any]) -> int:
        """See `LiveView.version`."""
        return int(one["metadata"]["resourceVersion"])

    def changed(self, before: dict[str, Any] | None, after: dict[str, Any] | None, *, own: bool) -> None:
        """See `LiveView.changed`."""
        if own or (one := after or before) is None or _said(before) == _said(after):
            return
        for noticed in self._listeners:
            noticed(self.key(one))


def _said(resource: Mapping[str, Any] | None) -> tuple[Any, ...] | None:
    """What people say on it, and the ApplySet's metadata."""
    if resource is None:
        return None
    metadata = resource["metadata"]
    return metadata["uid"], metadata.get("labels"), metadata.get("annotations"), resource.get("spec")
