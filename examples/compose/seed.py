"""Fills the region of docker-compose.yml from the example region's files; again after they were edited.

The vCenters get what the site file says, Kubernetes gets the templates, the cells and the Secret.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import yaml
from kubernetes_asyncio.client import ApiClient

from examples.compose.inventory import fill
from examples.compose.region import DNS_SERVER, FOLDER, KEY, MANIFESTS, OPERATOR, SITE
from vcenter_operator.common.embedded.site import SiteDescription, read_site
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import TEMPLATES, ensure_crds
from vcenter_operator.common.masterpassword import derive_password
from vcenter_operator.common.settings import Settings

_NAMESPACES = Resource("", "v1", "namespaces")
_RESOURCES = {
    "ConfigMap": Resource("", "v1", "configmaps"),
    "Secret": Resource("", "v1", "secrets"),
    "VCenterTemplate": TEMPLATES,
}


def objects() -> list[dict[str, Any]]:
    """The manifests of the example region; the Secret says where the DNS server is, and its key."""
    found = [
        document
        for path in sorted(MANIFESTS.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document
    ]
    secret = next(each for each in found if each["kind"] == "Secret")
    secret["stringData"] |= {"dns_ip": DNS_SERVER, "dns_port": "53", "tsig_key": KEY}
    return found


def write_kubeconfig(local: Path, to: Path) -> None:
    """The server's own kubeconfig, as other containers need it: the server has a name, and the operator may read it."""
    config = yaml.safe_load(local.read_text())
    for cluster in config["clusters"]:
        cluster["cluster"]["server"] = "https://kubernetes:6443"
    to.touch(mode=0o600)
    to.write_text(yaml.safe_dump(config))
    os.chown(to, OPERATOR, OPERATOR)


async def fill_kubernetes(client: ApiClient, namespace: str, manifests: list[dict[str, Any]]) -> None:
    """The definitions, the namespace and what is in it."""
    await ensure_crds(client)
    api = Api(client)
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    await api.apply(_NAMESPACES.path(namespace), made, field_manager="seed")
    for manifest in manifests:
        name = manifest["metadata"]["name"]
        path = _RESOURCES[manifest["kind"]].path(name, namespace=namespace)
        await api.apply(path, manifest, field_manager="seed")


def fill_vcenters(site: SiteDescription, user: str, password: str) -> None:
    """What the site file says of each vCenter."""
    for host, description in site.vcenters.items():
        fill(host, (user, derive_password(user, password, host)), FOLDER / "ca.pem", description)


async def main() -> None:
    """All of it. Whatever fails ends the process, and with it what waits for it."""
    site = read_site(SITE)
    manifests = objects()
    credentials = next(each for each in manifests if each["kind"] == "Secret")["stringData"]
    write_kubeconfig(FOLDER / "kubeconfig.local", FOLDER / "kubeconfig")
    async with connect(Settings.load()) as (client, _):
        await fill_kubernetes(client, site.namespace, manifests)
    fill_vcenters(site, credentials["username"], credentials["password"])


if __name__ == "__main__":
    asyncio.run(main())
