"""What the kubelet is told by a real stage: red for what only a new process cures, and for nothing else."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.processes import Service
from tests.e2e.region import Region, of_cluster, of_zone
from tests.ports import free_port
from tests.waiting import eventually
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.messages import Stage

pytestmark = [
    pytest.mark.needs("dns", "vcsim"),
    pytest.mark.needs("rabbitmq", "kubernetes", control=True),
]
NAMES = Names(Topology(4), ())


class Probed(Service):
    """A stage that answers probes."""

    def __init__(self, region: Region, stage: str) -> None:
        self._port = free_port()
        settings = region.environment(probe_port=str(self._port), probe_every="1")
        super().__init__(stage, 7, settings, region.folder)

    def says(self, path: str) -> int:
        """The status that the kubelet gets; 0: no answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


@pytest.fixture
def renderer(region: Region) -> Iterator[Probed]:
    """The only renderer of a region that has come to rest."""
    region.vcenter("vc-a-0")
    fleet = region.fleet()
    fleet["renderer"][0].stop()
    service = Probed(region, "renderer")
    service.start()
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
    yield service
    if service.running:
        service.kill()


def test_what_a_restart_cures_is_red_and_what_it_does_not_is_not(
    region: Region, renderer: Probed, rabbitmq: Any, kubernetes: Any
) -> None:
    eventually(lambda: renderer.says("readyz") == 200, "ready", otherwise=region.logs)
    assert renderer.says("healthz") == 200

    rabbitmq.stop()
    eventually(lambda: renderer.says("readyz") == 503, "not ready", within=20)
    region.stays(lambda: renderer.says("healthz") == 200, "a broker that is away turned it red", 5)
    rabbitmq.start()
    eventually(lambda: renderer.says("readyz") == 200, "ready again", otherwise=region.logs)

    with kubernetes.paused():
        region.stays(lambda: renderer.says("healthz") == 200, "an API server that is away turned it red", 5)

    for partition in range(4):
        rabbitmq.silence(region.amqp_url.rpartition("/")[2], NAMES.partition(Stage.RENDERER, partition))
    eventually(lambda: renderer.says("healthz") == 503, "red", within=20, otherwise=region.logs)
    region.cluster("vc-a-0", 12)
    assert renderer.stop() == 0, "what the kubelet does then"
    renderer.start()
    region.expect(of_cluster(10, 11, 12), of_zone("qa-de-1a"))
    assert renderer.says("healthz") == 200
