"""Collectors as processes that share vCenters: one that dies or hangs is replaced, and each vCenter has one session of
the living, beside what the dead left behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.e2e.processes import Service
from tests.e2e.region import Region
from tests.stack.errors import StackError
from tests.stack.vcsim import Vcsim
from tests.waiting import eventually

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes", control=True)

PATIENCE = 180.0
NAMES = [f"vc-{letter}-0" for letter in "abcdef"]
PARTITIONS = 5
"""Four of which these names are in: however two or four replicas share them, none has all that count."""


class Collectors:
    """Discovery, and so many replicas of the collector."""

    def __init__(self, region: Region, replicas: int) -> None:
        self._region = region
        environment = region.environment(partitions=str(PARTITIONS), heartbeat="5", vcenter_wait="2")
        self.discovery = Service("discovery", 0, environment, region.folder)
        self.replicas = [Service("collector", number, environment, region.folder) for number in range(replicas)]
        for service in (self.discovery, *self.replicas):
            service.start()

    def close(self) -> None:
        """Ends all."""
        for service in (self.discovery, *self.replicas):
            if service.running:
                service.resume()
                service.kill()

    def logs(self) -> str:
        """The last lines of each."""
        return "\n".join(f"--- {each.log.name}\n{each.log.read_text()[-3000:]}" for each in self.replicas)

    def expect_recorded(self, cluster: str) -> None:
        """Every vCenter's only cluster is recorded by somebody under this name."""
        for name in NAMES:
            eventually(
                lambda n=name: self._recorded(n) == [cluster],  # type: ignore[misc]
                f"{name}: {cluster}",
                within=PATIENCE,
                otherwise=self.logs,
            )

    def rename(self, old: str, new: str) -> None:
        """In every vCenter; waits until it is recorded."""
        for name in NAMES:
            self._region.vcenters[name].rename_cluster(old, new)
        self.expect_recorded(new)

    def expect_sessions(self, left_behind: dict[str, set[str]]) -> None:
        """One in every vCenter, beside those that the dead left behind."""
        for name in NAMES:
            vcsim: Vcsim = self._region.vcenters[name]
            eventually(
                lambda v=vcsim, n=name: len(v.sessions() - left_behind.get(n, set())) == 1,  # type: ignore[misc]
                f"one session with {name}",
                within=PATIENCE,
                otherwise=lambda v=vcsim: f"{v.sessions()}\n{self.logs()}",  # type: ignore[misc]
            )

    def owners(self) -> list[Service]:
        """Who has vCenters: more than one, once every partition is somebody's and nobody has more than a share."""
        used = {self.partition(name) for name in NAMES}

        def found() -> list[Service] | None:
            held = {each: _held(each) for each in self.replicas}
            owners = [each for each, partitions in held.items() if partitions & used]
            most = max(len(partitions) for partitions in held.values())
            settled = set.union(*held.values()) == set(range(PARTITIONS)) and most <= ceil(PARTITIONS / len(held))
            return owners if settled and len(owners) > 1 else None

        return eventually(found, "the vCenters are shared", within=PATIENCE, otherwise=self.logs)

    def partition(self, name: str) -> int:
        """Of a vCenter."""
        return crc32(f"{name}.{self._region.zone.zone}".encode()) % PARTITIONS

    def sessions(self) -> dict[str, set[str]]:
        """By vCenter."""
        return {name: self._region.vcenters[name].sessions() for name in NAMES}

    def _recorded(self, name: str) -> list[str]:
        try:
            section = self._region.record(name).get("status", {}).get("collector", {})
        except StackError:  # nobody wrote it yet
            return []
        return [cluster["clusterName"] for cluster in section.get("clusters", [])]


def _held(replica: Service) -> set[int]:
    """The partitions that it has, by its own word."""
    held: set[int] = set()
    for line in replica.log.read_text().splitlines():
        said = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
        if said.get("event") == "partition taken":
            held.add(said["partition"])
        elif said.get("event") == "partition released":
            held.discard(said["partition"])
    return held


@pytest.fixture
def region(
    kubernetes: Any, zone: Any, amqp_url: str, namespace: str, vcsim_factory: Any, tmp_path: Path
) -> Iterator[Region]:
    made = Region(kubernetes, zone, amqp_url, namespace, vcsim_factory, tmp_path)
    made.prepare(templates=("nova-compute-etc",))
    for number, name in enumerate(NAMES):
        made.vcenter(name, f"QA-DE-1{chr(ord('A') + number)}", clusters=1, block=1)
    yield made
    made.close()


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_share_the_vcenters_and_replace_each_other(region: Region, replicas: int) -> None:
    collectors = Collectors(region, replicas)
    try:
        collectors.expect_recorded("productionbb001")
        dead, hung = collectors.owners()[:2]
        collectors.expect_sessions({})
        # Nobody can log out for the dead: the vCenter ends what is idle for too long.
        its = [name for name in NAMES if collectors.partition(name) in _held(dead)]
        left_behind = {name: sessions for name, sessions in collectors.sessions().items() if name in its}
        assert left_behind
        dead.kill()
        if replicas == 2:
            dead.start()
        collectors.rename("productionbb001", "productionbb002")
        collectors.expect_sessions(left_behind)

        hung.pause()
        collectors.rename("productionbb002", "productionbb003")
        hung.resume()
        collectors.expect_sessions(left_behind)
        collectors.rename("productionbb003", "productionbb004")
        collectors.expect_sessions(left_behind)

        for each in collectors.replicas:
            if each.running:
                assert each.stop(within=60) == 0
        assert collectors.sessions() == {name: left_behind.get(name, set()) for name in NAMES}, "all logged out"
    finally:
        collectors.close()
