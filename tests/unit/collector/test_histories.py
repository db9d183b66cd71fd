"""Whatever happens to a vCenter, to the account's rights and to the collector, in any order: nothing is stated gone
that nobody proved gone, what is unknown stays what it was, and in the end everything is stated as it is.

The vCenter and the rights are a model; what reads, concludes, records and states is what runs for real.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.collector.scene import Bus, Crash, Journal, JournalledStore, MemoryEpochs, present
from vcenter_operator.collector.core.conventions import Convention, availability_zone, datastore_regex
from vcenter_operator.collector.core.evidence import conclude, to_ask
from vcenter_operator.collector.core.model import (
    ABSENT,
    Answer,
    Member,
    Reference,
    SeenCluster,
    Snapshot,
    Unreadable,
)
from vcenter_operator.collector.standing import Standing
from vcenter_operator.common.bus.inprocess import Broker
from vcenter_operator.common.bus.port import Ownership, Topology
from vcenter_operator.common.identity import Unit
from vcenter_operator.common.messages import Inventory, Stage

NO_RIGHT = Unreadable("NoPermission")
NAMES = st.sampled_from(["productionbb1", "productionbb2", "storage3", "retired", "spare"])
DATACENTERS = st.sampled_from(["A", "B"])
INSIDE = Convention()


@dataclass(frozen=True)
class Reality:
    """A cluster as it really is."""

    moid: str
    name: str
    datacenter: str
    datastores: frozenset[str] = field(default=frozenset())

    @property
    def unit(self) -> Unit | None:
        """What it is to templates; None: outside the convention."""
        name = INSIDE.name(self.name)
        return Unit(name.role.value, availability_zone(self.datacenter), self.name) if name else None


class Histories(RuleBasedStateMachine):
    """One vCenter from the first look at it."""

    @initialize()
    def begin(self) -> None:
        self.clusters: dict[str, Reality] = {}
        self.hidden: set[str] = set()
        self.journal = Journal()
        self.store = JournalledStore(self.journal)
        self.epoch = itertools.count(1)
        self.numbers = itertools.count(1)
        self.stated: set[Unit] = set()
        self.holders: dict[Unit, set[str]] = {}
        """Who was ever stated as a unit, as long as that is stated."""
        self.rests: dict[str, frozenset[str]] = {}
        """The datastores that a cluster's last statement rests on, once that was recorded too."""
        self.restart()

    # -- what happens in the vCenter

    @rule(name=NAMES, datacenter=DATACENTERS)
    def create(self, name: str, datacenter: str) -> None:
        moid = f"domain-c{next(self.numbers)}"
        self.clusters[moid] = Reality(moid, name, datacenter, frozenset({f"eph-{moid}"}))

    @precondition(lambda self: self.clusters)
    @rule(data=st.data(), name=NAMES)
    def rename(self, data: st.DataObject, name: str) -> None:
        cluster = self._any(data)
        self.clusters[cluster.moid] = replace(cluster, name=name)

    @precondition(lambda self: self.clusters)
    @rule(data=st.data(), datacenter=DATACENTERS)
    def move(self, data: st.DataObject, datacenter: str) -> None:
        cluster = self._any(data)
        self.clusters[cluster.moid] = replace(cluster, datacenter=datacenter)

    @precondition(lambda self: self.clusters)
    @rule(data=st.data())
    def destroy(self, data: st.DataObject) -> None:
        del self.clusters[self._any(data).moid]

    @precondition(lambda self: self.clusters)
    @rule(data=st.data())
    def mount(self, data: st.DataObject) -> None:
        cluster = self._any(data)
        more = cluster.datastores | {f"eph{next(self.numbers)}"}
        self.clusters[cluster.moid] = replace(cluster, datastores=more)

    @precondition(lambda self: any(cluster.datastores for cluster in self.clusters.values()))
    @rule(data=st.data())
    def unmount(self, data: st.DataObject) -> None:
        cluster = self._any(data)
        if cluster.datastores:
            less = cluster.datastores - {data.draw(st.sampled_from(sorted(cluster.datastores)))}
            self.clusters[cluster.moid] = replace(cluster, datastores=less)

    # -- what the account may see

    @precondition(lambda self: self.clusters)
    @rule(data=st.data())
    def hide(self, data: st.DataObject) -> None:
        cluster = self._any(data)
        self.hidden.add(data.draw(st.sampled_from([cluster.moid, *sorted(cluster.datastores)])))

    @precondition(lambda self: self.hidden)
    @rule(data=st.data())
    def show(self, data: st.DataObject) -> None:
        self.hidden.remove(data.draw(st.sampled_from(sorted(self.hidden))))

    # -- what the collector does

    @rule()
    def restart(self) -> None:
        bus = Bus(Broker(Topology(partitions=1)), MemoryEpochs())
        bus.journal = self.journal
        self.standing = Standing(present(), Ownership(Stage.COLLECTOR, 0, next(self.epoch)), bus, self.store)

    @rule(crash_after=st.none() | st.integers(0, 2), settles=st.booleans())
    def read(self, crash_after: int | None, settles: bool) -> None:
        """A reading that is stated, by a process that may die before any of its effects.

        What is recorded in a moment is recorded before the next thing happens, or not yet.
        """
        before = len(self.journal)
        self.journal.crash_after = None if crash_after is None else before + crash_after
        completed = False
        with suppress(Crash):
            asyncio.run(self._read(settles))
            completed = settles
        if self.journal.crash_after is not None:
            self.journal.crash_after = None
            self.restart()
        for effect in self.journal[before:]:
            if isinstance(effect, Inventory):
                self._check(effect, completed)

    async def _read(self, settles: bool) -> None:
        recorder = self.standing.recorder
        await recorder.recall()
        snapshot = self._snapshot()
        recorded = recorder.clusters
        answers = {reference: self._answer(reference) for reference in to_ask(recorded, snapshot)}
        await self.standing.state(conclude(INSIDE, recorded, snapshot, answers))
        if settles:
            await recorder.write()

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            tuple(
                SeenCluster(
                    cluster.moid,
                    cluster.name,
                    cluster.datacenter,
                    tuple(Member(Reference("Datastore", each), each) for each in self._visible(cluster)),
                )
                for cluster in self.clusters.values()
                if cluster.moid not in self.hidden
            ),
            "instance",
        )

    def _visible(self, cluster: Reality) -> list[str]:
        return sorted(cluster.datastores - self.hidden)

    def _answer(self, reference: Reference) -> Answer:
        if reference.kind == "Datastore":
            # One that is mounted nowhere is still there.
            return NO_RIGHT if reference.moid in self.hidden else reference.moid
        if reference.moid not in self.clusters:
            return ABSENT
        return NO_RIGHT if reference.moid in self.hidden else self.clusters[reference.moid].name

    def _any(self, data: st.DataObject) -> Reality:
        return self.clusters[data.draw(st.sampled_from(sorted(self.clusters)))]

    # -- what has to hold

    def _check(self, inventory: Inventory, recorded: bool) -> None:
        known = {cluster.unit: cluster for cluster in inventory.clusters}
        unknown = {cluster.unit for cluster in inventory.unknown}
        assert not known.keys() & unknown
        for unit, moids in self.holders.items():
            if unit not in known.keys() | unknown:
                for moid in moids:
                    self._check_gone(unit, moid)
        for unit, cluster in known.items():
            real = self.clusters[cluster.moid]
            assert real.unit == unit, "stated as what it is"
            assert cluster.moid not in self.hidden
            assert cluster.datastore_regex == datastore_regex(self._visible(real))
            rests = self.rests.get(cluster.moid, frozenset())
            short = rests & real.datastores & self.hidden
            assert not short, f"{unit} is stated without {short}"
            for moid in self.holders.get(unit, set()) - {cluster.moid}:
                self._check_gone(unit, moid)
            visible = frozenset(self._visible(real))
            self.rests[cluster.moid] = visible if recorded else rests & visible
        self.holders = {unit: {cluster.moid} for unit, cluster in known.items()} | {
            unit: self.holders.get(unit, set()) for unit in unknown
        }
        # What was out of the convention is read for the first time when it is back.
        going_on = {each.moid for each in inventory.clusters} | {each.moid for each in inventory.unknown}
        self.rests = {moid: rests for moid, rests in self.rests.items() if moid in going_on}

    def _check_gone(self, unit: Unit, moid: str) -> None:
        there = self.clusters.get(moid)
        assert there is None or (moid not in self.hidden and there.unit != unit), f"{unit} was {moid}: not gone"

    @invariant()
    def what_is_stated_is_recorded(self) -> None:
        record = self.store.records.get(present().host)
        collected = record.collected.clusters if record and record.collected else ()
        recorded = {(entry.availability_zone, entry.cluster_name) for entry in collected}
        assert {unit[1:] for unit, moids in self.holders.items() if moids} <= recorded

    def teardown(self) -> None:
        """In the end the account sees everything again."""
        if not hasattr(self, "standing"):
            return
        self.hidden.clear()
        self.read(None, settles=True)
        self.read(None, settles=True)
        real: dict[Unit, list[Reality]] = {}
        for cluster in self.clusters.values():
            if cluster.unit:
                real.setdefault(cluster.unit, []).append(cluster)
        last = next((each for each in reversed(self.journal) if isinstance(each, Inventory)), None)
        assert last is not None
        alone = {unit: clusters[0].moid for unit, clusters in real.items() if len(clusters) == 1}
        assert {cluster.unit: cluster.moid for cluster in last.clusters} == alone
        namesakes = {cluster.moid for clusters in real.values() if len(clusters) > 1 for cluster in clusters}
        assert {cluster.moid for cluster in last.unknown} <= namesakes
        assert {unit for unit, clusters in real.items() if len(clusters) > 1} <= {each.unit for each in last.unknown}
        collected = self.store.records[present().host].collected
        assert collected is not None
        assert {entry.moid for entry in collected.clusters} == set(alone.values()) | namesakes


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
