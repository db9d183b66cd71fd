"""`messages parked` and `messages resync` on files and a real RabbitMQ: what happens for real, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import yaml

from tests.e2e.asking import COMMAND
from tests.waiting import eventually
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.publishing import message_of
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import DnsChange, Stage

pytestmark = pytest.mark.needs("rabbitmq")
EXAMPLE = Path(__file__).parents[2] / "examples" / "site"
NAMES = Names(Topology(), RetryDelays().steps)
HOST = "vc-c-0.cc.qa-de-1.cloud.sap"


class OnFiles:
    """The example region on files, with its stages in one process over RabbitMQ."""

    def __init__(self, url: str, folder: Path) -> None:
        shutil.copytree(EXAMPLE, folder / "region")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("VCENTER_OPERATOR_")}
        self._environment = {**kept, "KUBECONFIG": "/nonexistent", "VCENTER_OPERATOR_BUS": url, "COLUMNS": "200"}
        self._files = ["--site", str(folder / "region/site.yaml"), "--templates", str(folder / "region/manifests")]
        self._written = folder / "written"
        self._log = folder / "log"
        self._arguments = ["run", "--bus", url, *self._files, "--output", str(self._written)]
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, *self._arguments], env=self._environment, stdout=log, stderr=log
            )

    def messages(self, *arguments: str, region: bool = False) -> subprocess.CompletedProcess[str]:
        """`region`: it is told where the region is."""
        where = [*self._files, "--written", str(self._written)] if region else []
        return subprocess.run(
            [*COMMAND, "messages", *arguments, *where], capture_output=True, text=True, timeout=60, check=False,
            env=self._environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def documents(self, *arguments: str) -> Any:
        told = self.messages(*arguments, "-o", "json")
        assert told.stdout, told.stderr
        return json.loads(told.stdout)

    def logs(self) -> str:
        return self._log.read_text()

    def applied(self) -> bool:
        return (self._written / "monsoon3" / "deployment-nova-compute-bb94.yaml").exists()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture
def files(amqp_url: str, tmp_path: Path) -> Iterator[OnFiles]:
    region = OnFiles(amqp_url, tmp_path)
    eventually(region.applied, "the region to be applied", otherwise=region.logs)
    yield region
    region.stop()


async def park(url: str, *statements: DnsChange) -> None:
    """As the collector would."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        parked = await channel.get_exchange(NAMES.parked(Stage.COLLECTOR), ensure=False)
        for statement in statements:
            message = message_of(statement)
            message.headers |= {"reason": "no such datacenter", "attempts": 3}
            await parked.publish(message, "")


def test_what_is_parked_is_put_back_only_while_it_is_the_newest(files: OnFiles, amqp_url: str) -> None:
    stated = files.documents("list", "--stage", "collector", "--vcenter", HOST)[-1]["statement"]
    revision = Revision.parse(stated["revision"])
    facts = {"host": HOST, "serial": stated["serial"], "addresses": tuple(stated["addresses"])}
    newest = DnsChange(present=True, revision=revision, **facts)
    old = DnsChange(present=False, revision=Revision(revision.epoch, revision.sequence - 1), **facts)
    files.stop()  # a stage that runs takes away what is superseded
    asyncio.run(park(amqp_url, newest, old))

    assert files.messages("parked", "list").stdout.count("no such datacenter") == 2
    shown = yaml.safe_load(files.messages("parked", "show", newest.trace.message_id[:8]).stdout)
    assert shown["statement"]["revision"] == str(revision)
    assert (shown["attempts"], shown["reason"]) == (3, "no such datacenter")

    refused = files.messages("parked", "retry", old.trace.message_id, "--yes", region=True)
    assert refused.returncode == 1
    assert "superseded" in refused.stderr
    assert files.messages("parked", "retry", newest.trace.message_id, region=True).returncode == 1  # nobody says yes
    # Whether it is the newest cannot be known without the record.
    assert files.messages("parked", "retry", newest.trace.message_id, "--yes").returncode == 2
    assert len(files.documents("parked", "list")) == 2

    put_back = files.messages("parked", "retry", newest.trace.message_id[:8], "--yes", region=True)
    assert put_back.returncode == 0, put_back.stderr
    assert [one["id"] for one in files.documents("parked", "list")] == [old.trace.message_id]
    assert files.messages("parked", "drop", old.trace.message_id[:8], "--yes").returncode == 0
    assert files.documents("parked", "list") == []


def test_stages_take_away_what_is_superseded_also_from_before_they_started(files: OnFiles, amqp_url: str) -> None:
    stated = files.documents("list", "--stage", "collector", "--vcenter", HOST)[-1]["statement"]
    revision = Revision.parse(stated["revision"])
    files.stop()
    facts = {"host": HOST, "present": False, "serial": stated["serial"]}
    old = DnsChange(revision=revision, **facts)
    newer = DnsChange(revision=Revision(revision.epoch + 100, 1), **facts)
    asyncio.run(park(amqp_url, old, newer))
    files.start()

    def only_the_newer() -> bool:
        assert [one["id"] for one in files.documents("parked", "list")] == [newer.trace.message_id]
        return True

    eventually(only_the_newer, "what is superseded to be taken away", otherwise=files.logs)


def test_a_resync_has_everything_about_a_vcenter_said_again(files: OnFiles) -> None:
    def times() -> dict[str, int]:
        return {one["for"]: one["times"] for one in files.documents("list", "--vcenter", HOST)}

    before = times()
    assert before.keys() == {"collector", "renderer", "applier"}
    asked = files.messages("resync", "vc-c-0", "--yes", region=True)
    assert asked.returncode == 0, asked.stderr
    eventually(
        lambda: all(count > before[stage] for stage, count in times().items()),
        "everything about the vCenter is said again",
        otherwise=files.logs,
    )
    strange = files.messages("resync", "vc-q-9", "--yes", region=True)
    assert strange.returncode == 2
    assert HOST in strange.stderr
