"""deploy/rabbitmq/definitions.json on the real broker: the stages do the main job each as its own user, logged in by
client certificate, and what a service has no business with is refused.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused

from tests.contract.harness import EpochsInMemory
from tests.e2e.processes import STAGES
from tests.e2e.test_command import COMMAND, EXAMPLE, environment, on_files
from tests.e2e.test_same_manifests import manifests
from tests.stack import Stack
from tests.waiting import eventually
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus
from vcenter_operator.common.bus.rabbitmq.definitions import COMMAND as PEOPLE
from vcenter_operator.common.bus.rabbitmq.definitions import user_of
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import Stage

pytestmark = pytest.mark.needs("rabbitmq", control=True)

DEFINITIONS = Path(__file__).parents[2] / "deploy" / "rabbitmq" / "definitions.json"
NAMES = Names(Topology(), RetryDelays().steps)


@dataclass(frozen=True)
class Place:
    """A virtual host with users, and what they log in with."""

    url: str
    ca: Path
    stack: Stack

    def files(self, user: str) -> tuple[Path, Path]:
        """Certificate and key."""
        pair = self.stack.ca.client(user)
        return pair.certificate, pair.key

    @asynccontextmanager
    async def channel(self, user: str) -> AsyncIterator[AbstractChannel]:
        """A channel of a user's, without anything of ours."""
        certificate, key = self.files(user)
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(certificate, key)
        async with await aio_pika.connect(f"{self.url}?auth=external", ssl_context=context) as connection:
            yield await connection.channel(publisher_confirms=True)


def import_definitions(rabbitmq: Any, folder: Path, vhost: str, *, without: tuple[str, ...] = ()) -> None:
    """The file as it is deployed, but for the name of the virtual host."""
    text = DEFINITIONS.read_text().replace('"vhost": "/"', f'"vhost": "{vhost}"')
    content = {kind: items for kind, items in json.loads(text).items() if kind not in without}
    content["vhosts"] = [{"name": vhost}]
    (folder / "definitions.json").write_text(json.dumps(content))
    rabbitmq.rabbitmqctl("import_definitions", str(folder / "definitions.json"))


@pytest.fixture
def place(rabbitmq: Any, stack: Stack, amqp_url: str, tmp_path: Path) -> Place:
    vhost = amqp_url.rpartition("/")[2]
    import_definitions(rabbitmq, tmp_path, vhost)
    return Place(rabbitmq.certificate_url(vhost), rabbitmq.ca, stack)


def test_four_stages_with_users_of_their_own_do_the_main_job(place: Place, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "region")
    output, processes = tmp_path / "output", []
    log = tmp_path / "log"
    with log.open("w") as stderr:
        for stage in STAGES:
            certificate, key = place.files(user_of(Stage(stage)))
            command = [*COMMAND, stage, "--bus", place.url, *on_files(tmp_path / "region"), "--output", str(output)]
            settings = environment(
                VCENTER_OPERATOR_BUS_CA=str(place.ca),
                VCENTER_OPERATOR_BUS_CERTIFICATE=str(certificate),
                VCENTER_OPERATOR_BUS_CERTIFICATE_KEY=str(key),
            )
            processes.append(subprocess.Popen(command, stderr=stderr, env=settings))
        try:
            eventually(lambda: len(manifests(output)) == 56, "every manifest", within=60, otherwise=log.read_text)
        finally:
            for process in processes:
                process.terminate()
            codes = [process.wait(15) for process in processes]
    assert codes == [0] * 4, log.read_text()
    assert "missing in the archive" not in log.read_text()


async def test_services_with_rights_alone_make_what_is_theirs_and_wait_for_the_others(
    rabbitmq: Any, place: Place, tmp_path: Path
) -> None:
    """A new generation, of which nothing was imported."""
    topology = Topology(partitions=2, generation=9)

    async def connected(stage: Stage) -> RabbitMQBus:
        certificate, key = place.files(user_of(stage))
        return await RabbitMQBus.connect(
            place.url, topology, EpochsInMemory(), ca=place.ca, certificate=certificate, key=key, within=60
        )

    buses = await asyncio.gather(*map(connected, Stage))
    assert all(bus.connected for bus in buses)
    for bus in buses:
        await bus.close()


async def test_people_may_look_at_what_is_parked_and_ask_for_a_resync(place: Place) -> None:
    certificate, key = place.files(PEOPLE)
    bus = await RabbitMQBus.connect(
        place.url, Topology(), EpochsInMemory(), ca=place.ca, certificate=certificate, key=key
    )
    assert await bus.parked(Stage.APPLIER) == []
    await bus.close()


async def test_a_certificate_whose_user_is_not_there_is_refused(place: Place) -> None:
    certificate, key = place.files("somebody-else")
    with pytest.raises(ConfigurationError, match="client certificate refused"):
        await RabbitMQBus.connect(
            place.url, Topology(), EpochsInMemory(), ca=place.ca, certificate=certificate, key=key
        )


Deed = Callable[[AbstractChannel], Awaitable[object]]


async def ignore(_: AbstractIncomingMessage) -> None:
    """Left without an answer."""


def publishing(exchange: str, key: str = "0") -> Deed:
    async def publish(channel: AbstractChannel) -> None:
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await target.publish(aio_pika.Message(b"x"), key)

    return publish


def reading(queue: str) -> Deed:
    async def read(channel: AbstractChannel) -> None:
        await channel.set_qos(prefetch_count=10)
        found = await channel.get_queue(queue, ensure=False)
        await found.consume(ignore, arguments={"x-stream-offset": "first"} if "archive" in queue else None)

    return read


def deleting(queue: str) -> Deed:
    async def delete(channel: AbstractChannel) -> None:
        await channel.queue_delete(queue)

    return delete


def tapping(exchange: str, queue: str) -> Deed:
    """A queue of one's own that gets what somebody else sends."""

    async def tap(channel: AbstractChannel) -> None:
        found = await channel.get_queue(queue, ensure=False)
        await found.bind(exchange, "0")

    return tap


ALLOWED: dict[str, tuple[Stage, Deed]] = {
    "its own arrow": (Stage.COLLECTOR, publishing(NAMES.arrow(Stage.RENDERER))),
    "a request to the stage before it": (Stage.COLLECTOR, publishing(NAMES.resync(Stage.DISCOVERY))),
    "its own queue": (Stage.COLLECTOR, reading(NAMES.parked(Stage.COLLECTOR))),
}
REFUSED: dict[str, tuple[Stage, Deed]] = {
    "a statement for the applier": (Stage.COLLECTOR, publishing(NAMES.arrow(Stage.APPLIER))),
    "a statement of discovery's": (Stage.COLLECTOR, publishing(NAMES.arrow(Stage.COLLECTOR))),
    "any queue, through the default exchange": (Stage.RENDERER, publishing("", NAMES.partition(Stage.APPLIER, 0))),
    "a retry of another stage's": (Stage.RENDERER, publishing(NAMES.again(Stage.APPLIER))),
    "a request to a stage that is not before it": (Stage.DISCOVERY, publishing(NAMES.resync(Stage.RENDERER))),
    "reading what is for another stage": (Stage.COLLECTOR, reading(NAMES.partition(Stage.APPLIER, 0))),
    "reading what another stage parked": (Stage.DISCOVERY, reading(NAMES.parked(Stage.APPLIER))),
    "reading the archive of manifests": (Stage.COLLECTOR, reading(NAMES.archive(Stage.APPLIER))),
    "a copy of the manifests": (Stage.COLLECTOR, tapping(NAMES.arrow(Stage.APPLIER), NAMES.parked(Stage.COLLECTOR))),
    "deleting another stage's queue": (Stage.APPLIER, deleting(NAMES.partition(Stage.RENDERER, 0))),
    "deleting the archive that it reads from": (Stage.APPLIER, deleting(NAMES.archive(Stage.APPLIER))),
}


async def test_what_a_service_has_no_business_with_is_refused(place: Place) -> None:
    async def refused(stage: Stage, deed: Deed) -> bool:
        async with place.channel(user_of(stage)) as channel, asyncio.timeout(10):
            try:
                await deed(channel)
            except ChannelAccessRefused:
                return True
            return False

    assert {what: await refused(*deed) for what, deed in ALLOWED.items()} == dict.fromkeys(ALLOWED, False)
    assert {what: await refused(*deed) for what, deed in REFUSED.items()} == dict.fromkeys(REFUSED, True)
