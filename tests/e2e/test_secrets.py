"""Sealing in a full run: the key is rotated under load, and nothing that is secret is anywhere but where it belongs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import msgpack
import pytest

from tests.e2e.processes import Fleet
from tests.e2e.region import BUS_KEY, SEED, USERNAME, Region, of_cluster, of_zone
from tests.waiting import eventually
from vcenter_operator.common import labels
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.rabbitmq.archive import Archive
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.masterpassword import derive_password
from vcenter_operator.common.messages import Stage

pytestmark = [
    pytest.mark.needs("dns", "vcsim", "kubernetes"),
    pytest.mark.needs("rabbitmq", control=True),
]
NEXT_KEY = base64.b64encode(b"the key that comes after it").decode()
TEMPLATED = ("host_password", "nova-compute-secrets.conf", "loci-nova")
"""Of manifests' bodies."""
CLUSTERS = range(10, 16)
NAMES = Names(Topology(4), ())


def plaintexts(region: Region) -> set[bytes]:
    """What must not be found: as it is, and as Secrets have it."""
    passwords = {derive_password(USERNAME, SEED, f"{name}.{region.zone.zone}") for name in region.vcenters}
    secrets = {SEED, region.zone.tsig_key, BUS_KEY, NEXT_KEY, *passwords}
    return {each.encode() for each in (*secrets, *TEMPLATED)} | {base64.b64encode(each.encode()) for each in secrets}


def written_with(region: Region, mark: int) -> bool:
    """Whether the last edit is everywhere."""
    configs = [item for key, item in region.objects().items() if key.startswith("ConfigMap/nova-compute-bb")]
    texts = [item["data"]["nova-compute.conf"] for item in configs]
    return len(texts) == len(CLUSTERS) and all(f"mark = {mark}\n" in text for text in texts)


def edit(region: Region, mark: int) -> None:
    region.edit_template("nova-compute-etc", r"\[vmware\]\n(    mark = \d+\n)?", f"[vmware]\n    mark = {mark}\n")


async def park_what_was_said(region: Region) -> None:
    """The last ManifestDelta again, of a schema that no applier knows: it is parked as it is, bodies included."""
    archive = Archive(Endpoint.parse(region.amqp_url, 10), NAMES)
    said = [msgpack.unpackb(archived.body) async for archived in archive.read(Stage.APPLIER)]
    content = next(one for one in said if one["manifests"])
    async with await aio_pika.connect(region.amqp_url) as connection:
        channel = await connection.channel()
        arrow = await channel.get_exchange(NAMES.arrow(Stage.APPLIER), ensure=False)
        body = msgpack.packb({**content, "schema": 99})
        await arrow.publish(aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), "0")
        underlay = await channel.get_underlay_channel()
        async with asyncio.timeout(20):
            while not (await underlay.queue_declare(NAMES.parked(Stage.APPLIER), passive=True)).message_count:
                await asyncio.sleep(0.1)


def test_the_key_is_rotated_under_load_and_nothing_secret_is_anywhere_else(region: Region, rabbitmq: Any) -> None:
    region.vcenter("vc-a-0", clusters=len(CLUSTERS))
    fleet = region.fleet(replicas=2, log_level="DEBUG")
    region.expect(of_cluster(*CLUSTERS), of_zone("qa-de-1a"))
    marks = iter(range(1, 100))
    for keys in (
        {"bus_key": BUS_KEY},
        {"bus_key": NEXT_KEY, "bus_key_previous": BUS_KEY},
        {"bus_key": NEXT_KEY, "bus_key_previous": None},
    ):
        for _ in range(2):
            edit(region, next(marks))
        region.put_secret(**keys)
        for _ in range(2):
            edit(region, mark := next(marks))
        eventually(lambda mark=mark: written_with(region, mark), "the last edit", otherwise=region.logs)  # type: ignore[misc]
    asyncio.run(park_what_was_said(region))
    fleet.check_alive()
    assert "refused" not in str(region.condition("vc-a-0", "Applied")), region.condition("vc-a-0", "Applied")

    for place, content in (*in_the_broker(rabbitmq), *in_logs(fleet), *in_records(region)):
        for plaintext in plaintexts(region):
            assert plaintext not in content, f"{plaintext!r} in {place}"


def in_the_broker(rabbitmq: Any) -> Iterator[tuple[str, bytes]]:
    """Everything that was on the bus: queues, parked messages, their logs, archive streams."""
    files = [path for path in rabbitmq.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".segment" and b"vc-a-0" in path.read_bytes() for path in files), "no archive looked at"
    yield from ((str(path), path.read_bytes()) for path in files)


def in_logs(fleet: Fleet) -> Iterator[tuple[str, bytes]]:
    logs: list[Path] = [service.log for service in fleet.all]
    assert any(b"vc-a-0" in path.read_bytes() for path in logs)
    yield from ((path.name, path.read_bytes()) for path in logs)


def in_records(region: Region) -> Iterator[tuple[str, bytes]]:
    """What people and other programs can read without a right on Secrets."""
    namespace = region.namespace
    for path in (
        f"/apis/{labels.GROUP}/v1/namespaces/{namespace}/vcenters",
        f"/apis/events.k8s.io/v1/namespaces/{namespace}/events",
        f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
    ):
        yield path, str(region.kubernetes.request("GET", path)).encode()
