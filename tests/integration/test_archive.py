"""What stands beside the stages on a real RabbitMQ: the archive is read, parked messages are looked through, taken away
and put back, and owners of partitions are asked to say again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from aio_pika import Message

from tests.contract.harness import DELAYS, EpochsInMemory, Recorder, change, hosts_of, until, until_async
from vcenter_operator.command.messages.resyncing import request, requests
from vcenter_operator.common.bus import Ownership, Topology
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus
from vcenter_operator.common.bus.rabbitmq.archive import Archive
from vcenter_operator.common.bus.rabbitmq.archiving import Archived
from vcenter_operator.common.bus.rabbitmq.confirming import confirmed
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint
from vcenter_operator.common.bus.rabbitmq.parking import Parking, count_parked
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.errors import BusUnavailable, ConfigurationError, PermanentError
from vcenter_operator.common.messages import Stage, Statement
from vcenter_operator.common.wire import decode, encode

STAGE = Stage.COLLECTOR
TOPOLOGY = Topology(partitions=2)
NAMES = Names(TOPOLOGY, DELAYS.steps)
HOST = hosts_of(TOPOLOGY, STAGE, 1, 1)[0]

pytestmark = pytest.mark.needs("rabbitmq")


@pytest.fixture
def endpoint(amqp_url: str) -> Endpoint:
    return Endpoint.parse(amqp_url, 10, None)


@pytest_asyncio.fixture
async def bus(amqp_url: str) -> AsyncIterator[RabbitMQBus]:
    made = await RabbitMQBus.connect(amqp_url, TOPOLOGY, EpochsInMemory(), delays=DELAYS)
    yield made
    await made.close()


async def read(archive: Archive, since: datetime | None = None) -> list[Archived]:
    return [archived async for archived in archive.read(STAGE, since)]


async def archived(archive: Archive, count: int) -> list[Archived]:
    """Everything, once there is so much: the copy for the archive is not waited for when publishing."""
    found: list[Archived] = []

    async def all_there() -> bool:
        found[:] = await read(archive)
        return len(found) >= count

    await until_async(all_there, f"{count} statements in the archive")
    return found


async def test_the_archive_is_read_in_order_from_a_time_on_and_to_its_end(bus: RabbitMQBus, endpoint: Endpoint) -> None:
    archive = Archive(endpoint, NAMES)
    assert await read(archive) == []
    began = datetime.now(UTC)
    statements = [change(HOST, sequence) for sequence in range(1, 301)]
    for statement in statements:
        await bus.publish(statement)
    found = await archived(archive, len(statements))
    assert [decode(one.body) for one in found] == statements
    first = found[0]
    assert (first.stage, first.kind, first.host) == (STAGE, "DnsChange", HOST)
    assert (first.message_id, first.correlation_id) == (
        statements[0].trace.message_id, statements[0].trace.correlation_id,
    )  # fmt: skip
    assert began - timedelta(milliseconds=1) <= first.at <= found[-1].at <= datetime.now(UTC)

    # Chunks of the stream are older than the time that is asked for: what is before it is left out.
    middle = found[150].at
    assert await read(archive, middle) == [one for one in found if one.at >= middle]
    assert await read(archive, datetime.now(UTC) + timedelta(days=1)) == []
    assert await read(archive, began - timedelta(days=30)) == found

    # Nothing was taken by all this, and what comes later is there next time.
    last = change(HOST, 999)
    await bus.publish(last)
    assert [decode(one.body) for one in await archived(archive, 301)] == [*statements, last]


async def test_what_is_published_at_once_travels_together_and_is_archived_one_by_one(
    bus: RabbitMQBus, endpoint: Endpoint
) -> None:
    hosts = hosts_of(TOPOLOGY, STAGE, 0, 400)
    statements = {host: change(host, 1).model_copy(update={"addresses": ("x" * 10_000,)}) for host in hosts}
    await asyncio.gather(*(bus.publish(statement) for statement in statements.values()))
    found = await archived(Archive(endpoint, NAMES), len(statements))
    assert {one.host: decode(one.body) for one in found} == statements
    bundles = {one.offset for one in found}
    assert len(bundles) < len(statements) / 2
    assert len(bundles) > 3, "more than a bundle may have (1 MiB) went together"


async def test_what_was_published_before_a_bus_is_closed_is_archived(bus: RabbitMQBus, endpoint: Endpoint) -> None:
    await asyncio.gather(*(bus.publish(change(HOST, sequence)) for sequence in range(1, 51)))
    await bus.close()
    assert len(await read(Archive(endpoint, NAMES))) == 50


async def test_what_is_no_bundle_hides_nothing_that_is(bus: RabbitMQBus, endpoint: Endpoint) -> None:
    first, last = change(HOST, 1), change(HOST, 3)
    await bus.publish(first)
    await archived(Archive(endpoint, NAMES), 1)
    async with endpoint.linked("a test") as link:
        channel = await link.channel(confirms=True)
        for odd in (b"", b"rubbish", encode(change(HOST, 2)), b"\x96\x00"):
            await confirmed(link, channel, NAMES.archive(STAGE), "", Message(odd))
        assert len(await read(Archive(endpoint, NAMES))) == 1
        await bus.publish(last)
        found = await archived(Archive(endpoint, NAMES), 2)
    assert [decode(one.body) for one in found] == [first, last]


async def test_progress_is_told_and_an_archive_that_was_never_made_is_named(
    bus: RabbitMQBus, endpoint: Endpoint
) -> None:
    for sequence in range(1, 4):
        await bus.publish(change(HOST, sequence))
    told: list[tuple[Stage, int, int]] = []
    await archived(Archive(endpoint, NAMES), 3)
    await read(Archive(endpoint, NAMES, lambda *how_far: told.append(how_far)))
    assert told == [(STAGE, number, len(told)) for number in range(1, len(told) + 1)]
    with pytest.raises(ConfigurationError, match="no stage ever ran"):
        await read(Archive(endpoint, Names(Topology(partitions=2, generation=9), DELAYS.steps)))
    away = Endpoint.parse("amqp://guest:guest@127.0.0.1:1/", 10, None)
    with pytest.raises(BusUnavailable):
        await read(Archive(away, NAMES))


async def serve(bus: RabbitMQBus, recorder: Recorder, stage: Stage = STAGE) -> asyncio.Task[None]:
    serving = asyncio.create_task(bus.serve(stage, recorder))
    await until(lambda: len(recorder.owned) == TOPOLOGY.partitions_of(stage), "every partition to be owned")
    return serving


async def end(serving: asyncio.Task[None]) -> None:
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_what_is_parked_is_dropped_and_put_back_and_the_rest_keeps_its_order(
    bus: RabbitMQBus, endpoint: Endpoint
) -> None:
    refusing = True

    async def work(_: Statement, __: Ownership) -> None:
        if refusing:
            raise PermanentError("no such datacenter")

    recorder, parking = Recorder(work=work), Parking(endpoint, NAMES)
    serving = await serve(bus, recorder)
    statements = [change(host, 1) for host in hosts_of(TOPOLOGY, STAGE, 1, 4)]
    for number, statement in enumerate(statements, 1):
        await bus.publish(statement)
        await until(lambda number=number: len(recorder.started) == number, "each to be tried")  # type: ignore[misc]
    ids = [statement.trace.message_id for statement in statements]

    async def parked() -> list[str]:
        return [one.id for one in await parking.all(STAGE)]

    async def all_parked() -> bool:
        return len(await parked()) == 4

    await until_async(all_parked, "all to be parked")
    assert await parked() == ids
    assert [one.id for one in await parking.drop(STAGE, {ids[1]})] == [ids[1]]
    assert await parked() == [ids[0], ids[2], ids[3]]
    assert await parking.drop(STAGE, {ids[1]}) == []

    await end(serving)  # nobody takes it: it has to be in its queue
    assert await parking.put_back(STAGE, TOPOLOGY.partition(STAGE, HOST), ids[3])
    assert not await parking.put_back(STAGE, TOPOLOGY.partition(STAGE, HOST), ids[3])
    assert await parked() == [ids[0], ids[2]]
    refusing = False
    again = Recorder(work=work)
    serving = await serve(bus, again)
    await until(lambda: again.handled == [statements[3]], "what was put back to be worked on")
    await end(serving)


async def test_several_may_look_at_a_long_parked_queue_at_once_and_each_sees_all(
    bus: RabbitMQBus, endpoint: Endpoint
) -> None:
    """More than a quorum queue hands over where nobody says how much (2,000)."""
    number = 2_500
    bodies = [f"no message {each}".encode() for each in range(number)]
    serving = await serve(bus, Recorder())
    await asyncio.gather(*(bus.publish_raw(STAGE, 0, body) for body in bodies))
    async with endpoint.linked("counting") as link:

        async def all_parked() -> bool:
            return await count_parked(link, NAMES, STAGE) == number

        await until_async(all_parked, "all to be parked")
    await end(serving)
    parking = Parking(endpoint, NAMES)
    first, second, third = await asyncio.gather(*(parking.all(STAGE) for _ in range(3)))
    assert first == second == third
    assert sorted(one.body for one in first) == sorted(bodies)


async def test_what_cannot_be_put_back_stays_parked(bus: RabbitMQBus, endpoint: Endpoint) -> None:
    await bus.publish_raw(STAGE, 0, b"no message")
    serving = await serve(bus, Recorder())
    parking = Parking(endpoint, NAMES)

    async def one_parked() -> bool:
        return len(await parking.all(STAGE)) == 1

    await until_async(one_parked, "it to be parked")
    (one,) = await parking.all(STAGE)
    assert len(one.id) == 16
    with pytest.raises(BusUnavailable, match="no queue takes"):
        await parking.put_back(STAGE, 7, one.id)  # there is no such partition
    assert await parking.all(STAGE) == [one]
    await end(serving)


async def test_owners_are_asked_to_say_again_and_it_is_told_where_there_is_none(
    bus: RabbitMQBus, endpoint: Endpoint
) -> None:
    recorder = Recorder()
    serving = await serve(bus, recorder, Stage.RENDERER)
    unheard = await request(endpoint, NAMES, requests(TOPOLOGY, HOST, [STAGE, Stage.RENDERER]))
    assert unheard == [STAGE]
    await until(lambda: bool(recorder.requests), "the request to arrive")
    (asked,) = recorder.requests
    assert (asked.stage, asked.partition, asked.host) == (Stage.RENDERER, 1, HOST)
    await end(serving)
