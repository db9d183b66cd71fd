"""A made-up region of any size: vCenters with clusters, and the example's templates, with no server behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import Cluster, ClusterRole, Inventory, ZoneSource
from vcenter_operator.common.surroundings import Surroundings

SITE = Path(__file__).parents[1] / "examples" / "site"
EXAMPLES = SITE / "manifests"
DOMAIN = "cc.qa-de-1.cloud.sap"
CLUSTERS_EACH = 20
"""Clusters of a vCenter: 500 vCenters have 10,000."""
_OF_A_CLUSTER = ("nova-compute-etc", "nova-compute", "neutron-dvs-agent", "cinder-volume")


def surroundings(namespace: str = "monsoon3") -> Surroundings:
    """Where the operator runs."""
    return Surroundings(namespace, "qa-de-1", DOMAIN, incluster=True)


def host(number: int) -> str:
    """A vCenter's name."""
    return f"vc-a-{number}.{DOMAIN}"


def manifests(kind: str) -> list[dict[str, Any]]:
    """Of the example region."""
    documents = (each for path in sorted(EXAMPLES.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text()))
    return [each for each in documents if each and each["kind"] == kind]


def inventory(vcenter: int = 0, clusters: int = CLUSTERS_EACH, *, edition: int = 1, changed: int = 0) -> Inventory:
    """A vCenter's production clusters in two availability zones, named apart from those of every other vCenter.

    The first `changed` of them have another port group than in the first edition.
    """
    found = tuple(_cluster(number, changed=index < changed) for index, number in _numbered(vcenter, clusters))
    zone = ZoneSource(revision=Revision(1, 1), serial=1)
    return Inventory(host=host(vcenter), present=True, revision=Revision(1, edition), zone=zone, clusters=found)


def _numbered(vcenter: int, clusters: int) -> enumerate[int]:
    first = vcenter * clusters + 1
    return enumerate(range(first, first + clusters))


def _cluster(number: int, *, changed: bool) -> Cluster:
    name = f"bb{number:03}"
    return Cluster(
        moid=f"domain-c{number}",
        role=ClusterRole.PRODUCTION,
        cluster_name=f"production{name}",
        name=f"bb{number}",
        availability_zone=f"qa-de-1{'ab'[number % 2]}",
        datastore_regex=f"^eph_{name}_.*",
        bridge=f"br-{name}{'-other' if changed else ''}",
        physical=name,
    )


def seven_templates(namespace: str = "monsoon3", *, edited: int = 0) -> list[dict[str, Any]]:
    """The seven documents that the example's templates consist of, a VCenterTemplate of the scope cluster each.

    Each yields one object for a cluster. The first `edited` of them have a label more.
    """
    texts: dict[str, str] = {}
    for resource in manifests("VCenterTemplate"):
        name, text = resource["metadata"]["name"], resource["template"]
        if name in _OF_A_CLUSTER:
            # What stands once for an availability zone stands once for a cluster here.
            text = text.replace("{= availability_zone =}", "{= name =}").replace("monsoon3", namespace)
            text = text.removeprefix("{%- if bridge %}\n").removesuffix("{%- endif %}\n")
            documents = text.split("---\n")
            texts |= {name if part == 0 else f"{name}-{part}": each for part, each in enumerate(documents)}
    return [
        {
            "apiVersion": resource["apiVersion"],
            "kind": "VCenterTemplate",
            "metadata": {"name": name, "namespace": namespace},
            "options": {"scope": "cluster", "jinja2_options": resource["options"]["jinja2_options"]},
            "template": _labelled(text) if number < edited else text,
        }
        for number, (name, text) in enumerate(sorted(texts.items()))
    ]


def _labelled(text: str) -> str:
    return text.replace("labels: {system", 'labels: {edited: "yes", system', 1)
