"""The naive way to watch many vCenters: bare pyVmomi, a session and a blocked thread for each, and nothing else.

Run as a process of its own by `bench.vcenters`, which tells it the vCenters on standard input, as JSON. It prints a
line when every session waits, and goes on until it is ended.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from typing import Any

import pyVmomi

_library: Any = pyVmomi
vim, vmodl = _library.vim, _library.vmodl


def main() -> None:
    """Logs on to all, one after the other, and waits."""
    told = json.load(sys.stdin)
    context = ssl.create_default_context(cafile=told["ca"])
    context.check_hostname = False  # the certificates name the FQDNs, and we connect to the addresses
    for address, password in told["vcenters"]:
        updates = watch(address, told["port"], told["username"], password, context)
        threading.Thread(target=updates.WaitForUpdatesEx, args=("1", None), daemon=True).start()
    print("waiting", flush=True)
    threading.Event().wait()


def watch(address: str, port: int, username: str, password: str, context: ssl.SSLContext) -> Any:
    """A property collector that watches the names of all clusters, its first report read."""
    stub = _library.SoapStubAdapter(host=address, port=port, version="vim.version.version9", sslContext=context)
    content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
    content.sessionManager.Login(userName=username, password=password)
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.ClusterComputeResource], recursive=True)
    collector = vmodl.query.PropertyCollector
    clusters = collector.TraversalSpec(type=vim.view.ContainerView, path="view", skip=False)
    spec = collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=view, skip=True, selectSet=[clusters])],
        propSet=[collector.PropertySpec(type=vim.ClusterComputeResource, all=False, pathSet=["name"])],
    )
    updates = content.propertyCollector.CreatePropertyCollector()
    updates.CreateFilter(spec=spec, partialUpdates=True)
    updates.WaitForUpdatesEx("", collector.WaitOptions(maxWaitSeconds=0))
    return updates


if __name__ == "__main__":
    main()
