"""A small region to render for: one vCenter, its Secret, its cells, and templates as a test gives them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import Cluster, ClusterRole, Inventory, UnknownCluster, ZoneSource
from vcenter_operator.common.surroundings import Surroundings

HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
OTHER = "vc-b-0.cc.qa-de-1.cloud.sap"
BUS_KEY = "YSBrZXkgdGhhdCBpcyB1c2VkIGluIHRlc3RzIG9ubHk="
SECRET = {
    "namespace": "monsoon3",
    "username": "Robert Lee Mitchell",
    "password": "banana colored duckling",
    "bus_key": BUS_KEY,
}
"""The user of the Master Password algorithm's known answer."""
SURROUNDINGS = Surroundings("operators", "qa-de-1", "cc.qa-de-1.cloud.sap", incluster=True)
CELLS: list[dict[str, Any]] = [
    {"metadata": {"name": "nova-cells", "namespace": "monsoon3"}, "data": {"cells": "cell1,cell2"}}
]
CLUSTERS = (
    Cluster(
        moid="domain-c1",
        role=ClusterRole.PRODUCTION,
        cluster_name="productionbb001",
        name="bb1",
        availability_zone="qa-de-1a",
        datastore_regex="^eph_bb001_.*",
        bridge="br-bb001",
        physical="bb001",
    ),
    Cluster(
        moid="domain-c2",
        role=ClusterRole.PRODUCTION,
        cluster_name="productionbb002",
        name="bb2",
        availability_zone="qa-de-1b",
        datastore_regex="^.*",
        datastore_hagroup_regex=r".*_hg(?P<hagroup>[ab])$",
    ),
    Cluster(
        moid="domain-c9",
        role=ClusterRole.STORAGE,
        cluster_name="storage0",
        name="0",
        availability_zone="qa-de-1a",
        datastore_regex="^.*",
    ),
)
UNKNOWN = (
    UnknownCluster(
        moid="domain-c3",
        role=ClusterRole.PRODUCTION,
        cluster_name="productionbb003",
        availability_zone="qa-de-1b",
        reason="the datastores could not be read",
    ),
)
_versions = itertools.count(1)


def inventory(host: str = HOST, sequence: int = 1, **fields: Any) -> Inventory:
    stated: dict[str, Any] = {
        "present": True,
        "clusters": CLUSTERS,
        "zone": ZoneSource(revision=Revision(1, 1), serial=7),
    } | fields
    return Inventory(host=host, revision=Revision(1, sequence), **stated)


def only(*names: str) -> tuple[Cluster, ...]:
    return tuple(cluster for cluster in CLUSTERS if cluster.cluster_name in names)


def configuration(version: int = 1, **more: str) -> Configuration:
    return Configuration.parse(SECRET | more, version)


def resource(
    name: str, template: object, *, scope: object = "cluster", namespace: str = "monsoon3", **options: Any
) -> dict[str, Any]:
    """A VCenterTemplate; `options` are its jinja2_options."""
    return given(
        {
            "metadata": {"name": name, "namespace": namespace},
            "options": {"scope": scope, **({"jinja2_options": options} if options else {})},
            "template": template,
        }
    )


def given(template: Mapping[str, Any]) -> dict[str, Any]:
    """The resource as the API server would return it."""
    version = next(_versions)
    metadata = {"uid": f"uid-{version}", "generation": 1, "resourceVersion": str(version)} | template["metadata"]
    return {**template, "metadata": metadata}


def configmap(name: str, **data: str) -> str:
    """The text of a template that yields a ConfigMap."""
    lines = [f"  {key}: {value}" for key, value in data.items()]
    return "\n".join(["apiVersion: v1", "kind: ConfigMap", f"metadata: {{name: {name}}}", "data:", *lines, ""])
