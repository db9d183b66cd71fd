"""The region under load: its servers and its model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.chaos.faults import REPLICAS
from tests.chaos.world import Template, VCenter, World
from tests.contract.proxy import Proxy, in_front_of
from tests.e2e.processes import STAGES
from tests.e2e.region import Region
from tests.stack.rabbitmq import RabbitMQ

T = TypeVar("T")

EDITED = {
    "nova-compute-etc": ("\ndata:\n", "\ndata:\n  edition-EDITION: 'yes'\n"),
    "nova-compute": ("replicas: 1", "replicas: EDITION"),
    "neutron-dvs-agent": ("m3neutron", "m3neutron-EDITION"),
    "cinder-volume": ("replicas: 1", "replicas: EDITION"),
}
"""Templates of the example region, and where they show their edition."""
NOTE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: note-{= name =}
data:
  edition: "EDITION"
  datastores: "{= datastore_regex =}"
"""
SECRET_NOTE = """\
apiVersion: v1
kind: Secret
metadata:
  name: secret-note-{= name =}
stringData:
  edition: "EDITION"
  password: "{= password =}"
"""


@pytest.fixture
def broker(stack: Any) -> Iterator[RabbitMQ]:
    """A broker of one's own: it will lose all that it has."""
    broker = stack.start_rabbitmq()
    yield broker
    stack.discard(broker)


@pytest.fixture
def wires(broker: RabbitMQ) -> Iterator[dict[str, tuple[Proxy, str]]]:
    """Between each replica (`applier-0`) and the broker: the proxy, and its URL. They run in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    names = [f"{stage}-{number}" for stage in STAGES for number in range(REPLICAS)]
    proxies = {name: do(in_front_of(broker.url)) for name in names}
    yield proxies
    for proxy, _ in proxies.values():
        do(proxy.close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def region(
    kubernetes: Any, zone: Any, broker: RabbitMQ, namespace: str, vcsim_factory: Any, tmp_path: Path
) -> Iterator[Region]:
    """A region with Secret and cells, and neither templates nor vCenters yet."""
    region = Region(kubernetes, zone, broker.url, namespace, vcsim_factory, tmp_path / "logs")
    region.folder.mkdir()
    region.prepare({"cells"})
    yield region
    region.close()


@pytest.fixture
def world(region: Region) -> World:
    """The model of the region at the beginning, and the region as the model has it."""
    vcenters = {
        "vc-a-0": VCenter.as_built("QA-DE-1A", 10, 11, 12),
        "vc-b-0": VCenter.as_built("QA-DE-1B", 20, 21),
        "vc-c-0": VCenter.as_built("QA-DE-1D", 30, listed=False),
        "vc-q-0": VCenter.as_built("QA-DE-1E", 40, 41, quiet=True),
    }
    for name, vcenter in vcenters.items():
        region.vcenter(
            name, vcenter.datacenter, len(vcenter.clusters), listed=vcenter.listed, block=min(vcenter.clusters)
        )
    templates = {"note": Template("cluster", NOTE, passing=True)}
    templates["secret-note"] = Template("cluster", SECRET_NOTE, passing=True, stored=False)
    for name, (shown, edited) in EDITED.items():
        (example,) = region.example(f"{name}.yaml")
        assert shown in example["template"]
        templates[name] = Template(example["options"]["scope"], example["template"].replace(shown, edited))
    for name, template in templates.items():
        if template.stored:
            region.put(template.manifest(name, region.namespace))
    world = World(vcenters, templates)
    world.begin()
    return world
