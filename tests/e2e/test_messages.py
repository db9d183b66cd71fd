"""`vcenter-operator messages` on a region of real servers: what was said and became of it, run again, put back."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import yaml

from tests.e2e.asking import ask
from tests.e2e.region import BUS_KEY, SEED, USERNAME, Region, of_cluster, of_zone
from tests.waiting import eventually
from vcenter_operator.common import labels
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.topology import Exchange, Names
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.masterpassword import derive_password
from vcenter_operator.common.messages import Stage

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")
TOPOLOGY = Topology(partitions=4)
NAMES = Names(TOPOLOGY, RetryDelays().steps)


def messages(region: Region, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return ask(region, "messages", *arguments, **settings)


def documents(region: Region, *arguments: str) -> Any:
    told = messages(region, *arguments, "-o", "json")
    assert told.stdout, told.stderr
    return json.loads(told.stdout)


async def spy(url: str) -> None:
    """A queue that whatever is published from now on goes to as well, but for what a stage sends to itself."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        queue = await channel.declare_queue("spy", durable=True)
        to_itself = {NAMES.again(stage) for stage in Stage}
        for item in NAMES.everything():
            if isinstance(item, Exchange) and item.name not in to_itself:
                for partition in range(TOPOLOGY.partitions):
                    await queue.bind(item.name, str(partition))


async def overheard(url: str) -> int:
    """How many messages were published since."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        underlay = await channel.get_underlay_channel()
        return (await underlay.queue_declare("spy", passive=True)).message_count or 0


def quiet(region: Region) -> int:
    """How many were overheard, once no more come."""
    last = -1

    def settled() -> bool:
        nonlocal last
        before, last = last, asyncio.run(overheard(region.amqp_url))
        return before == last

    eventually(settled, "the bus is quiet", every=1.0, otherwise=region.logs)
    return last


def written(region: Region) -> dict[str, str]:
    """All that a stage writes, with resourceVersions."""
    found = region.versions()
    for kind in ("vcenters", "vcenter-templates"):
        path = f"/apis/{labels.GROUP}/v1/namespaces/{region.namespace}/{kind}"
        for item in region.kubernetes.request("GET", path)["items"]:
            found[f"{kind}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
    return found


@pytest.fixture
def incident(region: Region) -> Region:
    """A region in which an edited template broke one cluster."""
    region.vcenter("vc-a-0")
    region.fleet(repeat_every="3600", template_grace="1")
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"), within=120)
    region.edit_template("nova-compute", "replicas: 1", "replicas: {= 2 if name == 'bb10' else (nothing.there) =}")

    def unknown() -> bool:
        deltas = [one for one in documents(region, "list", "--stage", "applier") if one["statement"]["unknown"]]
        return bool(deltas)

    eventually(unknown, "the broken template to be told of", otherwise=region.logs)
    return region


def test_an_incident_is_found_exported_without_secrets_and_replayed(incident: Region, tmp_path: Path) -> None:
    listed = messages(incident, "list", "--vcenter", "vc-a-0")
    assert listed.returncode == 0, listed.stderr
    assert "\x1b" not in listed.stdout
    lines = [re.split(r" {2,}", line) for line in listed.stdout.splitlines()[1:]]
    assert {line[1] for line in lines} == {"collector", "renderer", "applier"}
    chain = traced(incident)
    first = next(one for one in documents(incident, "list", "--stage", "applier") if len(one["sent"]) == 12)
    told = shown(incident, chain, first)
    replayed_dry(incident, chain, first)
    told += exported(incident, chain, tmp_path)
    host = f"vc-a-0.{incident.zone.zone}"
    for plain in (SEED, derive_password(USERNAME, SEED, host), BUS_KEY, incident.zone.tsig_key, "registry.example.org"):
        assert plain not in told


def broken(region: Region) -> str:
    """What is said of the cluster."""
    return f"{region.namespace}/nova-compute for cluster productionbb011 in qa-de-1a"


def traced(region: Region) -> list[dict[str, Any]]:
    """The chain of the incident, and what became of it: by the record and by the objects."""
    dns, inventory, delta = documents(region, "trace", "vc-a-0")
    assert dns["statement"]["serial"] == region.zone.serial()
    assert inventory["statement"]["zone"]["serial"] == dns["statement"]["serial"]
    assert delta["statement"]["provenance"]["inventory"] == inventory["statement"]["revision"]
    assert dns["at"] <= inventory["at"] <= delta["at"]
    assert any(line.startswith(f"? {broken(region)}: ") for line in delta["differences"])
    assert f"~ template {region.namespace}/nova-compute" in delta["differences"]

    def acted() -> dict[str, Any]:
        found: dict[str, Any] = documents(region, "trace", delta["messageId"][:13])[-1]["applied"]
        assert found["acted"] == "acted on"
        return found

    applied = eventually(acted, "the delta to be acted on", otherwise=region.logs)
    objects = {one["id"].rpartition("/")[2]: one for one in applied["objects"]}
    assert {name: one["became"] for name, one in objects.items()} == {
        "nova-compute-bb10": "changed",
        "nova-compute-bb11": "left as it is",
    }
    for one in objects.values():
        assert (one["exists"], one["revision"]) == (True, inventory["statement"]["revision"])
        assert one["writtenAt"].startswith("20")
    return [dns, inventory, delta]


def shown(region: Region, chain: list[dict[str, Any]], first: dict[str, Any]) -> str:
    """What is masked stays masked, also where it is opened. Returns what was said."""
    told = messages(region, "show", first["messageId"], "--manifests")
    secret = yaml.safe_load(told.stdout)["manifests"][f"/Secret/{region.namespace}/nova-compute-bb10-credentials"]
    assert set((secret.get("data") or secret["stringData"]).values()) == {"***"}
    compared = messages(region, "diff", first["messageId"], chain[-1]["messageId"], "--manifests")
    assert compared.returncode == 1
    assert re.search(r"^\+.*nothing", compared.stdout, re.MULTILINE)
    # The registry is no secret where it is opened: it is the value of a Secret, and that of a field that all may see.
    return compared.stdout.replace("registry.example.org", "") + told.stdout.replace("registry.example.org", "")


def replayed_dry(region: Region, chain: list[dict[str, Any]], first: dict[str, Any]) -> None:
    """In this process, dry: nothing is said to anybody else, and nothing written."""
    asyncio.run(spy(region.amqp_url))
    before, objects = quiet(region), written(region)
    again = messages(region, "replay", "vc-a-0", "--through", "renderer", "--through", "applier")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "as it was said" in again.stdout
    assert f"? {broken(region)}: " in again.stdout
    assert "1 left as they are, 11 unchanged" in again.stdout
    older = messages(region, "replay", first["messageId"], "--through", "applier")
    assert "would be dropped: something newer was acted on" in older.stdout
    assert older.returncode == 0, older.stdout + older.stderr
    read = messages(region, "replay", chain[0]["messageId"], "--through", "collector")
    assert read.returncode == 0, read.stdout + read.stderr
    assert "states: 2 clusters" in read.stdout
    assert asyncio.run(overheard(region.amqp_url)) == before
    assert written(region) == objects
    assert messages(region, "resync", "vc-a-0", "--yes").returncode == 0
    assert asyncio.run(overheard(region.amqp_url)) > before, "nothing is overheard, whatever is published"


def exported(region: Region, chain: list[dict[str, Any]], folder: Path) -> str:
    """Taken to where there is no region, none is asked, and the cause is found. Returns what left the region."""
    file, there = folder / "incident.json", folder / "there"
    told = messages(region, "export", str(file), "--trace", "vc-a-0", "--with-templates")
    assert told.returncode == 0, told.stderr
    for entry in chain[-1]["statement"]["index"].values():
        assert entry["digest"] not in file.read_text()
    nothing = {"KUBECONFIG": "/nonexistent", "VCENTER_OPERATOR_BUS": "amqp://guest@127.0.0.1:1/"}
    offline = ["replay", "--from", str(file), "--embedded"]
    same = messages(region, *offline, **nothing)
    assert same.returncode == 0, same.stdout + same.stderr
    assert f"? {broken(region)}: " in same.stdout
    assert messages(region, "import", str(file), str(there), **nothing).returncode == 0
    (template,) = (there / "manifests").rglob("*-nova-compute.yaml")
    template.write_text(template.read_text().replace("(nothing.there)", "1"))
    mended = messages(region, *offline, "--templates", str(there / "manifests"), **nothing)
    assert mended.returncode == 1, mended.stdout + mended.stderr
    assert f"+ {broken(region)}: known again" in mended.stdout
    return told.stderr + file.read_text() + same.stdout + mended.stdout
