"""Everything about the clusters of a vCenter in one property-collector call: what to ask, and what the answer says.

One `RetrievePropertiesEx` walks from a view of all clusters to their datastores and networks, and up through
whatever folders there are to the datacenter (vSphere Web Services SDK Programming Guide, "PropertyCollector").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vcenter_operator.collector.adapters.connection import vim, vmodl
from vcenter_operator.collector.core.model import (
    ABSENT,
    Answer,
    Member,
    Members,
    Reference,
    SeenCluster,
    Snapshot,
    Unreadable,
)
from vcenter_operator.collector.ports import SessionEnded


def everything(view: Any) -> Any:
    """The filter spec for all that matters about the clusters in a container view."""
    collector = vmodl.query.PropertyCollector

    def walk(name: str, of: Any, path: str, *further: Any, skip: bool = False) -> Any:
        return collector.TraversalSpec(name=name, type=of, path=path, skip=skip, selectSet=list(further))

    def read(of: Any, *properties: str) -> Any:
        return collector.PropertySpec(type=of, all=False, pathSet=list(properties))

    upwards = collector.SelectionSpec(name="folder to parent")
    clusters = walk(
        "view to cluster",
        vim.view.ContainerView,
        "view",
        walk("cluster to datastore", vim.ClusterComputeResource, "datastore"),
        walk("cluster to network", vim.ClusterComputeResource, "network"),
        walk(
            "cluster to parent",
            vim.ClusterComputeResource,
            "parent",
            walk("folder to parent", vim.Folder, "parent", upwards),
        ),
    )
    return collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=view, skip=True, selectSet=[clusters])],
        propSet=[
            read(vim.ClusterComputeResource, "name", "parent", "datastore", "network"),
            read(vim.Folder, "parent"),
            read(vim.Datacenter, "name"),
            read(vim.Datastore, "name"),
            read(vim.Network, "name"),
        ],
    )


@dataclass(frozen=True)
class Properties:
    """What was answered about one managed object."""

    values: Mapping[str, Any]
    faults: Mapping[str, Any]
    """Property to the vmodl.MethodFault that stood in its place."""

    def get(self, name: str) -> Any | Unreadable:
        """The property's value. One that is neither answered nor explained is unreadable too."""
        if name in self.values:
            return self.values[name]
        return fault_text(self.faults[name]) if name in self.faults else Unreadable(f"'{name}' was not answered")

    def name(self) -> Answer:
        """The object's name; ABSENT if it was deleted before that could be read."""
        if isinstance(self.faults.get("name"), vmodl.fault.ManagedObjectNotFound):
            return ABSENT
        name: str | Unreadable = self.get("name")
        return name


Answered = dict[Reference, Properties]


def answered(contents: Iterable[Any]) -> Answered:
    """The ObjectContents of an answer by managed object. Raises SessionEnded."""
    objects = {}
    for content in contents:
        faults = {missing.path: missing.fault for missing in content.missingSet}
        if any(isinstance(fault, vim.fault.NotAuthenticated) for fault in faults.values()):
            raise SessionEnded("the session is not valid any more")
        objects[reference(content.obj)] = Properties({each.name: each.val for each in content.propSet}, faults)
    return objects


def snapshot(objects: Answered, ask: Callable[[Sequence[Reference]], Mapping[Reference, Answer]]) -> Snapshot:
    """What the answer to `everything` says. What clusters list and the answer lacks is asked for by itself.

    A cluster that was destroyed before its name could be read is not in it, as if the view had not held it.
    """
    clusters = [properties for ref, properties in objects.items() if ref.kind == "ClusterComputeResource"]
    listed = (cluster.get(path) for cluster in clusters for path in ("datastore", "network"))
    members = {reference(each) for members in listed if not isinstance(members, Unreadable) for each in members}
    lacking = sorted(members - objects.keys())
    reading = _Reading(objects, ask(lacking) if lacking else {})
    return Snapshot(
        tuple(
            SeenCluster(
                moid=ref.moid,
                name=properties.get("name"),
                datacenter=reading.datacenter(properties),
                datastores=reading.members(properties, "datastore"),
                networks=reading.members(properties, "network"),
            )
            for ref, properties in objects.items()
            if ref.kind == "ClusterComputeResource" and properties.name() is not ABSENT
        )
    )


class _Reading:
    def __init__(self, objects: Answered, asked: Mapping[Reference, Answer]) -> None:
        self._objects = objects
        self._asked = asked

    def datacenter(self, cluster: Properties) -> str | Unreadable:
        """Upwards through folders, to any depth."""
        passed: set[Reference] = set()
        parent = cluster.get("parent")
        while parent is not None and not isinstance(parent, Unreadable):
            ref = reference(parent)
            if ref in passed or ref not in self._objects:
                return Unreadable(f"{ref} was not answered")
            if ref.kind == "Datacenter":
                name: str | Unreadable = self._objects[ref].get("name")
                return name
            passed.add(ref)
            parent = self._objects[ref].get("parent")
        return parent or Unreadable("it is in no datacenter")

    def members(self, cluster: Properties, path: str) -> Members:
        """In the order of the cluster's own list; without what was deleted since."""
        listed = cluster.get(path)
        if isinstance(listed, Unreadable):
            return listed
        members = ((reference(each), self._name(reference(each))) for each in listed)
        return tuple(Member(ref, name) for ref, name in members if name is not ABSENT)

    def _name(self, ref: Reference) -> Answer:
        if ref in self._objects:
            return self._objects[ref].name()
        return self._asked.get(ref, Unreadable("it was not asked"))


def reference(managed_object: Any) -> Reference:
    """The plain reference of a pyVmomi object."""
    return Reference(type(managed_object)._wsdlName, managed_object._GetMoId())  # noqa: SLF001 - pyVmomi has no other


def fault_text(fault: Any) -> Unreadable:
    """A fault that stood in the place of a value."""
    return Unreadable(describe(fault))


def describe(fault: Any) -> str:
    """The name of a fault and what the vCenter says about it, on one line."""
    name = type(fault).__name__.rpartition(".")[2]
    message = " ".join((getattr(fault, "msg", None) or "").split())
    return f"{name}: {message}" if message else name
