"""Makes a simulated vCenter what the site file says of it: adds what is missing, and takes nothing away."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyVmomi

from vcenter_operator.common.embedded.site import ClusterDescription, VCenterDescription

_pyvmomi: Any = pyVmomi  # it has no types
vim = _pyvmomi.vim

_PATIENCE = 60.0
_DATASTORES = "/"
"""Every datastore is this folder of vcsim's: it has to be there, and nothing is ever stored."""


def fill(host: str, account: tuple[str, str], ca: Path, description: VCenterDescription, *, port: int = 443) -> None:
    """Datacenters, clusters (with a host each), datastores and port groups.

    Raises:
        OSError: the vCenter has not answered within a minute.
    """
    with _session((host, port), account, ca) as root:
        for name, datacenter in description.datacenters.items():
            home = _child(root.childEntity, name) or root.CreateDatacenter(name=name)
            # All of them before the first port group: of those that come later, vcsim mixes up the networks.
            clusters = {each: _cluster(home, each) for each in datacenter.clusters}
            for each, described in datacenter.clusters.items():
                _fill_cluster(home, clusters[each], described)


@contextmanager
def _session(place: tuple[str, int], account: tuple[str, str], ca: Path) -> Iterator[Any]:
    """The root folder, to who has logged in."""
    stub, content = _greeted(place, ca)
    try:
        content.sessionManager.Login(userName=account[0], password=account[1])
        yield content.rootFolder
        content.sessionManager.Logout()
    finally:
        stub.DropConnections()


def _greeted(place: tuple[str, int], ca: Path) -> tuple[Any, Any]:
    trusting = ssl.create_default_context(cafile=str(ca))
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            stub = _pyvmomi.SoapStubAdapter(*place, version="vim.version.version9", sslContext=trusting)
            return stub, vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _cluster(datacenter: Any, name: str) -> Any:
    cluster = _child(datacenter.hostFolder.childEntity, name)
    if cluster is None:
        cluster = datacenter.hostFolder.CreateClusterEx(name=name, spec=vim.cluster.ConfigSpecEx())
        spec = vim.host.ConnectSpec(hostName=f"{name}-host0", force=True)
        _done(cluster.AddHost_Task(spec=spec, asConnected=True))
    return cluster


def _fill_cluster(datacenter: Any, cluster: Any, described: ClusterDescription) -> None:
    for missing in _missing(described.networks, cluster.network):
        _add_port_group(datacenter, cluster, missing)
    for missing in _missing(described.datastores, cluster.datastore):
        cluster.host[0].configManager.datastoreSystem.CreateLocalDatastore(name=missing, path=_DATASTORES)


def _add_port_group(datacenter: Any, cluster: Any, name: str) -> None:
    """On a switch of its own, which the cluster's host joins: only then does it show in the cluster's networks."""
    folder = datacenter.networkFolder.CreateFolder(name=f"{cluster.name} {name}")
    switch = vim.DistributedVirtualSwitch.ConfigSpec(name=f"{cluster.name} {name} switch")
    dvs = _done(folder.CreateDVS_Task(spec=vim.DistributedVirtualSwitch.CreateSpec(configSpec=switch)))
    group = vim.dvs.DistributedVirtualPortgroup.ConfigSpec(name=name, type="earlyBinding", numPorts=1)
    _done(dvs.AddDVPortgroup_Task(spec=[group]))
    joining = [vim.dvs.HostMember.ConfigSpec(operation="add", host=cluster.host[0])]
    change = vim.DistributedVirtualSwitch.ConfigSpec(configVersion=dvs.config.configVersion, host=joining)
    _done(dvs.ReconfigureDvs_Task(spec=change))


def _missing(names: Iterable[str], entities: Iterable[Any]) -> list[str]:
    there = {entity.name for entity in entities}
    return [name for name in names if name not in there]


def _child(entities: Iterable[Any], name: str) -> Any:
    return next((entity for entity in entities if entity.name == name), None)


def _done(task: Any) -> Any:
    """The task's result. Polled: pyVmomi's own waiting fails on vcsim."""
    deadline = time.monotonic() + _PATIENCE
    while (info := task.info).state not in ("success", "error"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{info.descriptionId}: not done after {_PATIENCE:g} s")
        time.sleep(0.01)
    if info.state == "error":
        raise info.error
    return info.result
