"""What fills the region of docker-compose.yml, against a real vCenter simulator and a real API server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from examples.compose.inventory import fill
from examples.compose.region import SITE
from examples.compose.seed import fill_kubernetes, objects
from tests.stack.kubernetes import Kubernetes
from tests.stack.vcsim import Vcsim
from vcenter_operator.common.embedded.site import read_site
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.settings import Settings


@pytest.mark.needs("vcsim")
def test_a_vcenter_becomes_what_the_site_file_says(
    vcsim_factory: Callable[..., Vcsim], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, description = next(iter(read_site(SITE).vcenters.items()))
    vcsim = vcsim_factory(host, password="a password")
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda name, *rest, **more: resolve(vcsim.address if name == host else name, *rest, **more),
    )
    for _ in range(2):  # the second time everything is there
        fill(host, (vcsim.username, vcsim.password), vcsim.ca, description, port=vcsim.port)
    described = {name: each for zone in description.datacenters.values() for name, each in zone.clusters.items()}
    assert sorted(vcsim.clusters().values()) == sorted(described)
    for name, cluster in described.items():
        assert sorted(vcsim.datastores(name)) == sorted(cluster.datastores)
        ours = [network for network in vcsim.networks(name) if network in cluster.networks]
        assert ours == list(cluster.networks)
        others = {network for each in described.values() for network in each.networks} - set(cluster.networks)
        assert not others & set(vcsim.networks(name)), f"{name} has what others should have"


@pytest.mark.needs("kubernetes")
async def test_kubernetes_gets_templates_cells_and_secret(
    kubernetes: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    manifests: list[dict[str, Any]] = objects()
    for manifest in manifests:
        manifest["metadata"]["namespace"] = namespace
    async with connect(Settings.load(service_domain="cc.qa-de-1.cloud.sap")) as (client, _):
        await fill_kubernetes(client, namespace, manifests)
    paths = {
        "ConfigMap": f"/api/v1/namespaces/{namespace}/configmaps",
        "Secret": f"/api/v1/namespaces/{namespace}/secrets",
        "VCenterTemplate": f"/apis/vcenter-operator.stable.sap.cc/v1/namespaces/{namespace}/vcenter-templates",
    }
    there = {
        (kind, each["metadata"]["name"])
        for kind, path in paths.items()
        for each in kubernetes.request("GET", path)["items"]
    }
    assert {(each["kind"], each["metadata"]["name"]) for each in manifests} <= there
    secret = kubernetes.request("GET", f"{paths['Secret']}/vcenter-operator")
    assert {"username", "password", "tsig_key", "dns_ip", "dns_port"} <= secret["data"].keys()
    for manifest in manifests:  # templates and cells are read from all namespaces: other tests have their own
        if manifest["kind"] != "Secret":
            kubernetes.request("DELETE", f"{paths[manifest['kind']]}/{manifest['metadata']['name']}")
