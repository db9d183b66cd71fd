"""Build and change the inventory of a vcsim through the vSphere API, with pyVmomi."""

from __future__ import annotations

import abc
import contextlib
import functools
import importlib
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from tests.stack.errors import StackError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _recorded(
    method: Callable[Concatenate[Inventory, _P], _R],
) -> Callable[Concatenate[Inventory, _P], _R]:
    """Note the call, so that the same inventory can be built again."""

    @functools.wraps(method)
    def call(self: Inventory, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        result = method(self, *args, **kwargs)
        if not self._replaying:
            self._calls.append(lambda: method(self, *args, **kwargs))
        return result

    return call


class Inventory(abc.ABC):
    """What is in one vCenter. Every change returns when the vCenter has it.

    A name that stands for an entity is looked up in the whole inventory; where several have it, their managed object
    ids do as well. Calls are recorded: ``rebuild`` does them again after a restart, with the same managed object ids.
    """

    def __init__(self, address: str, port: int, account: tuple[str, str], ca: Path, folder: Path) -> None:
        """*account* is the user and password that build; *folder* is where datastores have their paths."""
        self._address = address
        self._port = port
        self._account = account
        self._ca = ca
        self._folder = folder
        self._stub: Any = None
        self._content: Any = None
        self._calls: list[Callable[[], object]] = []
        self._replaying = False

    @_recorded
    def add_datacenter(self, name: str, folder: str | None = None) -> str:
        """Add a datacenter, under a folder path (``region/site``) that is made as needed. Its managed object id."""
        parent = self._connected().rootFolder
        for part in (folder or "").split("/"):
            if part:
                parent = self._child(parent, part) or parent.CreateFolder(name=part)
        return str(parent.CreateDatacenter(name=name)._moId)

    @_recorded
    def add_cluster(
        self,
        datacenter: str,
        name: str,
        datastores: Sequence[str] = (),
        portgroups: Sequence[str] = (),
        *,
        hosts: int = 1,
        mounting: int | None = None,
        folder: str | None = None,
    ) -> str:
        """Add a cluster with hosts (at least one), datastores and port groups. Returns its managed object id.

        ``cluster.network`` then lists ``VM Network``, the uplinks of the cluster's switch, and the port groups in
        the order given. A datastore that another cluster of the datacenter has too is shared with it. *mounting* is how
        many of the hosts mount the datastores (all). *folder* is a path below the datacenter's host folder.
        """
        home = self._find("Datacenter", datacenter)
        parent = self._host_folder(home, folder)
        cluster = parent.CreateClusterEx(name=name, spec=self._vim.cluster.ConfigSpecEx())
        for number in range(hosts):
            spec = self._vim.host.ConnectSpec(hostName=f"{name}-host{number}", force=True)
            self._done(cluster.AddHost_Task(spec=spec, asConnected=True))
        self._attach(home, cluster, f"dvs-{cluster._moId}", portgroups)
        self._mount(cluster, datastores, mounting)
        return str(cluster._moId)

    @_recorded
    def move_cluster(self, cluster: str, datacenter: str, folder: str | None = None) -> None:
        """Move a cluster, with its managed object id, to a folder path below a datacenter's host folder."""
        found = self._find("ClusterComputeResource", cluster)
        self.control(move=found._moId, into=self._host_folder(self._find("Datacenter", datacenter), folder)._moId)

    @_recorded
    def move_folder(self, folder: str, datacenter: str, into: str | None = None) -> None:
        """Move a folder of hosts with all that it holds to a folder path below a datacenter's host folder."""
        found = self._find("Folder", folder)
        self.control(move=found._moId, into=self._host_folder(self._find("Datacenter", datacenter), into)._moId)

    @_recorded
    def rename_cluster(self, old: str, new: str) -> None:
        """Rename a cluster; its managed object id stays."""
        self._done(self._find("ClusterComputeResource", old).Rename_Task(newName=new))

    @_recorded
    def rename_datacenter(self, old: str, new: str) -> None:
        """Rename a datacenter."""
        self._done(self._find("Datacenter", old).Rename_Task(newName=new))

    @_recorded
    def add_datastore(self, cluster: str, name: str) -> None:
        """Add a datastore to a cluster: a new one, or one that the datacenter has."""
        self._mount(self._find("ClusterComputeResource", cluster), [name])

    @_recorded
    def remove_datastore(self, name: str) -> None:
        """Destroy a datastore, which takes it from every cluster. (vcsim cannot rename one.)"""
        self._done(self._find("Datastore", name).Destroy_Task())

    @_recorded
    def add_portgroup(self, cluster: str, name: str) -> None:
        """Add a port group at the end of ``cluster.network``, on a switch of its own."""
        found = self._find("ClusterComputeResource", cluster)
        parent = found.parent
        while not isinstance(parent, self._vim.Datacenter):
            parent = parent.parent
        self._attach(parent, found, f"dvs-{found._moId}-{name}", [name])

    @_recorded
    def rename_portgroup(self, cluster: str, old: str, new: str) -> None:
        """Rename a port group of a cluster."""
        self._done(self._portgroup(cluster, old).Rename_Task(newName=new))

    @_recorded
    def remove_portgroup(self, cluster: str, name: str, *, dangling: bool = False) -> None:
        """Destroy a port group of a cluster.

        *dangling* leaves the reference to it in ``cluster.network``, as a collector finds it when the port group is
        destroyed between listing it and reading its name.
        """
        self._done(self._portgroup(cluster, name).Destroy_Task())
        if not dangling:
            self.control(forget_networks=cluster)

    @_recorded
    def remove_cluster(self, name: str) -> None:
        """Destroy a cluster: asked for by its id, it answers ManagedObjectNotFound afterwards."""
        self.control(destroy_cluster=name)

    def networks(self, cluster: str) -> list[str]:
        """Names of ``cluster.network``, in its order."""
        return [str(network.name) for network in self._find("ClusterComputeResource", cluster).network]

    def datastores(self, cluster: str) -> list[str]:
        """Names of ``cluster.datastore``, in its order."""
        return [str(datastore.name) for datastore in self._find("ClusterComputeResource", cluster).datastore]

    def clusters(self) -> dict[str, str]:
        """Managed object id to name, of every cluster."""
        return {str(found._moId): str(found.name) for found in self._all("ClusterComputeResource")}

    def rebuild(self) -> None:
        """Do every recorded call again, on an inventory that a restart emptied."""
        self._replaying = True
        try:
            for call in self._calls:
                call()
        finally:
            self._replaying = False

    @abc.abstractmethod
    def control(self, **change: object) -> dict[str, Any]:
        """Change what the vSphere API has no call for, in ways that the server defines."""

    def _disconnect(self) -> None:
        if self._stub is not None:
            self._stub.DropConnections()
        self._stub = self._content = None

    @property
    def _vim(self) -> Any:
        return importlib.import_module("pyVmomi").vim

    def _connected(self) -> Any:
        """The service content, of a session of the account that builds."""
        if self._content is None:
            pyvmomi: Any = importlib.import_module("pyVmomi")
            context = ssl.create_default_context(cafile=str(self._ca))
            context.check_hostname = False  # we connect to the address, and the certificate names the FQDN alone
            self._stub = pyvmomi.SoapStubAdapter(
                host=self._address, port=self._port, version="vim.version.version9", sslContext=context
            )
            content = self._vim.ServiceInstance("ServiceInstance", self._stub).RetrieveContent()
            user, password = self._account
            content.sessionManager.Login(userName=user, password=password)
            self._content = content
        return self._content

    def _all(self, kind: str) -> list[Any]:
        content = self._connected()
        wanted = [getattr(self._vim, kind)]
        view = content.viewManager.CreateContainerView(container=content.rootFolder, type=wanted, recursive=True)
        try:
            return list(view.view)
        finally:
            view.Destroy()

    def _find(self, kind: str, name: str) -> Any:
        for entity in self._all(kind):
            if name in (entity.name, entity._moId):
                return entity
        raise StackError(f"no {kind} named {name!r}")

    def _host_folder(self, datacenter: Any, path: str | None) -> Any:
        """The folder at a path below the datacenter's host folder, made as needed."""
        parent = datacenter.hostFolder
        for part in (path or "").split("/"):
            if part:
                parent = self._child(parent, part) or parent.CreateFolder(name=part)
        return parent

    def _child(self, folder: Any, name: str) -> Any:
        return next((child for child in folder.childEntity if child.name == name), None)

    def _portgroup(self, cluster: str, name: str) -> Any:
        for network in self._find("ClusterComputeResource", cluster).network:
            if network.name == name:
                return network
        raise StackError(f"cluster {cluster!r} has no port group {name!r}")

    def _attach(self, datacenter: Any, cluster: Any, switch: str, portgroups: Sequence[str]) -> None:
        """A switch with the port groups, which the cluster's hosts join: only then do they show in cluster.network."""
        vim = self._vim
        # A folder of its own, since the names of port groups must differ within a folder only.
        folder = datacenter.networkFolder.CreateFolder(name=switch)
        spec = vim.DistributedVirtualSwitch.CreateSpec(configSpec=vim.DistributedVirtualSwitch.ConfigSpec(name=switch))
        dvs = self._done(folder.CreateDVS_Task(spec=spec))
        if portgroups:
            specs = [
                vim.dvs.DistributedVirtualPortgroup.ConfigSpec(name=name, type="earlyBinding", numPorts=1)
                for name in portgroups
            ]
            self._done(dvs.AddDVPortgroup_Task(spec=specs))
        joining = [vim.dvs.HostMember.ConfigSpec(operation="add", host=host) for host in cluster.host]
        change = vim.DistributedVirtualSwitch.ConfigSpec(configVersion=dvs.config.configVersion, host=joining)
        self._done(dvs.ReconfigureDvs_Task(spec=change))

    def _mount(self, cluster: Any, names: Sequence[str], mounting: int | None = None) -> None:
        for host in cluster.host[:mounting] if names else ():
            system = host.configManager.datastoreSystem
            for name in names:
                path = self._folder / quote(name, safe="")
                path.mkdir(parents=True, exist_ok=True)
                # Mounting one that exists works, but vcsim's answer names no datastore, and pyVmomi cannot read that.
                with contextlib.suppress(KeyError):
                    system.CreateLocalDatastore(name=name, path=str(path))
        if missing := set(names) - ({datastore.name for datastore in cluster.datastore} if names else set()):
            raise StackError(f"cluster {cluster.name!r} did not take datastores {sorted(missing)}")

    def _done(self, task: Any, timeout: float = 20) -> Any:
        """The task's result; a StackError when it fails. Polled: pyVmomi's WaitForTask fails on vcsim."""
        deadline = time.monotonic() + timeout
        while (info := task.info).state not in ("success", "error"):
            if time.monotonic() > deadline:
                raise StackError(f"{info.descriptionId}: not done after {timeout:g} s")
            time.sleep(0.01)
        if info.state == "error":
            raise StackError(f"{info.descriptionId}: {type(info.error).__name__}: {getattr(info.error, 'msg', '')}")
        return info.result
