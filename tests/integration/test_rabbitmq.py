"""The bus on a real RabbitMQ, where it can break: broker stopped, killed, hung or under an alarm; replicas killed and
stopped; connections cut; queues deleted; clashes, backlogs, TLS, passwords; what the archive and an idle bus cost.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aio_pika
import pytest
import pytest_asyncio
from pamqp.common import FieldTable

from tests.contract.harness import (
    DELAYS,
    EpochsInMemory,
    RabbitMQHarness,
    Recorder,
    change,
    hosts_of,
    until,
    until_async,
)
from tests.contract.proxy import in_front_of
from tests.contract.replicas import Replica
from tests.stack.rabbitmq import RabbitMQ
from vcenter_operator.common import telemetry
from vcenter_operator.common.bus import Ownership, Topology
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus
from vcenter_operator.common.bus.rabbitmq.archive import Archive
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.errors import BusUnavailable, ConfigurationError
from vcenter_operator.common.identity import ObjectId, Revision, Unit
from vcenter_operator.common.messages import (
    IndexEntry,
    ManifestDelta,
    Provenance,
    ResyncRequest,
    Stage,
    Statement,
    ZoneSource,
)
from vcenter_operator.common.process import _MARGIN
from vcenter_operator.common.wire import CONTENT_TYPE, decode

STAGE = Stage.COLLECTOR
TOPOLOGY = Topology(partitions=2)
NAMES = Names(TOPOLOGY, DELAYS.steps)
HOST = "vc-a.example.test"

pytestmark = pytest.mark.needs("rabbitmq")
ours = pytest.mark.needs("rabbitmq", control=True)


@pytest_asyncio.fixture
async def harness(amqp_url: str) -> AsyncIterator[RabbitMQHarness]:
    found = RabbitMQHarness(amqp_url, TOPOLOGY)
    yield found
    await found.close()


async def owner(harness: RabbitMQHarness, recorder: Recorder) -> RabbitMQBus:
    """A replica that owns all."""
    bus = await harness.replica()
    harness.serve(bus, recorder)
    await until(lambda: len(recorder.owned) == TOPOLOGY.partitions, "every partition to be owned")
    return bus


async def publish_until_it_works(bus: RabbitMQBus, statement: Statement, within: float = 60.0) -> int:
    """As a producer does; how often it was unavailable."""
    deadline = time.monotonic() + within
    for failures in range(1_000_000):
        try:
            await bus.publish(statement)
        except BusUnavailable:
            assert time.monotonic() < deadline, "the bus did not come back"
            await asyncio.sleep(0.1)
        else:
            return failures
    raise AssertionError


# The broker goes away


@ours
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_what_was_confirmed_outlives_the_broker(harness: RabbitMQHarness, rabbitmq: RabbitMQ, how: str) -> None:
    recorder = Recorder()
    bus, idle = await owner(harness, recorder), await harness.replica()
    before = list(recorder.owned.values())
    confirmed: dict[str, int] = {}
    again = asyncio.Event()

    async def produce(host: str) -> None:
        for sequence in range(1, 1_000_000):
            last = again.is_set()
            await publish_until_it_works(idle, change(host, sequence))
            confirmed[host] = sequence
            if last:
                return

    producing = [asyncio.create_task(produce(f"vc-{number}.example.test")) for number in range(10)]
    await until(lambda: len(confirmed) == 10, "every producer to begin")
    await asyncio.to_thread(getattr(rabbitmq, how))
    await until(lambda: not any(ownership.held for ownership in before), "the loss to be known", within=3)
    await until(lambda: not recorder.owned, "everything to be released", within=10)
    with pytest.raises(BusUnavailable):
        await bus.publish(change(HOST, 1))
    await asyncio.to_thread(rabbitmq.start)
    again.set()
    await asyncio.gather(*producing)
    await until(
        lambda: all(recorder.sequences(host)[-1:] == [confirmed[host]] for host in confirmed), "what was confirmed"
    )
    assert len(recorder.owned) == TOPOLOGY.partitions
    for earlier in before:
        assert recorder.owned[earlier.partition].epoch > earlier.epoch


@ours
async def test_a_broker_that_lost_everything_is_used_again(harness: RabbitMQHarness, rabbitmq: RabbitMQ) -> None:
    recorder = Recorder()
    bus = await owner(harness, recorder)
    before = list(recorder.owned.values())
    vhost = harness.url.rpartition("/")[2]
    await asyncio.to_thread(rabbitmq.delete_vhost, vhost)
    await until(lambda: not recorder.owned, "everything to be released")
    await asyncio.to_thread(rabbitmq.create_vhost, vhost)
    await publish_until_it_works(bus, change(HOST, 1))
    await until(lambda: recorder.sequences(HOST) == [1], "work to go on")
    await until(lambda: len(recorder.owned) == TOPOLOGY.partitions, "everything to be taken again")
    assert all(recorder.owned[each.partition].epoch > each.epoch for each in before)


@ours
async def test_a_broker_that_hangs_is_left_and_found_again(amqp_url: str, rabbitmq: RabbitMQ) -> None:
    harness, recorder = RabbitMQHarness(amqp_url, TOPOLOGY, heartbeat=4), Recorder()
    bus = await owner(harness, recorder)
    before = list(recorder.owned.values())
    with rabbitmq.paused():
        stopped = time.monotonic()
        await until(lambda: not any(ownership.held for ownership in before), "expiry", within=10)
        assert time.monotonic() - stopped < 4, "ownership outlived its proof"
        with pytest.raises(BusUnavailable):
            await bus.publish(change(HOST, 1))
        await until(lambda: not recorder.owned, "everything to be released", within=20)
    await publish_until_it_works(bus, change(HOST, 2))
    await until(lambda: recorder.sequences(HOST)[-1:] == [2], "work to go on", within=60)
    await harness.close()


@ours
async def test_stopping_takes_no_longer_where_the_broker_hangs(harness: RabbitMQHarness, rabbitmq: RabbitMQ) -> None:
    """A process that does not end in time after SIGTERM is ended, and counts as failed."""
    bus, recorder = await harness.replica(stop_within=1.0), Recorder()
    serving = asyncio.create_task(bus.serve(Stage.COLLECTOR, recorder))
    await until(lambda: len(recorder.owned) == TOPOLOGY.partitions, "everything to be taken")
    with rabbitmq.paused():
        serving.cancel()
        async with asyncio.timeout(1.0 + _MARGIN):
            await asyncio.wait({serving})
    assert not recorder.owned


@ours
async def test_under_an_alarm_publishing_fails_in_time_and_partitions_stay(
    harness: RabbitMQHarness, rabbitmq: RabbitMQ
) -> None:
    recorder = Recorder()
    bus = await owner(harness, recorder)
    await bus.publish(change(HOST, 1))
    before = dict(recorder.owned)
    await asyncio.to_thread(rabbitmq.rabbitmqctl, "set_vm_memory_high_watermark", "0.0001")
    try:
        with pytest.raises(BusUnavailable, match="no answer"):
            await bus.publish(change(HOST, 2))
        assert recorder.owned == before
        assert all(ownership.held for ownership in before.values())
        large = change(HOST, 2).model_copy(update={"addresses": ("x" * 2**20,)})
        said = await asyncio.gather(*(bus.publish(large) for _ in range(40)), return_exceptions=True)
        assert all(isinstance(each, BusUnavailable) for each in said)
        assert bus._publisher._link is not None
        writer = bus._publisher._link._transport._writer
        assert writer is not None
        assert writer.transport.get_write_buffer_size() < 2**20, "what nobody reads piles up"
    finally:
        await asyncio.to_thread(rabbitmq.rabbitmqctl, "set_vm_memory_high_watermark", "0.4")
    await publish_until_it_works(bus, change(HOST, 3))
    await until(lambda: recorder.sequences(HOST)[-1:] == [3], "work to go on")
    assert recorder.owned == before


# Connections and consumers


async def test_a_connection_that_is_cut_ends_ownership_at_once_and_work_goes_on(harness: RabbitMQHarness) -> None:
    entered = asyncio.Event()

    async def work(_: Statement, __: Ownership) -> None:
        if not entered.is_set():
            entered.set()
            await asyncio.Event().wait()

    recorder = Recorder(work=work)
    bus = await owner(harness, recorder)
    before = list(recorder.owned.values())
    await bus.publish(change(HOST, 1))
    await entered.wait()
    harness.proxies[bus].cut()
    await until(lambda: not any(ownership.held for ownership in before), "the loss to be known", within=2)
    await until(lambda: not recorder.busy, "the work to be cancelled", within=2)
    await until(lambda: recorder.sequences(HOST) == [1], "the statement to be delivered again")
    await publish_until_it_works(bus, change(HOST, 2))
    await until(lambda: recorder.sequences(HOST) == [1, 2], "work to go on")
    assert len(recorder.released) == len(before)


async def test_a_statement_cut_in_the_middle_of_a_frame_is_told_and_costs_no_partition(
    harness: RabbitMQHarness,
) -> None:
    recorder = Recorder()
    bus = await owner(harness, recorder)
    before = dict(recorder.owned)
    harness.proxies[bus].cut_in_a_frame(longer_than=250)
    with pytest.raises(BusUnavailable):
        await bus.publish(change(HOST, 1))
    assert not harness.proxies[bus].is_to_cut
    await publish_until_it_works(bus, change(HOST, 2))
    await until(lambda: recorder.sequences(HOST) == [2], "the next statement alone")
    assert recorder.owned == before


async def test_a_half_open_connection_ends_ownership_in_time(amqp_url: str) -> None:
    harness, recorder = RabbitMQHarness(amqp_url, TOPOLOGY, heartbeat=4), Recorder()
    bus = await owner(harness, recorder)
    before, proxy = list(recorder.owned.values()), harness.proxies[bus]
    proxy.hold()
    await until(lambda: not any(ownership.held for ownership in before), "expiry", within=4)
    await until(lambda: not recorder.owned, "everything to be released", within=10)
    proxy.forward()
    await until(lambda: len(recorder.owned) == 2, "everything to be taken again", within=30)
    await harness.close()


@ours
async def test_a_consumer_that_the_broker_forgot_without_a_word_is_noticed_and_a_new_process_goes_on(
    amqp_url: str, rabbitmq: RabbitMQ
) -> None:
    """Connection, channel and lock are as they were; only that nothing arrives tells."""

    async def replica() -> tuple[RabbitMQBus, Recorder, asyncio.Task[None]]:
        bus = await RabbitMQBus.connect(amqp_url, TOPOLOGY, EpochsInMemory(), delays=DELAYS, probe_every=0.5)
        recorder = Recorder()
        serving = asyncio.create_task(bus.serve(STAGE, recorder))
        await until(lambda: len(recorder.owned) == TOPOLOGY.partitions, "every partition to be owned")
        return bus, recorder, serving

    bus, recorder, serving = await replica()
    partition = TOPOLOGY.partition(STAGE, HOST)
    await asyncio.sleep(2)
    assert bus.stopped() == [], "idleness"
    await asyncio.to_thread(rabbitmq.silence, amqp_url.rpartition("/")[2], NAMES.partition(STAGE, partition))
    await bus.publish(change(HOST, 1))
    await until(bus.stopped, "it to be noticed", within=10)
    assert [each.partition(":")[0] for each in bus.stopped()] == [
        f"messages do not flow in partition {partition} of collector"
    ]
    assert recorder.owned[partition].held, "nothing else shows it"
    serving.cancel()
    await asyncio.wait({serving})
    await bus.close()

    bus, recorder, serving = await replica()
    await until(lambda: recorder.sequences(HOST) == [1], "what waited")
    assert bus.stopped() == []
    serving.cancel()
    await asyncio.wait({serving})
    await bus.close()


@ours
async def test_a_broker_that_is_away_is_no_sign_of_anything_here(amqp_url: str, rabbitmq: RabbitMQ) -> None:
    bus = await RabbitMQBus.connect(amqp_url, TOPOLOGY, EpochsInMemory(), delays=DELAYS, probe_every=0.3)
    recorder = Recorder()
    serving = asyncio.create_task(bus.serve(STAGE, recorder))
    await until(lambda: len(recorder.owned) == TOPOLOGY.partitions, "every partition to be owned")
    assert bus.connected
    await asyncio.to_thread(rabbitmq.stop)
    await until(lambda: not bus.connected, "the loss to be known", within=5)
    for _ in range(15):
        assert bus.stopped() == []
        await asyncio.sleep(0.1)
    await asyncio.to_thread(rabbitmq.start)
    await until(lambda: bus.connected and len(recorder.owned) == TOPOLOGY.partitions, "all to be well again")
    assert bus.stopped() == []
    serving.cancel()
    await asyncio.wait({serving})
    await bus.close()


async def test_a_queue_that_is_deleted_is_declared_and_consumed_again(
    harness: RabbitMQHarness, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    bus = await owner(harness, recorder)
    partition = TOPOLOGY.partition(STAGE, HOST)
    lost, other = recorder.owned[partition], recorder.owned[1 - partition]
    await harness.remove_queue(STAGE, partition)
    await until(lambda: not lost.held, "the end of the consumer to be noticed", within=5)
    await until(lambda: partition in recorder.owned, "the partition to be taken again")
    await publish_until_it_works(bus, change(HOST, 1))
    await until(lambda: recorder.sequences(HOST) == [1], "work to go on")
    assert recorder.owned[partition].epoch > lost.epoch, "whoever lost statements has to ask for a resync"
    # RabbitMQ 3.10 at times closes the connection of whoever uses a queue that is just being deleted (541).
    untouched = recorder.owned[1 - partition] is other
    assert untouched or "INTERNAL_ERROR" in caplog.text, "the other partition has nothing to do with it"


async def test_a_lock_that_is_deleted_ends_ownership(harness: RabbitMQHarness, rabbitmq: RabbitMQ) -> None:
    recorder = Recorder()
    await owner(harness, recorder)
    lost = recorder.owned[0]
    vhost = harness.url.rpartition("/")[2]
    queue = f'{{resource, <<"{vhost}">>, queue, <<"{NAMES.owner(STAGE, 0)}">>}}'
    await asyncio.to_thread(
        rabbitmq.rabbitmqctl,
        "eval",
        f'{{ok, Q}} = rabbit_amqqueue:lookup({queue}), rabbit_amqqueue:delete(Q, false, false, <<"test">>).',
    )
    await until(lambda: not lost.held, "the loss to be noticed", within=5)
    await until(lambda: 0 in recorder.owned and recorder.owned[0].epoch > lost.epoch, "the partition to be taken again")


async def test_a_message_that_kills_its_consumers_is_parked_in_the_end(harness: RabbitMQHarness) -> None:
    bus = await harness.replica()
    await bus.publish(change(HOST, 1))
    async with await aio_pika.connect(harness.url) as connection, connection.channel() as channel:
        queue = await channel.get_queue(NAMES.partition(STAGE, TOPOLOGY.partition(STAGE, HOST)), ensure=False)
        returned = 0

        async def give_back(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            nonlocal returned
            returned += 1
            await message.nack(requeue=True)

        await queue.consume(give_back)
        await until(lambda: returned == 101, "the last delivery")
    parked = await bus.parked(STAGE)
    for _ in range(50):
        if parked:
            break
        await asyncio.sleep(0.1)
        parked = await bus.parked(STAGE)
    assert [(each.host, decode(each.body).trace) for each in parked] == [(HOST, decode(parked[0].body).trace)]
    assert "never answered" in parked[0].reason


# Replicas as processes


Start = Callable[..., Any]


@pytest_asyncio.fixture
async def start(amqp_url: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a replica in a process of its own."""
    started: list[Replica] = []

    async def one(heartbeat: int = 10, partitions: int = 2, work: float = 0.0) -> Replica:
        started.append(await Replica.start(amqp_url, tmp_path, heartbeat=heartbeat, partitions=partitions, work=work))
        return started[-1]

    yield one
    for replica in started:
        await replica.end()


async def test_a_killed_replica_is_replaced_within_two_seconds(start: Start, amqp_url: str) -> None:
    first = await start(work=3600.0)
    await until(lambda: first.owned() == {0, 1}, "the first to own all")
    bus = await RabbitMQBus.connect(amqp_url, TOPOLOGY, EpochsInMemory(), delays=DELAYS)
    await bus.publish(change(HOST, 1))
    await until(lambda: first.of("start"), "the statement to be in work")
    second = await start()
    await until(lambda: len(first.owned()) == len(second.owned()) == 1, "both to share")
    first.process.kill()
    killed = time.monotonic()
    await until(lambda: second.owned() == {0, 1}, "the other to own all")
    taken = second.of("take")[-1]["at"]
    assert taken - killed < 2.0, f"took {taken - killed:.2f} s"
    await until(lambda: second.of("done"), "the statement to be delivered again")
    await bus.close()


async def test_a_stopped_replica_does_nothing_once_it_wakes(start: Start, tmp_path: Path) -> None:
    heartbeat = 4  # two seconds with the broker: it gives the locks away after four to six
    first = await start(heartbeat=heartbeat)
    await until(lambda: first.owned() == {0, 1}, "the first to own all")
    second = await start(heartbeat=heartbeat)
    await until(lambda: len(first.owned()) == len(second.owned()) == 1, "both to share")
    first.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    await until(lambda: second.owned() == {0, 1}, "the other to own all")
    taken = second.of("take")[-1]
    # It had last said something within three quarters of a second before.
    assert 3.25 < taken["at"] - stopped < 2 * heartbeat, f"after {taken['at'] - stopped:.2f} s"

    first.process.send_signal(signal.SIGCONT)
    await until(lambda: first.of("expired"), "the one that woke to know")
    await until(lambda: len(first.owned()) == len(second.owned()) == 1, "both to share again")
    since: dict[int, dict[int, float]] = {0: {}, 1: {}}
    for line in (tmp_path / "effects").read_text().splitlines():
        partition, epoch, at = (float(part) for part in line.split())
        since[int(partition)].setdefault(int(epoch), at)
        later = [begun for other, begun in since[int(partition)].items() if other > epoch]
        assert all(at < begun for begun in later), f"an effect of epoch {epoch} after a later one began"
    assert all(len(epochs) >= 2 for epochs in (since[taken["partition"]],))


async def test_a_backlog_is_one_piece_of_work_for_each_vcenter(harness: RabbitMQHarness) -> None:
    """Ten thousand statements on twenty vCenters, while nobody was there."""
    hosts = [f"vc-{number}.example.test" for number in range(20)]
    bus, recorder = await harness.replica(), Recorder()
    for sequence in range(1, 501):
        await asyncio.gather(*(bus.publish(change(host, sequence)) for host in hosts))
    harness.serve(bus, recorder)
    await until(lambda: all(recorder.sequences(host)[-1:] == [500] for host in hosts), "the newest of each", within=120)
    assert len(recorder.started) <= 22, "what was superseded was worked on"


async def test_memory_does_not_grow_with_a_backlog(start: Start, amqp_url: str) -> None:
    """Three thousand statements of 64 KiB on ten vCenters: memory for a prefetch."""
    bus = await RabbitMQBus.connect(amqp_url, Topology(1), EpochsInMemory(), delays=DELAYS)
    hosts = [f"vc-{number}.example.test" for number in range(10)]
    padding = tuple("x" * 1000 for _ in range(64))
    for sequence in range(1, 301):
        large = (change(host, sequence).model_copy(update={"addresses": padding}) for host in hosts)
        await asyncio.gather(*(bus.publish(statement) for statement in large))
    await bus.close()
    replica = await start(partitions=1)
    await until(lambda: replica.of("take"), "the partition to be taken")
    before = replica.memory()
    newest = str(Revision(1, 300))
    await until(
        lambda: {each["host"] for each in replica.of("done") if each["age"] == newest} == set(hosts),
        "the newest of each",
        within=120,
    )
    assert replica.memory() - before < 80 * 1024 * 1024, "the backlog has 190 MiB"


# What is in the broker


async def test_messages_say_what_they_are_and_the_archive_has_them_all(harness: RabbitMQHarness) -> None:
    bus = await harness.replica()
    statement = change(HOST, 1)
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    caused = statement.model_copy(
        update={"trace": statement.trace.caused().model_copy(update={"traceparent": traceparent})}
    )
    await bus.publish(statement)
    await bus.publish(caused)
    async with await aio_pika.connect(harness.url) as connection:
        found = await read(connection, NAMES.partition(STAGE, TOPOLOGY.partition(STAGE, HOST)), 2)
    assert [decode(message.body) for message in found] == [statement, caused]
    message = found[1]
    assert message.content_type == CONTENT_TYPE
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.message_id, message.type) == (caused.trace.message_id, "DnsChange")
    assert message.correlation_id == statement.trace.correlation_id
    assert message.headers["key"] == HOST
    assert message.headers["traceparent"] == traceparent
    assert message.headers["causation-id"] == statement.trace.message_id

    async def all_archived() -> bool:
        archive = Archive(Endpoint.parse(harness.url, 10), NAMES)
        return [decode(archived.body) async for archived in archive.read(STAGE)] == [statement, caused]

    await until_async(all_archived, "both in the archive")


async def read(
    connection: aio_pika.abc.AbstractConnection, queue: str, count: int
) -> list[aio_pika.abc.AbstractIncomingMessage]:
    async with connection.channel() as channel:
        await channel.set_qos(prefetch_count=100)
        messages: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
        await (await channel.get_queue(queue, ensure=False)).consume(messages.put)
        async with asyncio.timeout(10):
            return [await messages.get() for _ in range(count)]


@ours
async def test_no_manifest_body_is_on_the_brokers_disk(harness: RabbitMQHarness, rabbitmq: RabbitMQ) -> None:
    """The broker's files, as a thief would find them: the key is there to be found, the body is not."""
    from vcenter_operator.common.sealing import Keyring

    keyring, secret = Keyring([b"k" * 32]), "hunter2-in-a-manifest"
    manifest = {"kind": "Secret", "stringData": {"password": secret}}
    object_id, digest, revision = ObjectId("", "Secret", "ns", "nova"), keyring.digest(manifest), Revision(1, 1)
    host = "vc-on-disk.example.test"
    bus = await harness.replica()
    await bus.publish(
        ManifestDelta(
            host=host,
            present=True,
            provenance=Provenance(
                zone=ZoneSource(revision=revision, serial=1), inventory=revision, templates=1, cells=1, config=1
            ),
            index={object_id: IndexEntry(digest=digest, template="ns/nova", unit=Unit("cluster", "a", "bb1"))},
            manifests={object_id: keyring.seal(host, object_id, digest, manifest)},
        )
    )
    files = [file for file in rabbitmq.folder.rglob("*") if file.is_file() and file.stat().st_size]
    contents = [file.read_bytes() for file in files]
    assert any(host.encode() in content for content in contents), "not looked where messages are"
    assert not any(secret.encode() in content or b"stringData" in content for content in contents)


# Clashes, users, TLS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"x-queue-type": "classic"}, "x-queue-type"),
        ({"x-queue-type": "quorum"}, "x-single-active-consumer"),
    ],
)
async def test_a_clash_says_what_differs(amqp_url: str, arguments: FieldTable, says: str) -> None:
    queue = NAMES.partition(STAGE, 1)
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        await channel.declare_queue(queue, durable=True, arguments=arguments)
    with pytest.raises(ConfigurationError) as raised:
        await RabbitMQBus.connect(amqp_url, TOPOLOGY, EpochsInMemory(), delays=DELAYS)
    assert queue in str(raised.value)
    assert "VCENTER_OPERATOR_GENERATION" in str(raised.value)
    assert "exists with another" in str(raised.value)
    assert says in str(raised.value) or "x-delivery-limit" in str(raised.value) or "dead-letter" in str(raised.value)


async def test_another_number_of_partitions_needs_another_generation(amqp_url: str) -> None:
    await (await RabbitMQBus.connect(amqp_url, TOPOLOGY, EpochsInMemory(), delays=DELAYS)).close()
    with pytest.raises(ConfigurationError, match=r"number of partitions.*wanted '3'.*there is '2'"):
        await RabbitMQBus.connect(amqp_url, Topology(3), EpochsInMemory(), delays=DELAYS)
    await (await RabbitMQBus.connect(amqp_url, Topology(3, 2), EpochsInMemory(), delays=DELAYS)).close()


@pytest.mark.parametrize(
    "url",
    ["http://u:pa55word@localhost/", "amqp:///", "amqp://u:pa55word@localhost:notaport/", "amqp://u:pa55#word@h/", ""],
)
async def test_a_wrong_url_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="VCENTER_OPERATOR_BUS, or bus_url") as raised:
        await RabbitMQBus.connect(url, TOPOLOGY, EpochsInMemory())
    assert "pa55" not in str(raised.value)


async def test_a_wrong_password_is_said_at_once_and_never_told(
    amqp_url: str, rabbitmq: RabbitMQ, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure("DEBUG", json=True)
    try:
        right = amqp_url.partition("://")[2].partition("@")[0].partition(":")[2]
        wrong = amqp_url.replace(right, quote("wr0ng/p@ss", safe=""))
        with pytest.raises(ConfigurationError, match="user or password refused") as raised:
            await RabbitMQBus.connect(wrong, TOPOLOGY, EpochsInMemory(), within=20)
        bus = await RabbitMQBus.connect(amqp_url, TOPOLOGY, EpochsInMemory(), delays=DELAYS)
        await bus.publish(change(HOST, 1))
        await bus.close()
    finally:
        logging.getLogger().handlers.clear()
    told = str(raised.value) + capfd.readouterr().err
    assert "the broker" in told or raised
    for password in ("wr0ng", quote("wr0ng/p@ss", safe=""), right, rabbitmq.password):
        assert password not in told


async def test_a_vhost_that_is_not_there_is_said(amqp_url: str) -> None:
    with pytest.raises(BusUnavailable, match=r"amqp://127.*-not: the vhost cannot be opened"):
        await RabbitMQBus.connect(f"{amqp_url}-not", TOPOLOGY, EpochsInMemory(), within=1)


async def test_a_broker_that_is_away_at_the_start_is_waited_for_only_so_long() -> None:
    with pytest.raises(BusUnavailable, match=r"amqp://127\.0\.0\.1:1/"):
        await RabbitMQBus.connect("amqp://u:p@127.0.0.1:1/", TOPOLOGY, EpochsInMemory(), within=1.0)


async def test_tls_is_verified(rabbitmq: RabbitMQ) -> None:
    assert rabbitmq.tls_url is not None
    topology = Topology(partitions=1, generation=77)
    bus = await RabbitMQBus.connect(rabbitmq.tls_url, topology, EpochsInMemory(), delays=DELAYS, ca=rabbitmq.ca)
    recorder = Recorder()
    serving = asyncio.create_task(bus.serve(STAGE, recorder))
    await bus.publish(change(HOST, 1))
    await until(lambda: recorder.sequences(HOST) == [1], "the statement")
    serving.cancel()
    await asyncio.wait({serving})
    await bus.close()
    for url in (rabbitmq.tls_url, rabbitmq.tls_url + "?no_verify_ssl=1"):
        with pytest.raises(ConfigurationError, match="certificate not trusted"):
            await RabbitMQBus.connect(url, topology, EpochsInMemory(), within=10)


# Cost


async def test_an_idle_replica_asks_little(amqp_url: str) -> None:
    """Every question is a write on the socket, and so is every heartbeat."""
    proxy, url = await in_front_of(amqp_url)
    bus = await RabbitMQBus.connect(url, TOPOLOGY, EpochsInMemory(), delays=DELAYS)
    recorder = Recorder()
    serving = asyncio.create_task(bus.serve(STAGE, recorder))
    await until(lambda: len(recorder.owned) == 2, "every partition to be owned")
    await asyncio.sleep(1)
    before, began = proxy.requests, time.monotonic()
    await asyncio.sleep(5)
    each_second = (proxy.requests - before) / (time.monotonic() - began)
    assert 0.5 < each_second < 3, f"{each_second:.1f} a second"
    serving.cancel()
    await asyncio.wait({serving})
    await bus.close()
    await proxy.close()


async def test_a_request_to_nobody_is_no_error(harness: RabbitMQHarness) -> None:
    bus = await harness.replica()
    await bus.request(ResyncRequest(stage=Stage.APPLIER, partition=1))


async def test_statements_of_a_partition_beyond_the_prefetch_are_worked_on_too(harness: RabbitMQHarness) -> None:
    """More vCenters that take long than a prefetch has room for what waits behind them."""
    slow = hosts_of(TOPOLOGY, STAGE, 0, 95)
    quick = hosts_of(TOPOLOGY, STAGE, 0, 96)[-1]
    forever = asyncio.Event()

    async def work(statement: Statement, _: Ownership) -> None:
        if statement.host != quick:
            await forever.wait()

    recorder = Recorder(work=work)
    bus = await harness.replica(stop_within=0.1)
    harness.serve(bus, recorder)
    for sequence in range(1, 6):
        await asyncio.gather(*(bus.publish(change(host, sequence)) for host in slow))
    await bus.publish(change(quick, 1))
    await until(lambda: recorder.sequences(quick) == [1], "the quick one")
    assert len(recorder.busy) == 95
