"""`vcenter-operator status` on a region of real servers: what it shows, and what it says by its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any

import pytest
import yaml

from tests.e2e.asking import COMMAND, ask, surroundings
from tests.e2e.region import Region, of_cluster, of_zone
from tests.waiting import eventually
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.messages import Stage

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")


def status(region: Region, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return ask(region, "status", *arguments, **settings)


def document(region: Region, *arguments: str, **settings: str) -> dict[str, Any]:
    told = status(region, "-o", "json", *arguments, **settings)
    assert told.stdout, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return found


async def publish_nonsense(url: str) -> None:
    """To a partition of the collector."""
    bus = await RabbitMQBus.connect(url, Topology(partitions=4), FolderEpochs(None))
    await bus.publish_raw(Stage.COLLECTOR, 0, b"no message")
    await bus.close()


def ready(region: Region) -> bool:
    told = status(region)
    assert told.returncode == 0, told.stdout + told.stderr
    return True


def test_a_healthy_region_fits_on_one_screen_and_exits_with_0(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.vcenter("vc-b-0", "QA-DE-1B")
    fleet = region.fleet()
    region.expect(of_cluster(10, 11, 20, 21), of_zone("qa-de-1a", "qa-de-1b"), within=120)
    eventually(lambda: ready(region), "all is ready", otherwise=region.logs)

    told = status(region)
    assert told.stderr == ""
    assert "\x1b" not in told.stdout  # no terminal, no colours
    stages, vcenters = told.stdout.split("\n\n")[:2]
    owners = {service.stage: service.process.pid for service in fleet.all}
    for line in stages.splitlines()[1:]:
        stage, replica, rest = line.split(maxsplit=2)
        assert replica.endswith(f"-{owners[stage]}")
        partitions = range(1 if stage == "discovery" else 4)
        assert re.match(", ".join(rf"{number} \([1-9]\d*\)" for number in partitions) + " ", rest), rest
    heading, *lines = vcenters.splitlines()
    assert heading.startswith(f"VCENTER (.{region.zone.zone})")
    assert [[*line.split()[:2], *line.split()[3:6]] for line in lines] == [
        ["vc-a-0", "ready", "2", "12", "0"],
        ["vc-b-0", "ready", "2", "12", "0"],
    ]

    one = status(region, "--vcenter", "vc-b-0")
    assert one.returncode == 0
    for words in ("productionbb020", "qa-de-1b", f"serial {region.zone.serial()}", "Connected", "LoggedOn"):
        assert words in one.stdout
    assert "productionbb010" not in one.stdout


def test_a_stage_that_nobody_runs_and_a_vcenter_that_refuses_the_login_stand_out(region: Region) -> None:
    region.vcenter("vc-a-0")
    fleet = region.fleet(heartbeat="2")
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"), within=120)
    eventually(lambda: ready(region), "all is ready", otherwise=region.logs)
    fleet["renderer"][0].kill()
    region.zone.add("vc-x-0", "A", "127.0.0.99")

    def both() -> subprocess.CompletedProcess[str]:
        told = status(region)
        assert "renderer: nobody works on partition 0, 1, 2, 3" in told.stdout
        assert re.search(r"vc-x-0 +trouble .*Connected Unreachable", told.stdout), told.stdout
        return told

    told = eventually(both, "both troubles are told", otherwise=region.logs)
    assert told.returncode == 1
    assert re.search(r"renderer +NOBODY \(last \S+-\d+\) +0 \(\d+\), 1 \(\d+\)", told.stdout)
    assert re.search(r"vc-a-0 +ready", told.stdout)
    found = document(region)
    assert found["stages"][2]["unowned"] == [0, 1, 2, 3]
    assert found["vcenters"][1]["trouble"].startswith("Connected Unreachable")
    assert status(region, "--vcenter", "vc-a-0").returncode == 0
    assert status(region, "--vcenter", f"vc-x-0.{region.zone.zone}").returncode == 1

    # What waits for the stage that nobody runs is the lag.
    region.cluster("vc-a-0", 12)

    def lagging() -> int:
        return int(document(region)["stages"][2]["waiting"])

    assert eventually(lagging, "the inventory waits for a renderer", otherwise=region.logs) >= 1


def test_what_cannot_be_asked_is_named_and_the_rest_is_shown(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.fleet()
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"), within=120)
    eventually(lambda: ready(region), "all is ready", otherwise=region.logs)

    told = status(region, VCENTER_OPERATOR_BUS="amqp://guest:hidden@127.0.0.1:1/")
    assert told.returncode == 2
    assert "could not be asked: RabbitMQ: amqp://127.0.0.1:1/" in told.stdout
    assert "hidden" not in told.stdout + told.stderr
    assert re.search(r"vc-a-0 +ready", told.stdout)
    assert re.search(r"collector +\S+-\d+ +0 \(\d+\)", told.stdout)  # the Leases tell that

    kubeconfig = yaml.safe_load(region.kubernetes.kubeconfig.read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (region.folder / "away").write_text(yaml.safe_dump(kubeconfig))
    told = status(region, KUBECONFIG=str(region.folder / "away"))
    assert told.returncode == 2
    assert "could not be asked: Leases: " in told.stdout
    assert "could not be asked: VCenters: " in told.stdout
    assert "could not be asked: VCenterTemplates: " in told.stdout
    assert re.search(r"collector +\? +0, 1, 2, 3 .* 0 +0 +0", told.stdout)

    told = status(region, "--vcenter", "vc-q-9")
    assert (told.returncode, told.stdout) == (2, "")
    assert f"there are: vc-a-0.{region.zone.zone}" in told.stderr

    # Another generation never ran here: that is said, and nothing is declared by looking.
    for _ in range(2):
        told = status(region, VCENTER_OPERATOR_GENERATION="7")
        assert told.returncode == 1
        assert "collector: its queues do not exist on this broker" in told.stdout


def test_documents_for_scripts_say_what_the_table_does_and_count_what_is_parked(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.fleet()
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"), within=120)
    eventually(lambda: ready(region), "all is ready", otherwise=region.logs)
    found = document(region)
    assert found["troubles"] == []
    assert found["notAsked"] == {}
    assert [stage["stage"] for stage in found["stages"]] == ["discovery", "collector", "renderer", "applier"]
    vcenter = found["vcenters"][0]
    assert vcenter["name"] == f"vc-a-0.{region.zone.zone}"
    assert (vcenter["state"], vcenter["objects"], vcenter["clusterCount"]) == ("ready", 12, 2)
    assert {condition["type"]: condition["wrong"] for condition in vcenter["conditions"]}["Ready"] is False

    asyncio.run(publish_nonsense(region.amqp_url))

    def parked() -> subprocess.CompletedProcess[str]:
        told = status(region)
        assert "collector: 1 parked" in told.stdout
        return told

    assert eventually(parked, "nonsense is parked", otherwise=region.logs).returncode == 1
    assert [stage["parked"] for stage in document(region)["stages"]] == [0, 1, 0, 0]
    as_yaml = yaml.safe_load(status(region, "-o", "yaml", "--vcenter", "vc-a-0").stdout)
    assert as_yaml == document(region, "--vcenter", "vc-a-0")


def test_watching_redraws_one_screen_in_colours_until_interrupted(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.fleet()
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"), within=120)
    eventually(lambda: ready(region), "all is ready", otherwise=region.logs)
    leader, follower = pty.openpty()
    settings = surroundings(region, LINES="50")
    settings.pop("NO_COLOR", None)
    # A shell has what it starts in the background ignore SIGINT, and so would all that is started from there.
    watching = ["env", "--default-signal=INT", *COMMAND, "status", "--watch", "--every", "0.3"]
    process = subprocess.Popen(watching, stdout=follower, env=settings)
    os.close(follower)
    screens = b""
    try:
        deadline = time.monotonic() + 60
        while screens.count(b"vc-a-0") < 3 and time.monotonic() < deadline:
            screens += os.read(leader, 65536)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # the other side is closed
            while data := os.read(leader, 65536):
                screens += data
        assert process.wait(20) == 0
    finally:
        process.kill()
        os.close(leader)
    assert screens.count(b"vc-a-0") >= 3
    assert b"\x1b[?1049h" in screens  # a screen of its own,
    assert b"\x1b[?1049l" in screens  # which is given back
    assert b"\x1b[32mready" in screens
