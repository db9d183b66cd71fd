"""A region that things happen to, and what must never happen to it.

What follows from the truth goes through the renderer's pure parts into deltas, these through a network that loses,
repeats and reorders, to the applier's own service on a simulated cluster and record. Every write is held against the
truth, see `judging`, and not against what the applier says of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from tests.fakes.cluster import SimulatedCluster, TriedCluster, Write
from tests.unit.applier.given import NOW, OWN
from tests.unit.applier.judging import Judge, Violation
from tests.unit.applier.process import Process, Records
from tests.unit.applier.truth import HOSTS, Said, Truth
from vcenter_operator.applier.core.decisions import Instance, Plan, Policy
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.ports import OnPlan
from vcenter_operator.common.errors import OwnershipLost, PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId, Revision
from vcenter_operator.common.record.orders import Orders
from vcenter_operator.common.record.overlay import Overlay
from vcenter_operator.common.record.port import Applied, Discovered, Store

T = TypeVar("T")
POLICY = Policy(gone_after=timedelta(days=1))


class Region:
    """All of it."""

    def __init__(self, truth: Truth | None = None) -> None:
        self.now: datetime = NOW
        self.truth = truth or Truth()
        self.network: dict[str, list[Said]] = {host: [] for host in HOSTS}
        self.ever: dict[str, dict[Revision, Said]] = {host: {} for host in HOSTS}
        """All that was ever said, by the inventory's revision."""
        self.store = Records(self._effect)
        self.cluster = SimulatedCluster(OWN, self._witness)
        self._told: dict[str, tuple[str, frozenset[Instance]]] = {}
        self.shown: dict[str, tuple[str, frozenset[Instance]]] = {}
        self.digests: dict[str, list[str]] = {host: [] for host in HOSTS}
        """Every digest that was ever shown."""
        self.fail_every = 0
        self.die_after: int | None = None
        """So many effects, on cluster or record."""
        self.refusing: str | None = None
        """What is in the names of objects that the server refuses for good."""
        self.wordless = False
        """The renderer does not send manifests by itself."""
        self.judge = Judge(self.cluster, self.store, POLICY)
        self.writes = 0
        self._effects = 0
        self._violation: Violation | None = None
        self.process = self._started(self.store, self.cluster, self._tell)

    # What happens

    def zone_changes(self, host: str, *, present: bool) -> None:
        """DNS has the vCenter, or has it no more: discovery writes it into the record at once."""
        true = self.truth.vcenters[host]
        true.present, true.zone, true.gone_since = present, true.zone + 1, None if present else self.now
        discovered = Discovered(
            present=present, serial=true.zone, revision=Revision(1, true.zone), gone_since=true.gone_since
        )
        self.store.put(host, discovered=discovered)

    def say(self, host: str, **words: object) -> None:
        """A person writes orders into the record."""
        self.store.put(host, orders=Orders.model_validate(self.store.orders(host).model_dump() | words))

    def state(self, host: str, *, behind: bool = False, bodies: Collection[ObjectId] | None = None) -> None:
        """Collector and renderer say what is so; a renderer that is `behind` has templates from before."""
        said = self.truth.said(host, behind=behind, bodies=() if self.wordless and bodies is None else bodies)
        self.network[host].append(said)
        self.ever[host][said.delta.provenance.inventory] = said

    def deliver(self, host: str, which: int, *, again: bool = False) -> None:
        """One of the messages under way arrives; `again`: and will once more, as it will if it could not be done."""
        if queue := self.network[host]:
            said, lagging = queue.pop(which % len(queue)), host in self.store.lagging
            left = self._handle(host, said)
            if left is None and not lagging:
                self._nothing_by(lambda: self._handle(host, said))
            if again or left is not None:
                self.network[host].append(said)

    def hear(self, host: str, said: Said) -> None:
        """Something arrives at once, whatever is under way."""
        self.ever[host][said.delta.provenance.inventory] = said
        self._handle(host, said)

    def look(self, host: str) -> None:
        """The applier looks again by itself, or because something was noticed."""
        if self.process.acts_on(host) is not None:
            said = self._current(host)

            def look() -> bool:
                return self._work(host, lambda: self.process.look(host), said)

            lagging = host in self.store.lagging
            if look() and not lagging:
                self._nothing_by(look)

    def restart(self) -> None:
        """Every applier begins with what the record says, as it is stored."""
        self.process.kill()
        self.die_after = None
        self.store.read_back(self.now)
        self.process = self._started(self.store, self.cluster, self._tell)

    def approve(self, host: str, word: str | None = None) -> None:
        """A person repeats what the record shows, and means what was listed; `word`: if it is that."""
        applied = self.applied(host)
        if applied is None or applied.held_plan is None or host not in self.shown:
            return
        digest, listed = self.shown[host]
        if digest == applied.held_plan and word in (None, digest):
            self.say(host, approve=digest)
            self.judge.words[host].append(listed)

    def edit_by_hand(self, object_id: ObjectId) -> None:
        """Somebody takes a field from us."""
        one = self.cluster.put(object_id, self.cluster.metadata[object_id], fields="as edited")
        self.cluster.objects[object_id] = replace(one, editor="kubectl-edit")

    def try_out(self, host: str) -> None:
        """A dry run of the newest that was said, beside the process."""
        if not self.ever[host]:
            return
        before = dict(self.cluster.objects), dict(self.store.records), self.store.writes[:]
        trial = TriedCluster(self.cluster, OWN)
        tried = self._started(Overlay(self.store), trial, lambda *_: None)
        tried.handle(list(self.ever[host].values())[-1].delta)
        if (dict(self.cluster.objects), dict(self.store.records), self.store.writes) != before:
            raise Violation("a dry run wrote")

    def applied(self, host: str) -> Applied | None:
        """The applier's section of the record."""
        return self.store.records[host].applied if host in self.store.records else None

    # What the applier does

    def _started(self, store: Store, cluster: SimulatedCluster, on_plan: OnPlan) -> Process:
        return Process(store, cluster, POLICY, lambda: self.now, ask=self._ask, on_plan=on_plan)

    def _current(self, host: str) -> Said:
        delta = self.process.acts_on(host)
        assert delta is not None
        return self.ever[host][delta.provenance.inventory]

    def _nothing_by(self, work: Callable[[], object]) -> None:
        """A plan that is applied twice is empty; what people said counts when it is seen, be it the second time."""
        writes = self.writes
        work()
        if self.writes != writes:
            raise Violation(f"{self.writes - writes} writes by a plan that was applied already")

    def _handle(self, host: str, said: Said) -> Exception | None:
        return self._work(host, lambda: self.process.handle(said.delta), said)

    def _work(self, host: str, work: Callable[[], T], said: Said) -> T:
        self.judge.begin(host)
        done = work()
        if self._violation is not None:  # whoever carries out a plan survives any error of a write
            raise self._violation
        if self.process.acts_on(host) == said.delta.model_copy(update={"manifests": {}}):
            self.judge.planned(host, said, self.now)
        self._shows(host)
        if self.process.killed:
            self.restart()
        return done

    def _ask(self, host: str, objects: Collection[ObjectId]) -> None:
        self.state(host, bodies=objects)

    def _tell(self, host: str, plan: Plan, outcome: Outcome) -> None:
        del outcome
        if plan.held_plan is not None:
            self._told[host] = plan.held_plan, frozenset(removal.instance for removal in plan.held)

    def _shows(self, host: str) -> None:
        """People see what the record has."""
        applied = self.applied(host)
        if applied is not None and host in self._told and applied.held_plan == self._told[host][0]:
            self.shown[host] = self._told[host]
            if applied.held_plan not in self.digests[host]:
                self.digests[host].append(applied.held_plan)

    def _witness(self, write: Write) -> None:
        self.writes += 1
        try:
            self.judge.write(write, self._current(write.actor), self.truth.vcenters[write.actor], self.now)
        except Violation as violation:
            self._violation = violation
            raise
        if self.refusing and self.refusing in write.id.name and write.action in ("create", "update"):
            raise PermanentError("the server does not take it")
        self._effect()

    def _effect(self) -> None:
        """On cluster or record: it may fail, or be the last."""
        self._effects += 1
        if self.die_after is not None:
            self.die_after -= 1
            if self.die_after < 0:
                self.process.kill()
                raise OwnershipLost("the process is gone")
        if self.fail_every and self._effects % self.fail_every == 0:
            raise TransientError("the server is busy")

    # The end

    def rest(self) -> None:
        """People let everything go on, what is under way is lost, and all is said until nothing changes any more.

        Then everything that was ever said arrives once more.
        """
        self.fail_every, self.die_after, self.refusing, self.wordless = 0, None, None, False
        for host in HOSTS:
            self.network[host] = []
            self.store.put(host, orders=Orders(when_gone=self.store.orders(host).when_gone, adopt=True))
        for template in self.truth.templates.values():
            template.suspended = False
        for one in [one for one in self.cluster.objects.values() if one.host is None and not one.adoptable]:
            self.cluster.remove(one.id)
        self.restart()
        for _ in range(8):
            self.cluster.finish()
            for host in HOSTS:
                self.network[host] = []
                self.state(host)
                self.deliver(host, 0)
                self.approve(host)
                self.look(host)
            self.now += timedelta(days=2)
        for host in HOSTS:
            for said in list(self.ever[host].values()):
                self._handle(host, said)
        self.judge.rest({host: self.truth.said(host) for host in HOSTS})
