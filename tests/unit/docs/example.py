"""The example region, which the pages speak of."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from tests.markdown import ROOT
from vcenter_operator.collector.adapters.embedded import site_inventory
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.embedded.site import read_site
from vcenter_operator.common.messages import Inventory
from vcenter_operator.common.surroundings import Surroundings

SITE = ROOT / "examples" / "site"
HOST = "vc-a-0.cc.qa-de-1.cloud.sap"


def resources(kind: str) -> list[dict[str, Any]]:
    """Of the manifests beside the site file, as the API server would give them."""
    found = [yaml.safe_load(path.read_text()) for path in sorted((SITE / "manifests").glob("*.yaml"))]
    return [each | {"metadata": {**each["metadata"], "resourceVersion": "1"}} for each in found if each["kind"] == kind]


CONFIGURATION = Configuration.parse(resources("Secret")[0]["stringData"])


@cache
def inventory() -> Inventory:
    return site_inventory(read_site(SITE / "site.yaml"), HOST, CollectorSettings().convention)


@cache
def surroundings() -> Surroundings:
    site = read_site(SITE / "site.yaml")
    return Surroundings(site.namespace, site.region, site.domain, incluster=False)
