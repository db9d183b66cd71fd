"""The stage as a whole on a folder: what a statement does, what is remembered, and what stops it."""

from __future__ import annotations

import asyncio
import base64
import itertools
import stat
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import yaml

from tests.unit.applier.given import (
    CINDER,
    HOST,
    NOVA,
    OTHER,
    OWN,
    TEMPLATES,
    cluster,
    config_map,
    deployment,
    manifest,
    provenance,
    secret,
    stated,
)
from tests.unit.applier.stage import Region, Secrets, Watched, until
from vcenter_operator.applier.adapters.embedded import DryRunFolder
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.ports import ClusterAway, Guard, Holdings, Place
from vcenter_operator.applier.service import ApplierService
from vcenter_operator.common import labels
from vcenter_operator.common.bus import Ownership
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.embedded.record import FolderStore
from vcenter_operator.common.errors import PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId, Revision
from vcenter_operator.common.messages import ManifestDelta, ResyncRequest, Stage, Trace, Unknown
from vcenter_operator.common.record.overlay import Overlay
from vcenter_operator.common.record.port import Applied, Collected, Record, Section, anybody

A, B, C = deployment("a"), deployment("b"), deployment("c")
FILES = {A: f"{OWN}/deployment-a.yaml", B: f"{OWN}/deployment-b.yaml", C: f"{OWN}/deployment-c.yaml"}


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return Region(tmp_path)


async def test_a_delta_becomes_files_that_say_whose_they_are(region: Region) -> None:
    async with region.applier():
        await region.state(stated(manifest(A, spec={"replicas": 1}), manifest(secret("s"), data={"k": "dg=="})))
        await region.shows(HOST, "AsStated")

    written = yaml.safe_load(region.files()[FILES[A]])
    annotations = written["metadata"]["annotations"]
    assert written["spec"] == {"replicas": 1}
    assert written["metadata"]["labels"] == {labels.PART_OF: labels.applyset_id(HOST, OWN)}
    assert annotations[labels.DIGEST] == stated(manifest(A, spec={"replicas": 1})).index[A].digest
    assert annotations[labels.REVISION] == "1.1"
    assert stat.S_IMODE((region.output / OWN / "secret-s.yaml").stat().st_mode) == 0o600
    assert region.renderer.requests[0] == ResyncRequest(
        stage=Stage.RENDERER, partition=0, trace=region.renderer.requests[0].trace
    )


async def test_only_what_changed_is_written_and_a_repeat_costs_nothing(region: Region) -> None:
    cluster_ = Watched(region.output)
    before = stated(manifest(A), manifest(B), manifest(C, template=CINDER))
    after = stated(
        manifest(A),
        manifest(B, spec={"new": True}),
        templates={NOVA: 2},
        made_from=provenance(templates=2),
    )
    async with region.applier(cluster_):
        await region.state(before)
        await region.shows(HOST, "AsStated")
        await region.state(before.repeated())
        await until(lambda: len(region.plans) == 2)
        assert sorted(cluster_.writes) == [A, B, C]
        await region.state(after)
        await until(lambda: len(region.plans) == 3)

    assert cluster_.writes[3:] == [B, C], "B is updated, C is deleted with its template"
    assert set(region.files()) == {FILES[A], FILES[B]}
    assert region.plans[2][2].updated == (B,)
    assert region.plans[2][2].deleted == (C,)
    assert yaml.safe_load(region.files()[FILES[A]])["metadata"]["annotations"][labels.REVISION] == "1.1"


@pytest.mark.parametrize(
    "older",
    [provenance(1, zone=2), provenance(2, zone=1), provenance(2, zone=2, templates=0), provenance(2, zone=2, cells=0)],
    ids=["inventory", "zone", "templates", "cells"],
)
async def test_what_is_older_in_any_part_is_dropped_after_a_restart_too(region: Region, older: object) -> None:
    newer = provenance(2, zone=2)
    async with region.applier():
        await region.state(stated(manifest(A), made_from=newer))
        await region.shows(HOST, "AsStated")
    late = stated(manifest(A, spec={"old": True}), manifest(B), made_from=older)
    async with region.applier():
        await region.state(late)
        await region.state(stated(manifest(A), made_from=newer))
        await until(lambda: len(region.plans) == 2)

    assert set(region.files()) == {FILES[A]}
    assert "old" not in region.files()[FILES[A]]
    applied = await region.applied(HOST)
    assert applied is not None
    assert applied.acted_on == newer


async def test_in_whatever_order_statements_come_the_newest_decides(region: Region) -> None:
    bodies = [[A, B], [A], [B, C]]
    history = [
        stated(*(manifest(one, spec={"step": step}) for one in body), made_from=provenance(step + 1))
        for step, body in enumerate(bodies)
    ]
    for round_, order in enumerate(itertools.permutations(history)):
        host = f"vc-x-{round_}.cc.qa-de-1.cloud.sap"
        namespace = f"round-{round_}"
        async with region.applier():
            for one in order:
                await region.state(moved(one, host, namespace))
            await until(lambda host=host: any(seen[0] == host for seen in region.plans))  # type: ignore[misc]
            await until(lambda namespace=namespace: in_namespace(region, namespace) == {"b": 2, "c": 2})  # type: ignore[misc]
            await region.shows(host, "AsStated")
            assert in_namespace(region, namespace) == {"b": 2, "c": 2}, order


def moved(delta: ManifestDelta, host: str, namespace: str) -> ManifestDelta:
    """The same delta for another vCenter in another namespace; the manifests are made anew."""
    step = delta.provenance.inventory.sequence - 1
    objects = [
        manifest(one._replace(namespace=namespace), host, spec={"step": step}, unit=cluster(1)) for one in delta.index
    ]
    return stated(*objects, host=host, made_from=delta.provenance)


def in_namespace(region: Region, namespace: str) -> dict[str, int]:
    files = [yaml.safe_load(text) for path, text in region.files().items() if path.startswith(f"{namespace}/")]
    return {one["metadata"]["name"]: one["spec"]["step"] for one in files}


async def test_what_was_acted_on_is_in_the_record_before_the_first_write(region: Region) -> None:
    seen: list[object] = []

    def look(_: ObjectId) -> None:
        text = "".join(path.read_text() for path in (region.output.parent / "records").glob("*.yaml"))
        seen.append("actedOn" in text and "inventory: 1.7" in text.replace("'", ""))

    async with region.applier(Watched(region.output, look)):
        await region.state(stated(manifest(A), made_from=provenance(7)))
        await region.shows(HOST, "AsStated")

    assert seen == [True]


async def test_a_record_that_others_write_at_the_same_time_is_read_again(region: Region) -> None:
    class Busy:
        """Another stage writes its section between our read and our write, twice."""

        def __init__(self) -> None:
            self.left = 2

        async def list(self, *, fresh: bool = True) -> list[Record]:
            return await region.store.list(fresh=fresh)

        async def get(self, host: str, *, fresh: bool = True) -> Record | None:
            return await region.store.get(host, fresh=fresh)

        async def write(
            self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
        ) -> Record:
            if self.left:
                self.left -= 1
                await region.store.write(host, Collected(revision=Revision(1, self.left + 1)))
            return await region.store.write(host, section, version=version, verify=verify)

    await region.store.write(HOST, Collected(revision=Revision(1, 9)))
    async with region.applier(store=Busy()):
        await region.state(stated(manifest(A)))
        await region.shows(HOST, "AsStated")

    record = await region.store.get(HOST)
    assert record is not None
    assert record.collected == Collected(revision=Revision(1, 1)), "and what they wrote is not lost"


async def test_what_another_replica_acted_on_between_our_read_and_our_write_counts(region: Region) -> None:
    """A replica that slept, and does not know that it lost the partition, finds out before it acts."""

    class Raced(FolderStore):
        async def write(
            self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
        ) -> Record:
            if isinstance(section, Applied) and section.acted_on == provenance(1):
                await region.store.write(host, Applied(acted_on=provenance(2)))
            return await super().write(host, section, version=version, verify=verify)

    await region.store.write(HOST, Collected(revision=Revision(1, 1)))
    cluster_ = Watched(region.output)
    async with region.applier(cluster_, store=Raced(region.output.parent / "records", namespace=OWN)) as service:
        await until(lambda: region.renderer.requests)
        await service.handle(stated(manifest(A), made_from=provenance(1)), Ownership(Stage.APPLIER, 0, 9))

    applied = await region.applied(HOST)
    assert applied is not None
    assert (applied.acted_on, cluster_.writes) == (provenance(2), [])


async def test_a_record_that_another_replica_made_since_we_looked_for_it_counts(region: Region) -> None:
    class Raced(FolderStore):
        async def write(
            self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
        ) -> Record:
            if isinstance(section, Applied) and section.acted_on == provenance(1):
                await region.store.write(host, Applied(acted_on=provenance(2)))
            return await super().write(host, section, version=version, verify=verify)

    cluster_ = Watched(region.output)
    async with region.applier(cluster_, store=Raced(region.output.parent / "records", namespace=OWN)) as service:
        await until(lambda: region.renderer.requests)
        await service.handle(stated(manifest(A), made_from=provenance(1)), Ownership(Stage.APPLIER, 0, 9))

    applied = await region.applied(HOST)
    assert applied is not None
    assert (applied.acted_on, cluster_.writes) == (provenance(2), [])


async def test_a_repeat_is_not_acted_on_where_another_replica_went_on_since(region: Region) -> None:
    full = stated(manifest(A), manifest(B))
    cluster_ = Watched(region.output)
    async with region.applier(cluster_) as service:
        await until(lambda: region.renderer.requests)
        ownership = Ownership(Stage.APPLIER, 0, 9)
        with pytest.raises(TransientError, match="manifest asked for"):
            await service.handle(full.model_copy(update={"manifests": {A: full.manifests[A]}}), ownership)
        await region.store.write(HOST, Applied(acted_on=provenance(2)))
        await service.handle(full, ownership)

    assert cluster_.writes == [A]


async def test_while_the_cluster_is_away_one_attempt_is_enough(region: Region) -> None:
    tries: list[ObjectId] = []

    def away(object_id: ObjectId) -> None:
        tries.append(object_id)
        raise ClusterAway("connection refused")

    async with region.applier(Watched(region.output, away), concurrency=1) as service:
        await until(lambda: region.renderer.requests)
        with pytest.raises(ClusterAway):
            await service.handle(stated(*(manifest(one) for one in (A, B, C))), Ownership(Stage.APPLIER, 0, 9))
        shown = await region.shows(HOST, "Retrying")

    assert (tries, shown.message) == ([A], "connection refused")


async def test_an_edit_takes_all_objects_with_it_also_where_it_takes_several_attempts(region: Region) -> None:
    """Beyond the budget, had they gone by themselves; and they stay declared until the last of them is gone."""
    failures = iter(range(3))

    def fail(object_id: ObjectId) -> None:
        if object_id.name in ("bb2", "bb3", "bb4") and next(failures, None) is not None:
            raise TransientError("not now")

    units = [cluster(number) for number in range(1, 5)]
    objects = [manifest(deployment(f"bb{number}"), unit=unit) for number, unit in enumerate(units, 1)]
    cluster_ = Watched(region.output)
    async with region.applier(cluster_):
        await region.state(stated(*objects, manifest(A)))
        await region.shows(HOST, "AsStated")
        cluster_.before = fail
        edited = {**TEMPLATES, NOVA: 2}
        await region.state(stated(manifest(A), units=units, templates=edited, made_from=provenance(templates=2)))
        await until(lambda: set(region.files()) == {FILES[A]})
        await region.shows(HOST, "AsStated")

    held = [made.held for _, made, _ in region.plans]
    assert not any(held)


async def test_a_replica_that_lost_the_partition_writes_nothing_more(region: Region) -> None:
    state: list[Ownership] = []
    cluster_ = Watched(region.output, lambda _: state[0].end())
    async with region.applier(cluster_) as service:
        await until(lambda: region.renderer.requests)
        ownership = Ownership(Stage.APPLIER, 0, 99)
        state.append(ownership)
        with pytest.raises(TransientError, match="no longer owned"):
            await service.handle(stated(manifest(A), manifest(B)), ownership)

    assert cluster_.writes == []
    assert region.files() == {}


async def test_a_freeze_stops_everything_and_is_shown_and_lifted(region: Region) -> None:
    async with region.applier():
        await region.state(stated(manifest(A), manifest(B, template=CINDER)))
        await region.shows(HOST, "AsStated")
        before = region.files()
        (region.output / "freeze").write_text("maintenance until noon\n")
        changed = stated(manifest(A, spec={"x": 1}), manifest(C), templates={NOVA: 1}, made_from=provenance(2))
        await region.state(changed)
        shown = await region.shows(HOST, "Frozen")
        assert "maintenance until noon" in shown.message
        assert region.files() == before
        assert region.plans[-1][2].frozen == "maintenance until noon"
        (region.output / "freeze").unlink()
        await region.shows(HOST, "AsStated")

    assert set(region.files()) == {FILES[A], FILES[C]}


async def test_a_freeze_stops_in_the_middle(region: Region) -> None:
    def freeze(object_id: ObjectId) -> None:
        if object_id == B:
            (region.output / "freeze").write_text("stop")

    async with region.applier(Watched(region.output, freeze), concurrency=1):
        await region.state(stated(manifest(A), manifest(B), manifest(C)))
        await region.shows(HOST, "Frozen")

    assert set(region.files()) == {FILES[A]}


async def test_what_is_refused_for_good_is_shown_stops_nothing_and_is_not_tried_again(region: Region) -> None:
    tries: list[ObjectId] = []

    def refuse(object_id: ObjectId) -> None:
        tries.append(object_id)
        if object_id == A:
            raise PermanentError("spec.selector: field is immutable")

    delta = stated(manifest(A), manifest(B))
    async with region.applier(Watched(region.output, refuse)):
        await region.state(delta)
        shown = await region.shows(HOST, "Refused")
        assert shown.message == f"Deployment {OWN}/a: spec.selector: field is immutable"
        for count in range(2, 5):
            await region.state(delta.repeated())
            await until(lambda count=count: len(region.plans) == count)  # type: ignore[misc]
        assert tries.count(A) == 1
        assert (await region.condition(HOST)) == shown
        await region.state(stated(manifest(A, spec={"other": 1}), manifest(B), made_from=provenance(2)))
        await until(lambda: len(region.plans) == 5)
        assert tries.count(A) == 2, "a manifest that changed is tried"

    assert set(region.files()) == {FILES[B]}
    assert not region.broker.parked[Stage.APPLIER]


async def test_what_was_refused_is_tried_again_after_a_while(region: Region) -> None:
    refusing = [True]

    def refuse(_: ObjectId) -> None:
        if refusing[0]:
            raise PermanentError("quota")

    delta = stated(manifest(A))
    async with region.applier(Watched(region.output, refuse), try_refused_after=0.05):
        await region.state(delta)
        await region.shows(HOST, "Refused")
        refusing[0] = False
        await asyncio.sleep(0.06)
        await region.state(delta.repeated())
        await region.shows(HOST, "AsStated")


async def test_what_fails_is_retried_until_it_holds_and_the_rest_is_not_done_twice(region: Region) -> None:
    failures = iter(range(3))

    def fail(object_id: ObjectId) -> None:
        if object_id == A and next(failures, None) is not None:
            raise TransientError("the webhook does not answer")

    cluster_ = Watched(region.output, fail)
    async with region.applier(cluster_):
        await region.state(stated(manifest(A), manifest(B)))
        await region.shows(HOST, "Retrying")
        await region.shows(HOST, "AsStated")

    assert cluster_.writes == [B, A]


async def test_a_rename_deletes_nothing_until_the_new_object_is_there(region: Region) -> None:
    """The template yields B now instead of A; B cannot be written at first."""
    refusing = [True]

    def refuse(object_id: ObjectId) -> None:
        if object_id == B and refusing[0]:
            raise TransientError("not now")

    cluster_ = Watched(region.output, refuse)
    async with region.applier(cluster_):
        await region.state(stated(manifest(A)))
        await region.shows(HOST, "AsStated")
        await region.state(stated(manifest(B), templates={**TEMPLATES, NOVA: 2}, made_from=provenance(templates=2)))
        await region.shows(HOST, "Retrying")
        assert set(region.files()) == {FILES[A]}
        refusing[0] = False
        await region.shows(HOST, "AsStated")

    assert cluster_.writes == [A, B, A]


async def test_a_manifest_that_is_lacking_is_asked_for_and_not_in_a_hot_loop(region: Region) -> None:
    full = stated(manifest(A), manifest(B))
    async with region.applier():
        await region.state(full.model_copy(update={"manifests": {A: full.manifests[A]}}))
        await region.shows(HOST, "Waiting")
        await until(lambda: len(region.plans) >= 4, "some more attempts")
        asked = [request for request in region.renderer.requests if request.host]
        assert {(one.stage, one.host, one.objects) for one in asked} == {(Stage.RENDERER, HOST, (B,))}
        assert len(asked) < 3
        assert set(region.files()) == {FILES[A]}
        await region.state(full.model_copy(update={"manifests": {B: full.manifests[B]}}))
        await region.shows(HOST, "AsStated")

    assert set(region.files()) == {FILES[A], FILES[B]}


async def test_a_manifest_is_asked_for_because_of_the_statement_that_names_it(region: Region) -> None:
    trace = Trace(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    async with region.applier():
        await region.state(stated(manifest(A)).model_copy(update={"manifests": {}, "trace": trace}))
        await until(lambda: any(request.host for request in region.renderer.requests), "it is asked for")
    asked = next(request for request in region.renderer.requests if request.host).trace
    assert (asked.correlation_id, asked.causation_id) == (trace.correlation_id, trace.message_id)
    assert asked.traceparent == trace.traceparent


async def test_a_manifest_stays_at_hand_until_it_is_applied(region: Region) -> None:
    """It failed, and the next statement comes without it, since the renderer sent it already."""
    failing = [True]

    def fail(object_id: ObjectId) -> None:
        if object_id == A and failing[0]:
            raise TransientError("not now")

    full = stated(manifest(A), manifest(B))
    async with region.applier(Watched(region.output, fail)):
        await region.state(full)
        await region.shows(HOST, "Retrying")
        await region.state(stated(manifest(A), manifest(B), made_from=provenance(2), bodies=False))
        failing[0] = False
        await region.shows(HOST, "AsStated")

    assert [request for request in region.renderer.requests if request.host] == []


async def test_what_went_while_the_applier_was_down_goes_when_it_is_back(region: Region) -> None:
    async with region.applier():
        await region.state(stated(manifest(A), manifest(B, unit=cluster(2))))
        await region.shows(HOST, "AsStated")
    async with region.applier():
        await region.state(stated(manifest(A), made_from=provenance(2)))
        await until(lambda: set(region.files()) == {FILES[A]}, "B to go")


async def test_a_vcenter_gone_from_dns_keeps_its_objects_and_the_record_says_so(region: Region) -> None:
    async with region.applier():
        await region.state(stated(manifest(A)))
        await region.shows(HOST, "AsStated")
        before = region.files()
        await region.state(stated(present=False, made_from=provenance(2, zone=2)))
        shown = await region.shows(HOST, "Retained")

    assert region.files() == before
    assert "1 objects are retained" in shown.message


async def test_an_empty_inventory_deletes_nothing_and_says_so_after_a_restart_too(region: Region) -> None:
    full = stated(*(manifest(deployment(f"bb{n}"), unit=cluster(n)) for n in range(1, 5)))
    empty = stated(made_from=provenance(2))
    async with region.applier():
        await region.state(full)
        await region.shows(HOST, "AsStated")
        before = region.files()
        await region.state(empty)
        shown = await region.shows(HOST, "BeyondBudget", "DeletionHeld")
    async with region.applier():
        await region.state(empty.repeated())
        await until(lambda: len(region.plans) == 3)
        assert region.files() == before
        back = full.model_copy(update={"provenance": provenance(3)})
        await region.state(back)
        await region.shows(HOST, "WithinBudget", "DeletionHeld")

    assert "4 deletions inferred" in shown.message
    assert region.files() == before, "nothing was touched, and nothing is when the rights are back"


async def test_losses_in_a_row_count_as_one_though_the_process_was_killed_in_between(region: Region) -> None:
    """Three of nine clusters go, and the process dies before it says so; then two of the six that are left."""
    objects = {number: manifest(deployment(f"bb{number}"), unit=cluster(number)) for number in range(1, 10)}

    async def without(missing: set[int], step: int) -> ManifestDelta:
        return stated(*(one for number, one in objects.items() if number not in missing), made_from=provenance(step))

    services: list[ApplierService] = []

    def die(object_id: ObjectId) -> None:
        """As if the process ended right after the last delete: not a word about it reaches the record."""
        if object_id.name == "bb3":
            (region.output / OWN / "deployment-bb3.yaml").unlink()
            services[0]._states[HOST].ownership.end()

    async with region.applier():
        await region.state(await without(set(), 1))
        await region.shows(HOST, "AsStated")
    async with region.applier(Watched(region.output, die), concurrency=1) as service:
        services.append(service)
        await region.state(await without({1, 2, 3}, 2))
        await until(lambda: len(region.files()) == 6)
    async with region.applier():
        await region.state(await without({1, 2, 3, 4, 5}, 3))
        shown = await region.shows(HOST, "BeyondBudget", "DeletionHeld")

    assert "2 deletions inferred from DNS or inventory after 3 in the last hour" in shown.message
    assert len(region.files()) == 6


async def test_held_deletions_are_not_released_by_an_edit_of_the_template(region: Region) -> None:
    objects = [manifest(deployment(f"bb{n}"), unit=cluster(n)) for n in range(1, 5)]
    units = [cluster(n) for n in range(1, 5)]
    async with region.applier():
        await region.state(stated(*objects))
        await region.shows(HOST, "AsStated")
        await region.state(stated(objects[0], units=units, made_from=provenance(2)))
        await region.shows(HOST, "BeyondBudget", "DeletionHeld")
        edited = {**TEMPLATES, NOVA: 2}
        await region.state(stated(objects[0], units=units, templates=edited, made_from=provenance(3)))
        await until(lambda: len(region.plans) == 3)

    assert len(region.files()) == 4


async def test_what_is_unknown_is_left_as_it_is(region: Region) -> None:
    unknown = Unknown(template=NOVA, unit=cluster(2), reason="nova-compute, line 7: 'naem' is undefined")
    async with region.applier():
        await region.state(stated(manifest(A), manifest(B, unit=cluster(2))))
        await region.shows(HOST, "AsStated")
        before = region.files()
        await region.state(stated(manifest(A), unknown=[unknown], made_from=provenance(2)))
        shown = await region.shows(HOST, "PartlyUnknown")

    assert region.files() == before
    assert "line 7" in shown.message


async def test_a_foreign_file_is_not_touched_and_its_place_is_taken_when_it_is_gone(region: Region) -> None:
    foreign = region.output / FILES[A]
    foreign.parent.mkdir()
    foreign.write_text("kind: Deployment\napiVersion: apps/v1\nmetadata: {name: a, namespace: monsoon3}\n")
    async with region.applier(look_every=0.2):
        await region.state(stated(manifest(A), manifest(B)))
        shown = await region.shows(HOST, "Conflict")
        assert "not managed by the operator" in shown.message
        assert region.files()[FILES[A]] == foreign.read_text()
        assert FILES[B] in region.files()
        foreign.unlink()
        await region.shows(HOST, "AsStated")

    assert labels.PART_OF in region.files()[FILES[A]]


async def test_an_object_that_moves_to_another_vcenter_is_handed_over_and_never_gone(region: Region) -> None:
    at_a = manifest(A, HOST, unit=cluster(1), spec={"of": "a"})
    at_b = manifest(A, OTHER, unit=cluster(1, "qa-de-1b"), spec={"of": "b"})
    deleted: list[ObjectId] = []

    class NeverGone(Watched):
        async def delete(self, current: Observed, guard: Guard) -> None:
            deleted.append(current.id)

    async with region.applier(NeverGone(region.output)):
        await region.state(stated(at_a))
        await region.shows(HOST, "AsStated")
        await region.state(stated(at_b, host=OTHER))
        waiting = await region.shows(OTHER, "Conflict")
        assert f"belongs to vCenter {HOST}" in waiting.message
        assert yaml.safe_load(region.files()[FILES[A]])["spec"] == {"of": "a"}
        await region.state(stated(made_from=provenance(2)))
        await region.shows(OTHER, "AsStated")

    written = yaml.safe_load(region.files()[FILES[A]])
    assert written["spec"] == {"of": "b"}
    assert written["metadata"]["labels"][labels.PART_OF] == labels.applyset_id(OTHER, OWN)
    assert deleted == []


async def test_what_was_handed_over_and_is_unknown_to_its_new_owner_stays(region: Region) -> None:
    """It carries the new owner's template and unit from the moment that it changes hands."""
    at_b = cluster(1, "qa-de-1b")
    async with region.applier(look_every=0.2):
        await region.state(stated(manifest(A, HOST)))
        await region.shows(HOST, "AsStated")
        await region.state(stated(manifest(A, OTHER, unit=at_b), host=OTHER))
        await region.shows(OTHER, "Conflict")
        unknown = Unknown(template=None, unit=at_b, reason="cannot be read")
        await region.state(stated(host=OTHER, unknown=[unknown], units=[at_b], made_from=provenance(2)))
        await region.shows(OTHER, "AsStated")
        await region.state(stated(made_from=provenance(2)))
        await until(lambda: labels.applyset_id(OTHER, OWN) in region.files()[FILES[A]], "the hand-over")
        await region.state(stated(host=OTHER, unknown=[unknown], units=[at_b], made_from=provenance(3)))
        await region.shows(OTHER, "PartlyUnknown")

    assert FILES[A] in region.files()


async def test_a_dry_run_changes_nothing_and_plans_all(region: Region) -> None:
    async with region.applier():
        await region.state(stated(manifest(A), manifest(B, template=CINDER)))
        await region.shows(HOST, "AsStated")
    before, record = region.files(), await region.store.get(HOST)
    changed = stated(manifest(A, spec={"x": 1}), manifest(C), templates={NOVA: 1}, made_from=provenance(2))
    async with region.applier(DryRunFolder(region.output, OWN), store=Overlay(region.store)):
        await region.state(changed)
        await until(lambda: len(region.plans) == 2)

    outcome = region.plans[1][2]
    assert (outcome.created, outcome.updated, outcome.deleted) == ((C,), (A,), (B,))
    assert outcome.dry_run
    assert region.files() == before
    assert await region.store.get(HOST) == record


async def test_what_was_removed_by_hand_is_noticed_and_put_back(region: Region) -> None:
    delta = stated(manifest(A), manifest(B))

    def answer(request: ResyncRequest) -> ManifestDelta | None:
        wanted = {one: delta.manifests[one] for one in request.objects}
        return delta.model_copy(update={"manifests": wanted}) if wanted else None

    region.renderer.answer = answer
    async with region.applier(look_every=0.2):
        await region.state(delta)
        await region.shows(HOST, "AsStated")
        (region.output / FILES[A]).unlink()
        await until(lambda: FILES[A] in region.files(), "the file to be back")


async def test_a_vcenter_whose_objects_cannot_be_listed_blocks_no_other(region: Region) -> None:
    class Partly(Watched):
        async def owned(self, host: str, places: Collection[Place], *, afresh: bool = True) -> Holdings:
            if host == OTHER:
                raise TransientError("forbidden")
            return await super().owned(host, places, afresh=afresh)

    async with region.applier():
        await region.state(stated(manifest(A)), stated(manifest(B, OTHER), host=OTHER))
        await region.shows(HOST, "AsStated")
        await region.shows(OTHER, "AsStated")
    async with region.applier(Partly(region.output)):
        await region.state(stated(manifest(A), manifest(C), made_from=provenance(2)))
        await region.state(stated(manifest(B, OTHER, spec={"x": 1}), host=OTHER, made_from=provenance(2)))
        await until(lambda: FILES[C] in region.files())
        assert (await region.shows(OTHER, "Retrying")).message == "forbidden"


async def test_secrets_are_applied_before_deployments_and_deleted_after_them(region: Region) -> None:
    cluster_ = Watched(region.output)
    kinds = [deployment("x"), config_map("x"), secret("x")]
    async with region.applier(cluster_):
        await region.state(stated(*map(manifest, kinds)))
        await region.shows(HOST, "AsStated")
        await region.state(stated(templates={}, made_from=provenance(2)))
        await until(lambda: not region.files())

    assert cluster_.writes == [*kinds[::-1], *kinds]


async def test_a_manifest_that_was_sealed_for_something_else_is_refused(region: Region) -> None:
    one, two = stated(manifest(A)), stated(manifest(B))
    forged = one.model_copy(update={"manifests": {A: two.manifests[B]}})
    async with region.applier():
        await region.state(forged)
        shown = await region.shows(HOST, "Refused")

    assert "belongs to another object" in shown.message
    assert region.files() == {}


async def test_an_annotation_that_somebody_edited_is_put_right(region: Region) -> None:
    delta = stated(manifest(A), manifest(B))
    region.renderer.answer = lambda request: delta if request.objects else None
    async with region.applier(look_every=0.05):
        await region.state(delta)
        await region.shows(HOST, "AsStated")
        path = region.output / FILES[A]
        before = path.read_text()
        edited = yaml.safe_load(before)
        edited["metadata"]["annotations"][labels.UNIT] = "cluster/nowhere/other"
        path.write_text(yaml.safe_dump(edited))
        await until(lambda: yaml.safe_load(path.read_text()) == yaml.safe_load(before), "put right")


async def test_a_key_that_is_not_known_yet_is_waited_for(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """The renderer may have seen a new Secret before the applier did."""
    known = Secrets.current

    async def another(_: Secrets) -> Configuration:
        key = base64.b64encode(b"another key of 32 bytes.........").decode()
        return Configuration.parse({"username": "u", "password": "p", "bus_key": key})

    monkeypatch.setattr(Secrets, "current", another)
    async with region.applier():
        await region.state(stated(manifest(A)))
        condition = await region.shows(HOST, "Retrying")
        assert "not in the Secret" in condition.message
        monkeypatch.setattr(Secrets, "current", known)
        await region.shows(HOST, "AsStated")
    assert set(region.files()) == {FILES[A]}


async def test_a_record_that_somebody_deleted_is_written_again_with_what_was_acted_on(
    region: Region, tmp_path: Path
) -> None:
    async with region.applier(look_every=0.05):
        await region.state(stated(manifest(A)))
        await region.shows(HOST, "AsStated")
        before = await region.applied(HOST)
        for path in (tmp_path / "records").glob("*.yaml"):
            path.unlink()
        await region.shows(HOST, "AsStated")
        assert await region.applied(HOST) == before


async def test_what_was_held_is_remembered_though_somebody_deleted_the_record(region: Region, tmp_path: Path) -> None:
    """Else the same loss would be held under the digest that a person released before."""
    names = [manifest(one, unit=cluster(number)) for number, one in enumerate((A, B, C))]
    units = [cluster(number) for number in range(3)]
    async with region.applier():
        await region.state(stated(*names))
        await region.shows(HOST, "AsStated")
        await region.state(stated(names[0], units=units[:1], made_from=provenance(2)))
        await region.shows(HOST, "BeyondBudget", "DeletionHeld")
        held = await region.applied(HOST)
        await region.state(stated(*names, made_from=provenance(3)))
        await region.shows(HOST, "WithinBudget", "DeletionHeld")
        for path in (tmp_path / "records").glob("*.yaml"):
            path.unlink()
        await region.state(stated(names[0], units=units[:1], made_from=provenance(4)))
        await region.shows(HOST, "BeyondBudget", "DeletionHeld")
        again = await region.applied(HOST)

    assert held is not None
    assert again is not None
    assert (held.held, held.hold, again.held, again.hold) == (again.held, 1, held.held, 2)
    assert held.held_plan != again.held_plan
