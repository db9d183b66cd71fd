"""The parent of a vCenter's ApplySet: its `VCenter` resource (KEP-3659).

Its label has the set's id; annotations name the tool that owns the set, and where members are: group-kinds and
namespaces, sorted, a superset while members are written, exact when that is done.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from importlib.metadata import version
from typing import Any, NamedTuple

from vcenter_operator.applier.adapters.kubernetes.writing import Writes
from vcenter_operator.applier.core.observed import GroupKind
from vcenter_operator.applier.ports import Guard, Place
from vcenter_operator.common import labels
from vcenter_operator.common.errors import PermanentError
from vcenter_operator.common.kubernetes.api import Api
from vcenter_operator.common.kubernetes.crds import VCENTERS
from vcenter_operator.common.kubernetes.recordview import RecordView

_TOOL = "vcenter-operator"
TOOLING = f"{_TOOL}/v{version('vcenter-operator-applier')}"


class Scope(NamedTuple):
    """Where the members of a set are looked for."""

    kinds: frozenset[GroupKind]
    namespaces: frozenset[str]

    @property
    def places(self) -> set[Place]:
        """Each kind in each namespace, and in none."""
        return {(kind, namespace) for kind in self.kinds for namespace in (*self.namespaces, "")}


class Parents:
    """The `VCenter` resources in the operator's namespace, as parents."""

    def __init__(self, api: Api, writes: Writes, namespace: str, view: RecordView | None = None) -> None:
        self._api = api
        self._view = view
        self._writes = writes
        self._namespace = namespace
        self._vcenters = replace(VCENTERS, namespace=namespace)

    async def scope(self, host: str) -> Scope:
        """What the parent names; nothing where it is missing.

        Raises:
            PermanentError: the set belongs to another tool, or its id is not the one made from its name.
        """
        found = await self._api.get(self._vcenters.path(host), metadata_only=True)
        return self._scope(host, found["metadata"] if found else {})

    def known_scope(self, host: str) -> Scope | None:
        """The same, without asking; None: it has to be asked for."""
        if self._view is None or not self._view.current:
            return None
        found = self._view.named(host)
        return self._scope(host, found["metadata"] if found else {})

    async def contain(self, host: str, kinds: Collection[GroupKind], namespaces: Collection[str], guard: Guard) -> None:
        """Makes the parent name exactly these."""
        annotations = {
            labels.APPLYSET_TOOLING: TOOLING,
            labels.CONTAINS_GROUP_KINDS: ",".join(sorted(map(str, kinds))),
            labels.MEMBERS_IN: ",".join(sorted(set(namespaces) - {""})),
        }
        # The empty value is reserved (KEP-3659): without namespaces the annotation is left out.
        if others := sorted(set(namespaces) - {self._namespace, ""}):
            annotations[labels.ADDITIONAL_NAMESPACES] = ",".join(others)
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": labels.VCENTER_KIND,
            "metadata": {
                "name": host,
                "namespace": self._namespace,
                "labels": {labels.APPLYSET_ID: labels.applyset_id(host, self._namespace)},
                "annotations": annotations,
            },
        }
        written = await self._writes.apply_parent(guard, self._vcenters.path(host), body)
        if self._view is not None:
            self._view.wrote(self._view.reduced(written))

    def _scope(self, host: str, metadata: dict[str, Any]) -> Scope:
        annotations = metadata.get("annotations") or {}
        tooling = annotations.get(labels.APPLYSET_TOOLING)
        if tooling is not None and tooling.partition("/")[0] != _TOOL:
            raise PermanentError(f"VCenter {host}: its ApplySet belongs to {tooling}, and is left to it")
        set_id = (metadata.get("labels") or {}).get(labels.APPLYSET_ID)
        if set_id is not None and set_id != labels.applyset_id(host, self._namespace):
            raise PermanentError(f"VCenter {host}: label {labels.APPLYSET_ID} is not the id made from its name")
        kinds = _split(annotations.get(labels.CONTAINS_GROUP_KINDS))
        named = annotations.get(labels.MEMBERS_IN, self._namespace if kinds else "")
        namespaces = (*_split(named), *_split(annotations.get(labels.ADDITIONAL_NAMESPACES)))
        return Scope(frozenset(GroupKind.parse(kind) for kind in kinds), frozenset(namespaces))


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]
