"""The bus port's contract, kept by both adapters: partitions and their owners, order and newest-wins for each vCenter,
at-least-once, confirms, redelivery after a crash, retry, parking, resync requests, sealed bodies, graceful stop.
"""

from __future__ import annotations

import asyncio
import time
from itertools import count, pairwise

import msgpack
import pytest
from prometheus_client import REGISTRY

from tests.contract.harness import DELAYS, AnyBus, Harness, Recorder, change, hosts_of, until, until_async
from vcenter_operator.common.bus import Ownership, Parked
from vcenter_operator.common.errors import BusUnavailable, OwnershipLost, PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId, Revision, Unit
from vcenter_operator.common.messages import (
    DnsChange,
    IndexEntry,
    ManifestDelta,
    Provenance,
    ResyncRequest,
    Stage,
    Statement,
    ZoneSource,
)
from vcenter_operator.common.sealing import Keyring
from vcenter_operator.common.wire import decode, encode

STAGE = Stage.COLLECTOR
_mark = count(1000)


async def replicas(harness: Harness, number: int, log: list[Ownership] | None = None) -> list[tuple[AnyBus, Recorder]]:
    """So many replicas, serving, with an even share each."""
    found = [(await harness.replica(), Recorder(f"replica {n}", log=log)) for n in range(number)]
    for bus, recorder in found:
        harness.serve(bus, recorder)
    await until(lambda: even([recorder for _, recorder in found], harness), "an even share for each")
    return found


async def one(harness: Harness, recorder: Recorder, stop_within: float = 5.0) -> tuple[AnyBus, asyncio.Task[None]]:
    """One replica that owns all."""
    bus = await harness.replica(stop_within)
    task = harness.serve(bus, recorder)
    await until(lambda: len(recorder.owned) == harness.topology.partitions, "every partition to be owned")
    return bus, task


def even(recorders: list[Recorder], harness: Harness) -> bool:
    """Whether every partition has exactly one owner, and no replica more than its share."""
    owned = [partition for recorder in recorders for partition in recorder.owned]
    share = -(-harness.topology.partitions // len(recorders))
    assert len(owned) == len(set(owned)), "a partition with two owners"
    return len(owned) == harness.topology.partitions and all(len(r.owned) <= share for r in recorders)


# Partitions and ownership


@pytest.mark.parametrize("number", [1, 2, 4])
async def test_every_partition_has_one_owner_and_shares_are_even(harness: Harness, number: int) -> None:
    await replicas(harness, number)


async def test_replicas_join_and_leave_and_epochs_only_grow(harness: Harness) -> None:
    log: list[Ownership] = []
    (_, first), (_, second) = await replicas(harness, 2, log)
    third, bus = Recorder("third", log=log), await harness.replica()
    fourth, fourth_bus = Recorder("fourth", log=log), await harness.replica()
    leaving = [harness.serve(bus, third), harness.serve(fourth_bus, fourth)]
    everyone = [first, second, third, fourth]
    await until(lambda: even(everyone, harness), "the new ones to have their share")

    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    assert not third.owned
    assert not fourth.owned
    await until(lambda: even([first, second], harness), "the others to have all again")

    for partition in range(harness.topology.partitions):
        epochs = [ownership.epoch for ownership in log if ownership.partition == partition]
        assert all(earlier < later for earlier, later in pairwise(epochs)), f"partition {partition}: {epochs}"
    released = [ownership for recorder in everyone for ownership in recorder.released]
    assert released
    assert not any(ownership.held for ownership in released)


async def test_the_zone_has_one_owner(harness: Harness) -> None:
    recorders = [Recorder(), Recorder()]
    for recorder in recorders:
        harness.serve(await harness.replica(), recorder, Stage.DISCOVERY)
    await until(lambda: sum(len(recorder.owned) for recorder in recorders) == 1, "an owner of the zone")
    owner = next(recorder for recorder in recorders if recorder.owned)
    ownership = owner.owned[0]
    assert (ownership.stage, ownership.partition) == (Stage.DISCOVERY, 0)


async def test_a_crash_ends_ownership_and_another_takes_over(harness: Harness) -> None:
    (_, survivor), (bus, victim) = await replicas(harness, 2)
    mine = list(victim.owned.values())
    crashed = time.monotonic()
    await harness.crash(bus)
    await until(lambda: not any(ownership.held for ownership in mine), "the loss to be known", within=2)
    with pytest.raises(OwnershipLost):
        mine[0].verify()
    await until(lambda: len(survivor.owned) == harness.topology.partitions, "the other to take over")
    assert time.monotonic() - crashed < 5
    for lost in mine:
        assert survivor.owned[lost.partition].epoch > lost.epoch


async def test_a_partition_that_cannot_be_taken_goes_to_somebody_else(harness: Harness) -> None:
    async def cannot(_: Ownership) -> None:
        raise TransientError("not now")

    broken, whole = Recorder("broken", taking=cannot), Recorder("whole")
    harness.serve(await harness.replica(), broken)
    await until(lambda: len(broken.taken) >= 1, "an attempt to take one")
    harness.serve(await harness.replica(), whole)
    await until(lambda: len(whole.owned) == harness.topology.partitions, "the other to have all")
    assert len(broken.released) == len(broken.taken)

    broken.taking = None
    await until(lambda: even([broken, whole], harness), "both to share once it works", within=60)


# Order, newest wins


async def test_statements_on_a_vcenter_are_handled_in_order_and_never_two_at_once(harness: Harness) -> None:
    async def slowly(_: Statement, __: Ownership) -> None:
        await asyncio.sleep(0.002)

    recorder = Recorder(work=slowly)
    bus, _ = await one(harness, recorder)
    hosts = [host for partition in range(4) for host in hosts_of(harness.topology, STAGE, partition, 2)]
    for sequence in range(1, 41):
        await asyncio.gather(*(bus.publish(change(host, sequence)) for host in hosts))
    await until(lambda: all(recorder.sequences(host)[-1:] == [40] for host in hosts), "the newest of each")
    for host in hosts:
        sequences = recorder.sequences(host)
        assert all(earlier < later for earlier, later in pairwise(sequences)), f"{host}: {sequences}"
    assert recorder.overlaps == 0


async def test_of_several_that_wait_only_the_newest_is_handled(harness: Harness) -> None:
    gate = asyncio.Event()

    async def wait(_: Statement, __: Ownership) -> None:
        await gate.wait()

    recorder = Recorder(work=wait)
    bus, _ = await one(harness, recorder)
    for sequence in range(1, 31):
        await bus.publish(change("vc-a.example.test", sequence))
    await until_async(lambda: drained(harness), "all to be fetched")
    gate.set()
    await until(lambda: recorder.sequences("vc-a.example.test")[-1:] == [30], "the newest")
    assert recorder.sequences("vc-a.example.test") == [1, 30]


async def test_an_older_statement_that_comes_late_is_dropped(harness: Harness) -> None:
    recorder = Recorder()
    bus, _ = await one(harness, recorder)
    host = "vc-a.example.test"
    await bus.publish(change(host, 5))
    await until(lambda: recorder.sequences(host) == [5], "the newer")
    await bus.publish(change(host, 4))
    await bus.publish(change(host, 6))
    await until(lambda: recorder.sequences(host)[-1:] == [6], "the newest")
    assert recorder.sequences(host) == [5, 6]


async def test_a_slow_vcenter_holds_up_no_other(harness: Harness) -> None:
    slow, *others = hosts_of(harness.topology, STAGE, 2, 21)
    forever = asyncio.Event()

    async def work(statement: Statement, _: Ownership) -> None:
        if statement.host == slow:
            await forever.wait()

    recorder = Recorder(work=work)
    bus, task = await one(harness, recorder, stop_within=0.2)
    for sequence in range(1, 301):  # far more than a prefetch
        await bus.publish(change(slow, sequence))
    await asyncio.gather(*(bus.publish(change(host, 1)) for host in others))
    await until(lambda: all(recorder.sequences(host) == [1] for host in others), "the others to be handled")
    assert recorder.tries(slow) == 1
    task.cancel()


# At least once


async def test_what_is_published_while_nobody_serves_is_handled_later(harness: Harness) -> None:
    bus = await harness.replica()
    hosts = [f"vc-{number}.example.test" for number in range(50)]
    await asyncio.gather(*(bus.publish(change(host, 1)) for host in hosts))
    recorder = Recorder()
    harness.serve(bus, recorder)
    await until(lambda: len(recorder.handled) == 50, "all of them")
    assert sorted(statement.host for statement in recorder.handled) == sorted(hosts)
    assert all(statement == change(statement.host, 1).model_copy(update={"trace": statement.trace})
               for statement in recorder.handled)  # fmt: skip


async def test_of_a_backlog_one_statement_on_each_vcenter_is_worked_on(harness: Harness) -> None:
    """However quick the work is, and though there is far more than a prefetch."""
    bus, recorder = await harness.replica(), Recorder()
    hosts = [host for partition in range(4) for host in hosts_of(harness.topology, STAGE, partition, 2)]
    for sequence in range(1, 101):
        await asyncio.gather(*(bus.publish(change(host, sequence)) for host in hosts))
    harness.serve(bus, recorder)
    await until(lambda: all(recorder.sequences(host)[-1:] == [100] for host in hosts), "the newest of each")
    await settled(harness, recorder)
    assert {host: recorder.sequences(host) for host in hosts} == {host: [100] for host in hosts}


async def test_a_backlog_of_more_vcenters_than_fit_in_is_worked_on(harness: Harness) -> None:
    bus, recorder = await harness.replica(), Recorder()
    hosts = hosts_of(harness.topology, STAGE, 0, 150)
    await asyncio.gather(*(bus.publish(change(host, 1)) for host in hosts))
    harness.serve(bus, recorder)
    await until(lambda: all(recorder.sequences(host) == [1] for host in hosts), "all of them")


async def test_what_a_crashed_replica_had_in_work_is_delivered_to_the_next_owner(harness: Harness) -> None:
    async def never(_: Statement, __: Ownership) -> None:
        await asyncio.Event().wait()

    victim, survivor, publisher = Recorder(work=never), Recorder(), await harness.replica()
    bus, _ = await one(harness, victim)
    hosts = [f"vc-{number}.example.test" for number in range(20)]
    for sequence in (1, 2):  # one in work, one that waits
        await asyncio.gather(*(publisher.publish(change(host, sequence)) for host in hosts))
    await until(lambda: len(victim.started) == 20, "all to be in work")
    await harness.crash(bus)
    harness.serve(publisher, survivor)
    await until(lambda: all(survivor.sequences(host)[-1:] == [2] for host in hosts), "the newest of each")
    assert victim.handled == []


async def test_publishing_to_a_missing_queue_raises(harness: Harness) -> None:
    bus = await harness.replica()
    statement = change("vc-a.example.test", 1)
    await bus.publish(statement)
    await harness.remove_queue(STAGE, harness.topology.partition(STAGE, statement.host))
    with pytest.raises(BusUnavailable, match="no queue"):
        await bus.publish(statement)


async def test_a_closed_bus_says_so_and_has_given_everything_up(harness: Harness) -> None:
    recorder = Recorder()
    bus, task = await one(harness, recorder)
    await bus.close()
    assert not recorder.owned
    assert len(recorder.released) == harness.topology.partitions
    with pytest.raises(BusUnavailable):
        await bus.publish(change("vc-a.example.test", 1))
    await asyncio.wait({task}, timeout=5)
    assert task.done()


# Retry and parking


async def test_a_transient_failure_is_tried_again_later_and_later_and_holds_up_no_other(harness: Harness) -> None:
    failing, other = hosts_of(harness.topology, STAGE, 1, 2)
    tries: list[float] = []

    async def work(statement: Statement, _: Ownership) -> None:
        if statement.host == failing:
            tries.append(time.monotonic())
            if len(tries) < 5:
                raise TransientError("it does not answer")

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    await bus.publish(change(failing, 1))
    await until(lambda: len(tries) == 1, "the first try")
    await bus.publish(change(other, 1))
    await until(lambda: recorder.sequences(other) == [1], "the other", within=5)
    await until(lambda: recorder.sequences(failing) == [1], "success at last")
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    for gap, least in zip(gaps, (0.075, 0.15, 0.3, 0.6), strict=True):
        assert gap >= least, f"delays {gaps}"
    assert await harness.waiting(STAGE) == 0


async def test_a_newer_statement_does_not_wait_for_the_retry_of_an_older_one(harness: Harness) -> None:
    host = "vc-a.example.test"

    async def work(statement: Statement, _: Ownership) -> None:
        if isinstance(statement, type(change(host, 1))) and statement.revision.sequence == 1:
            raise TransientError("busy", retry_after=0.8)

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    await bus.publish(change(host, 1))
    await until(lambda: recorder.tries(host) == 1, "the first to fail")
    await bus.publish(change(host, 2))
    await until(lambda: recorder.sequences(host) == [2], "the newer", within=0.7)
    await until_async(lambda: drained(harness), "the retry to come back")
    await settled(harness, recorder)
    assert recorder.tries(host) == 2, "the older one was tried again"


async def test_times_travel_with_a_statement_and_its_retries_and_a_repeat_begins_anew(harness: Harness) -> None:
    host = "vc-a.example.test"

    async def work(statement: Statement, _: Ownership) -> None:
        if recorder.tries(host) == 1:
            raise TransientError("it does not answer")

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    before, long_ago = counted(), time.time() - 1000
    await bus.publish(change(host, 1).since(long_ago))
    await until(lambda: recorder.handled, "the second try")
    await until(lambda: counted()["done"] > before["done"], "it to be answered")
    assert [round((each.trace.began_at or 0) - long_ago, 1) for each in recorder.started] == [0, 0]
    after = counted()
    assert {what: after[what] - before[what] for what in ("received", "retried", "done", "confirmed")} == {
        "received": 2,
        "retried": 1,
        "done": 1,
        "confirmed": 1,
    }
    assert DELAYS.first / 2 < after["lag"] - before["lag"] < 100, "the wait for the second try is in it"

    await bus.publish(recorder.handled[0].repeated())
    await until(lambda: len(recorder.handled) == 2, "the repeat")
    assert abs((recorder.handled[1].trace.began_at or 0) - time.time()) < 100


def counted() -> dict[str, float]:
    """What is counted of the stage's statements: by answer, and what is published to it."""
    of_stage = {"stage": str(STAGE)}
    names: dict[str, tuple[str, dict[str, str]]] = {
        "received": ("statements_received_total", of_stage),
        "lag": ("statement_lag_seconds_sum", of_stage),
        "confirmed": ("statements_published_total", {"stage": Stage.DISCOVERY, "outcome": "confirmed"}),
        **{
            answer: ("statements_answered_total", {"stage": STAGE, "outcome": answer}) for answer in ("retried", "done")
        },
    }
    found = {
        what: REGISTRY.get_sample_value(f"vcenter_operator_{name}", labels) for what, (name, labels) in names.items()
    }
    return {what: value or 0 for what, value in found.items()}


async def test_repeats_of_what_keeps_failing_do_not_add_up(harness: Harness) -> None:
    host, works = "vc-a.example.test", False

    async def work(statement: Statement, _: Ownership) -> None:
        if statement.host == host and not works:
            raise TransientError("it does not answer")

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    statement = change(host, 1)
    for said in range(1, 9):
        await bus.publish(statement)
        await until(lambda said=said: recorder.tries(host) >= said, "each to be tried")  # type: ignore[misc]
        statement = statement.repeated()
    await settled(harness, recorder)
    works = True
    await until(lambda: recorder.sequences(host), "success")
    await until_async(lambda: drained(harness), "what was superseded to come back")
    await settled(harness, recorder)
    assert recorder.sequences(host) == [1]


async def test_a_permanent_failure_is_parked_with_its_reason(harness: Harness) -> None:
    bad, good = hosts_of(harness.topology, STAGE, 3, 2)

    async def work(statement: Statement, _: Ownership) -> None:
        if statement.host == bad:
            raise PermanentError("no such datacenter: möglich?")

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    statement = change(bad, 7)
    await bus.publish(statement)
    await bus.publish(change(good, 1))
    (parked,) = await parked_by(bus, 1)
    assert (parked.stage, parked.host, parked.attempts) == (STAGE, bad, 1)
    assert parked.reason == "no such datacenter: möglich?"
    assert abs(parked.parked_at.timestamp() - time.time()) < 60
    assert decode(parked.body) == statement
    await until(lambda: recorder.sequences(good) == [1], "the other")
    assert recorder.tries(bad) == 1
    assert await bus.parked(STAGE) == [parked], "reading took it away"


async def test_what_a_newer_statement_supersedes_is_not_parked(harness: Harness) -> None:
    host, entered, gate = "vc-a.example.test", asyncio.Event(), asyncio.Event()

    async def work(statement: Statement, _: Ownership) -> None:
        entered.set()
        await gate.wait()
        raise PermanentError("never")

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    await bus.publish(change(host, 1))
    await entered.wait()
    await bus.publish(change(host, 2))
    await until_async(lambda: drained(harness), "the newer to be fetched")
    gate.set()
    (parked,) = await parked_by(bus, 1)
    assert decode(parked.body) == recorder.started[-1]
    assert [each.revision.sequence for each in recorder.started if isinstance(each, DnsChange)] == [1, 2]


async def test_what_is_said_again_and_fails_again_is_parked_once(harness: Harness) -> None:
    async def work(_: Statement, __: Ownership) -> None:
        raise PermanentError("never")

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    statement = change("vc-a.example.test", 1)
    for said in range(1, 4):
        await bus.publish(statement)
        await until(lambda said=said: len(recorder.started) == said, "each to be tried")  # type: ignore[misc]
        statement = statement.repeated()
    assert sequences(await parked_by(bus, 1)) == [1]


async def test_what_was_put_back_and_fails_again_is_parked_again(harness: Harness) -> None:
    async def work(_: Statement, __: Ownership) -> None:
        raise PermanentError("never")

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    await bus.publish(change("vc-a.example.test", 1))
    (parked,) = await parked_by(bus, 1)
    assert parked.id == decode(parked.body).trace.message_id
    await bus.publish_raw(STAGE, bus.topology.partition(STAGE, "vc-a.example.test"), parked.body)
    assert [found.id for found in await parked_by(bus, 2)] == [parked.id] * 2


async def test_what_is_parked_goes_when_something_newer_came_and_the_newest_stays(harness: Harness) -> None:
    """The newer one may work, fail for a passing reason, or be parked itself. Epochs count before sequences."""
    working, failing, parking, untouched = hosts = hosts_of(harness.topology, STAGE, 1, 4)
    first = {host: change(host, 9, epoch=1) for host in hosts}

    async def work(statement: Statement, _: Ownership) -> None:
        if statement == first.get(statement.host) or statement.host == parking:
            raise PermanentError("never")
        if statement.host == failing:
            raise TransientError("not now")

    bus, _ = await one(harness, Recorder(work=work))
    for statement in first.values():
        await bus.publish(statement)
    await parked_by(bus, 4)
    for host in (working, failing, parking):
        await bus.publish(change(host, 1, epoch=2))

    async def cleared() -> bool:
        return {(parked.host, *revision(parked)) for parked in await bus.parked(STAGE)} == {
            (parking, 2, 1),
            (untouched, 1, 9),
        }

    await until_async(cleared, "what is superseded to go")
    await passed_over(harness, bus)
    assert await cleared(), "one that is the newest was taken away"


async def test_what_is_parked_goes_when_the_same_is_said_again_and_works(harness: Harness) -> None:
    host, works = "vc-a.example.test", False

    async def work(statement: Statement, _: Ownership) -> None:
        if statement.host == host and not works:
            raise PermanentError("not like this")

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    statement = change(host, 1)
    await bus.publish(statement)
    await parked_by(bus, 1)
    await bus.publish(statement.repeated())
    await until(lambda: recorder.tries(host) == 2, "the repetition")
    await passed_over(harness, bus)
    assert len(await bus.parked(STAGE)) == 1, "it was taken away though it never worked"
    works = True
    await bus.publish(statement.repeated())
    await until_async(lambda: nothing_parked(bus), "it to go")


async def test_what_was_parked_before_a_restart_goes_after_it(harness: Harness) -> None:
    old, newest = hosts_of(harness.topology, STAGE, 2, 2)

    async def work(_: Statement, __: Ownership) -> None:
        raise PermanentError("never")

    bus, task = await one(harness, Recorder(work=work))
    for host in (old, newest):
        await bus.publish(change(host, 5))
    await parked_by(bus, 2)
    task.cancel()
    await asyncio.wait({task})
    await bus.close()

    after = Recorder()
    bus, _ = await one(harness, after)
    await bus.publish(change(old, 4))  # late, and older than what is parked
    await until(lambda: after.sequences(old) == [4], "the late one")
    await passed_over(harness, bus)
    assert len(await bus.parked(STAGE)) == 2
    await bus.publish(change(old, 6))
    await until_async(lambda: only_parked(bus, newest), "what is superseded to go")
    await passed_over(harness, bus)
    assert await only_parked(bus, newest)


async def test_a_defect_is_tried_a_few_times_and_then_parked(harness: Harness) -> None:
    async def work(_: Statement, __: Ownership) -> None:
        raise KeyError("surprise")

    recorder = Recorder(work=work)
    bus, _ = await one(harness, recorder)
    await bus.publish(change("vc-a.example.test", 1))
    (parked,) = await parked_by(bus, 1)
    assert parked.attempts == 5 == len(recorder.started)
    assert "KeyError" in parked.reason


async def test_what_is_no_statement_is_parked_and_the_consumer_goes_on(harness: Harness) -> None:
    host = hosts_of(harness.topology, STAGE, 0, 1)[0]
    stray = hosts_of(harness.topology, STAGE, 1, 1)[0]
    newer = msgpack.packb({**msgpack.unpackb(encode(change(host, 1))), "schema": 99})
    request = encode(ResyncRequest(stage=Stage.DISCOVERY, partition=0))
    bodies = {
        b"\xc1 not msgpack": "not msgpack",
        b"": "not msgpack",
        newer: "schema 99 is newer",
        request: "nothing for collector",
        msgpack.packb({"schema": 1, "kind": "DnsChange", "host": host}): "DnsChange: present: Field required",
        encode(change(stray, 1)): f"{stray} belongs to partition 1, and this is 0",
    }
    recorder = Recorder()
    bus, _ = await one(harness, recorder)
    for body in bodies:
        await bus.publish_raw(STAGE, 0, body)
    await bus.publish(change(host, 1))
    await until(lambda: recorder.sequences(host) == [1], "the good one")
    found = {parked.body: parked for parked in await parked_by(bus, len(bodies))}
    for body, reason in bodies.items():
        assert reason in found[body].reason
        assert found[body].attempts == 1
        assert found[body].host is None


# Resync requests


async def test_a_resync_request_reaches_the_owner_and_nobody_else(harness: Harness) -> None:
    (asking, first), (_, second) = await replicas(harness, 2)
    requests = [
        ResyncRequest(stage=STAGE, partition=partition, host=host, objects=(ObjectId("", "Secret", "ns", "a"),))
        for partition in range(4)
        for host in hosts_of(harness.topology, STAGE, partition, 1)
    ]
    for request in requests:
        await asking.request(request)
    await until(lambda: len(first.requests) + len(second.requests) == 4, "all to arrive")
    for recorder in (first, second):
        assert {request.partition for request in recorder.requests} == set(recorder.owned)
        assert all(request in requests for request in recorder.requests)


async def test_what_is_no_resync_request_is_parked_and_the_owner_goes_on(harness: Harness) -> None:
    host = hosts_of(harness.topology, STAGE, 1, 1)[0]
    good = ResyncRequest(stage=STAGE, partition=1, host=host)
    bodies = {
        b"\xc1 not msgpack": "not msgpack",
        msgpack.packb({**msgpack.unpackb(encode(good)), "schema": 99}): "schema 99 is newer",
        msgpack.packb({"schema": 1, "kind": "ResyncRequest", "partition": 1}): "ResyncRequest: stage: Field required",
        encode(change(host, 1)): "a DnsChange is no resync request",
    }
    recorder = Recorder()
    bus, _ = await one(harness, recorder)
    ownership = recorder.owned[1]
    for body in bodies:
        await harness.request_raw(STAGE, 1, body)
    await bus.request(good)
    await until(lambda: recorder.requests == [good], "the good one")
    found = {parked.body: parked.reason for parked in await parked_by(bus, len(bodies))}
    assert found.keys() == bodies.keys()
    assert all(reason in found[body] for body, reason in bodies.items())
    await bus.publish(change(host, 1))
    await until(lambda: recorder.sequences(host) == [1], "the owner goes on")
    assert recorder.owned[1] is ownership


async def test_a_resync_request_that_nobody_can_answer_is_lost(harness: Harness) -> None:
    bus, recorder = await harness.replica(), Recorder()
    await bus.request(ResyncRequest(stage=STAGE, partition=1))
    harness.serve(bus, recorder)
    await until(lambda: len(recorder.owned) == 4, "every partition to be owned")
    await bus.request(ResyncRequest(stage=STAGE, partition=1, host="vc-a.example.test"))
    await until(lambda: recorder.requests, "the later one")
    assert [request.host for request in recorder.requests] == ["vc-a.example.test"]


async def test_requests_on_one_vcenter_are_answered_one_at_a_time_and_merged(harness: Harness) -> None:
    gate, recorder = asyncio.Event(), Recorder()

    async def wait(request: ResyncRequest) -> None:
        if request.host == "vc-a.example.test":
            await gate.wait()
        if request.host == "vc-b.example.test":
            raise TransientError("not now")

    recorder.answering = wait
    bus, _ = await one(harness, recorder)

    def ask(host: str, *names: str) -> ResyncRequest:
        objects = tuple(ObjectId("", "Secret", "ns", name) for name in names)
        return ResyncRequest(stage=STAGE, partition=1, host=host, objects=objects)

    await bus.request(ask("vc-a.example.test", "x"))
    await until(lambda: recorder.requests, "the first")
    for names in (["y"], [], ["z", "y"]):
        await bus.request(ask("vc-a.example.test", *names))
    await bus.request(ask("vc-b.example.test"))
    await bus.request(ask("vc-c.example.test"))
    await until(lambda: len(recorder.requests) == 3, "those on other vCenters")
    assert {request.host for request in recorder.requests[1:]} == {"vc-b.example.test", "vc-c.example.test"}
    gate.set()
    await until(lambda: len(recorder.requests) == 4, "the merged one")
    assert {each.name for each in recorder.requests[-1].objects} == {"y", "z"}


# Sealed bodies


async def test_no_manifest_body_is_readable_in_the_broker(harness: Harness) -> None:
    secret, keyring = "hunter2-in-a-manifest", Keyring([b"k" * 32])
    manifest = {"kind": "Secret", "metadata": {"name": "nova"}, "stringData": {"password": secret}}
    object_id, digest = ObjectId("", "Secret", "ns", "nova"), keyring.digest(manifest)
    parking, waiting = hosts_of(harness.topology, Stage.APPLIER, 0, 2)

    async def work(statement: Statement, _: Ownership) -> None:
        raise PermanentError("never") if statement.host == parking else TransientError("later", retry_after=60)

    recorder = Recorder(work=work)
    bus = await harness.replica()
    task = harness.serve(bus, recorder, Stage.APPLIER)
    deltas = {host: delta(host, object_id, digest, keyring.seal(host, object_id, digest, manifest))
              for host in (parking, waiting)}  # fmt: skip
    for each in deltas.values():
        await bus.publish(each)
    (parked,) = await parked_by(bus, 1, Stage.APPLIER)
    await until(lambda: recorder.tries(waiting) >= 1, "the other to fail")
    task.cancel()
    await asyncio.wait({task})

    stored = await harness.everything_stored()
    assert parking.encode() in stored, "the parked one was not looked at"
    for plain in (secret, "stringData", "hunter2"):
        assert plain.encode() not in stored
    restored = decode(parked.body)
    assert restored == deltas[parking]
    assert isinstance(restored, ManifestDelta)
    assert keyring.open(parking, object_id, digest, restored.manifests[object_id]) == manifest


def delta(host: str, object_id: ObjectId, digest: str, sealed: bytes) -> ManifestDelta:
    revision = Revision(1, 1)
    return ManifestDelta(
        host=host,
        present=True,
        provenance=Provenance(zone=ZoneSource(revision=revision, serial=1), inventory=revision, templates=1, cells=1,
                              config=1),
        index={object_id: IndexEntry(digest=digest, template="ns/nova", unit=Unit("cluster", "qa-de-1a", "bb1"))},
        manifests={object_id: sealed},
    )  # fmt: skip


# Graceful stop


async def test_a_stop_finishes_what_is_in_work_and_returns_the_rest(harness: Harness) -> None:
    finishing, stuck = hosts_of(harness.topology, STAGE, 1, 2)
    stopping = asyncio.Event()

    async def work(statement: Statement, ownership: Ownership) -> None:
        if statement.host == stuck:
            await asyncio.Event().wait()
        await stopping.wait()
        await asyncio.sleep(0.2)
        ownership.verify()  # still ours while we finish

    first = Recorder(work=work)
    bus, task = await one(harness, first, stop_within=1.0)
    other, second = await harness.replica(), Recorder()
    for sequence in (1, 2):
        await bus.publish(change(finishing, sequence))
        await bus.publish(change(stuck, sequence))
        await until(lambda: len(first.busy) == 2, "both to be in work")
    began = time.monotonic()
    task.cancel()
    stopping.set()
    await asyncio.wait({task})
    assert time.monotonic() - began < 5, "a stop takes seconds"
    assert first.sequences(finishing) == [1]
    assert first.sequences(stuck) == []
    assert len(first.released) == 4
    assert not any(ownership.held for ownership in first.taken)

    harness.serve(other, second)
    await until(lambda: second.sequences(finishing) == [2], "what waited")
    await until(lambda: second.sequences(stuck)[-1:] == [2], "what was stuck, and what waited behind it")


async def drained(harness: Harness) -> bool:
    return await harness.waiting(STAGE) == 0


async def settled(harness: Harness, recorder: Recorder) -> None:
    """What was delivered so far is done: a statement sent after it, to every partition, has been handled."""
    bus = await harness.replica()
    marks = [host for partition in range(4) for host in hosts_of(harness.topology, STAGE, partition, 3)[2:]]
    marker = Recorder.tries
    before = {host: marker(recorder, host) for host in marks}
    for host in marks:
        await bus.publish(change(host, next(_mark)))
    await until(lambda: all(marker(recorder, host) > before[host] for host in marks), "the marks")


async def passed_over(harness: Harness, bus: AnyBus) -> None:
    """Returns when it was looked through what is parked: a mark in every partition, superseded by now, is gone."""
    marks = {host: each for each in range(4) for host in hosts_of(harness.topology, STAGE, each, 6)[5:]}
    for host, partition in marks.items():
        await bus.publish_raw(STAGE, (partition + 1) % 4, encode(change(host, next(_mark))))

    async def parked() -> set[str]:
        found = (decode(each.body) for each in await bus.parked(STAGE))
        return {statement.host for statement in found if isinstance(statement, DnsChange)} & marks.keys()

    async def all_parked() -> bool:
        return await parked() == marks.keys()

    async def none_parked() -> bool:
        return not await parked()

    await until_async(all_parked, "the marks to be parked")
    for host in marks:
        await bus.publish(change(host, next(_mark)))
    await until_async(none_parked, "the marks to go")


def revision(parked: Parked) -> Revision:
    statement = decode(parked.body)
    assert isinstance(statement, DnsChange)
    return statement.revision


def sequences(found: list[Parked]) -> list[int]:
    return [revision(parked).sequence for parked in found]


async def nothing_parked(bus: AnyBus) -> bool:
    return not await bus.parked(STAGE)


async def only_parked(bus: AnyBus, host: str) -> bool:
    return [parked.host for parked in await bus.parked(STAGE)] == [host]


async def parked_by(bus: AnyBus, number: int, stage: Stage = STAGE) -> list[Parked]:
    found: list[Parked] = []

    async def enough() -> bool:
        nonlocal found
        found = await bus.parked(stage)
        return len(found) >= number

    await until_async(enough, f"{number} parked")
    assert len(found) == number
    return found
