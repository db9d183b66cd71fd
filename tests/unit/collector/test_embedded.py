"""vCenters of a site file: they say what the file says at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vcenter_operator.collector.adapters.embedded import SiteVCenters, site_inventory
from vcenter_operator.collector.core.conventions import Convention
from vcenter_operator.collector.core.evidence import conclude, to_ask
from vcenter_operator.collector.core.model import ABSENT, Unreadable, cluster_reference
from vcenter_operator.collector.ports import Credentials, Endpoint, Unreachable
from vcenter_operator.common.embedded.site import Site, read_site

HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
ANYBODY = Credentials("operator", "any")
FILE = """
region: qa-de-1
domain: cc.qa-de-1.cloud.sap
namespace: monsoon3
vcenters:
  vc-a-0:
    datacenters:
      QA-DE-1A:
        clusters:
          productionbb001: {moid: domain-c1, datastores: [eph-1, eph-2], networks: [Management, br-x]}
          productionbb002: {moid: domain-c2, unreadable: true}
  vc-b-0: {unreachable: true}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
async def site(file: Path) -> AsyncIterator[Site]:
    async with Site(file) as site:
        yield site


def take_out(file: Path, cluster: str) -> None:
    file.write_text("\n".join(line for line in FILE.splitlines() if cluster not in line))


def replace_text(file: Path, old: str, new: str) -> None:
    file.write_text(FILE.replace(old, new))


async def test_it_shows_what_the_file_says(site: Site) -> None:
    vcenter = await SiteVCenters(site).log_on(Endpoint(HOST), ANYBODY)
    first, second = (await vcenter.snapshot()).clusters
    assert (first.moid, first.name, first.datacenter) == ("domain-c1", "productionbb001", "QA-DE-1A")
    assert not isinstance(first.networks, Unreadable)
    assert [network.name for network in first.networks] == ["Management", "br-x"]
    assert isinstance(second.datastores, Unreadable)


async def test_a_change_of_the_file_is_noticed_and_what_was_taken_out_is_gone(site: Site, file: Path) -> None:
    vcenter = await SiteVCenters(site).log_on(Endpoint(HOST), ANYBODY)
    await vcenter.snapshot()
    assert not await vcenter.wait_for_change(0.01)
    waiting = asyncio.create_task(vcenter.wait_for_change(30))
    take_out(file, "productionbb001")
    assert await waiting
    assert [cluster.moid for cluster in (await vcenter.snapshot()).clusters] == ["domain-c2"]
    gone, there = cluster_reference("domain-c1"), cluster_reference("domain-c2")
    assert await vcenter.ask([gone, there]) == {gone: ABSENT, there: "productionbb002"}


async def test_a_datastore_that_was_taken_out_of_the_file_is_off_its_cluster(site: Site, file: Path) -> None:
    vcenter = await SiteVCenters(site).log_on(Endpoint(HOST), ANYBODY)
    before = conclude(Convention(), (), await vcenter.snapshot(), {})
    replace_text(file, "[eph-1, eph-2]", "[eph-1]")
    assert await vcenter.wait_for_change(30)
    snapshot = await vcenter.snapshot()
    answers = await vcenter.ask(to_ask(before.recorded, snapshot))
    assert list(answers.values()) == [ABSENT]
    (cluster,) = conclude(Convention(), before.recorded, snapshot, answers).clusters
    assert cluster.datastore_regex == "^eph-1.*"


async def test_an_unreachable_vcenter_cannot_be_logged_on_to(site: Site) -> None:
    for host in ("vc-b-0.cc.qa-de-1.cloud.sap", "vc-z-0.cc.qa-de-1.cloud.sap"):
        with pytest.raises(Unreachable):
            await SiteVCenters(site).log_on(Endpoint(host), ANYBODY)


def test_the_inventory_of_a_site_without_a_pipeline(file: Path) -> None:
    inventory = site_inventory(read_site(file), HOST)
    (known,), (unknown,) = inventory.clusters, inventory.unknown
    assert (known.name, known.datastore_regex, known.bridge) == ("bb1", "^eph-.*", "br-x")
    assert unknown.cluster_name == "productionbb002"
