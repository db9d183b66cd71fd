"""A region that things happen to, and what must never happen to it.

The truth about vCenters, clusters and templates is kept here. What follows from it goes through the renderer's pure
parts into deltas, these through a network that loses, repeats and reorders, and the planner decides what is done with
them in a simulated cluster. Every write is held against the truth, and not against what the planner says of itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.cluster import SimulatedCluster, Write
from tests.unit.applier.given import HOST, NOW, OTHER, OWN
from vcenter_operator.applier.acting import Acting, Result
from vcenter_operator.applier.core.approval import accepted
from vcenter_operator.applier.core.deciding import decide
from vcenter_operator.applier.core.decisions import Change, Instance, Memory, Plan, Policy
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.settling import foreseen, section
from vcenter_operator.common import labels
from vcenter_operator.common.errors import OwnershipLost, TransientError
from vcenter_operator.common.identity import ObjectId, Revision, Unit
from vcenter_operator.common.messages import (
    Cluster,
    ClusterRole,
    IndexEntry,
    Inventory,
    ManifestDelta,
    Provenance,
    UnknownCluster,
    ZoneSource,
)
from vcenter_operator.common.record.document import record_of, section_status
from vcenter_operator.common.record.orders import Orders, PolicyName, WhenGone
from vcenter_operator.common.record.port import Applied
from vcenter_operator.renderer.core.delta import Yield, merge, renderings
from vcenter_operator.renderer.core.failures import Failure
from vcenter_operator.renderer.core.membership import as_member
from vcenter_operator.renderer.core.scopes import scopes_of
from vcenter_operator.renderer.core.templates import Template, TemplateSet

HOSTS = (HOST, OTHER)
CLUSTERS = tuple(f"productionbb{number:03}" for number in range(1, 6))
ZONES = ("qa-de-1a", "qa-de-1b")
NAMES = ("nova", "cinder", "sidecar")
SCOPES = {"nova": "cluster", "cinder": "datacenter", "sidecar": "cluster"}
POLICY = Policy(gone_after=timedelta(days=1))
Pair = tuple[str, Unit]


class Violation(AssertionError):
    """Something happened that must never happen."""


def az_of(cluster: str) -> str:
    return ZONES[int(cluster[-1]) % 2]


def unit_of(cluster: str) -> Unit:
    return Unit("cluster", az_of(cluster), cluster)


@dataclass
class TrueTemplate:
    """A VCenterTemplate as its author has it."""

    exists: bool = True
    shape: int = 0
    """What it yields for each unit, see `yields`."""
    generation: int = 1
    failing: frozenset[str] = frozenset()
    """The clusters or availability zones that it fails for."""
    unusable: bool = False
    suspended: bool = False

    def resource(self, name: str) -> dict[str, Any]:
        metadata: dict[str, Any] = {"namespace": OWN, "name": name, "uid": name, "generation": self.generation}
        scope = {} if self.unusable else {"scope": SCOPES[name]}
        return {"metadata": metadata, "options": scope, "template": "x"}

    def yields(self, name: str, what: str) -> list[ObjectId]:
        deployment = ObjectId("apps", "Deployment", OWN, f"{name}-{what}")
        others = {
            0: [],
            1: [ObjectId("", "Secret", OWN, f"{name}-{what}")],
            2: [ObjectId("", "ConfigMap", OWN, f"{name}-{what}"), ObjectId("", "Secret", OWN, f"{name}-{what}")],
        }
        return [deployment._replace(name=f"{name}-{what}-x")] if self.shape == 3 else [deployment, *others[self.shape]]


@dataclass
class TrueVCenter:
    """A vCenter as it is."""

    present: bool = True
    clusters: dict[str, int] = field(default_factory=dict)
    """Name to what is in it."""
    unreadable: set[str] = field(default_factory=set)
    zone: int = 1
    gone_since: datetime | None = None
    sequence: int = 0


@dataclass(frozen=True)
class Said:
    """A delta, and what was true when it was made."""

    delta: ManifestDelta
    unknown: frozenset[Pair]
    """Templates and units that nobody could know anything about."""
    expected: frozenset[ObjectId]


@dataclass
class Applier:
    """What the applier knows of one vCenter; of it only the record survives a restart."""

    record: Applied | None = None
    said: Said | None = None
    plan: Plan | None = None


class Region:
    """All of it."""

    def __init__(self) -> None:
        self.now: datetime = NOW
        self.inputs = 1
        self.templates = {name: TrueTemplate() for name in NAMES}
        self.former = (1, {name: replace(template) for name, template in self.templates.items()})
        self.position = 1
        self.vcenters = {
            HOST: TrueVCenter(clusters=dict.fromkeys(CLUSTERS[:4], 0)),
            OTHER: TrueVCenter(clusters=dict.fromkeys(CLUSTERS[4:], 0)),
        }
        self.orders = dict.fromkeys(HOSTS, Orders())
        self.network: dict[str, list[Said]] = {host: [] for host in HOSTS}
        self.ever: dict[str, list[Said]] = {host: [] for host in HOSTS}
        """All that was ever said."""
        self.appliers = {host: Applier() for host in HOSTS}
        self.cluster = SimulatedCluster(OWN, self._witness)
        self.bodies: dict[tuple[str, ObjectId, str], dict[str, Any]] = {}
        self.words: dict[str, list[frozenset[Instance]]] = {host: [] for host in HOSTS}
        """What people released, as they were shown it, until it is used or overtaken."""
        self.shown: dict[str, tuple[str, frozenset[Instance]]] = {}
        self.digests: dict[str, list[str]] = {host: [] for host in HOSTS}
        """Every digest that was ever shown."""
        self.most: dict[str, list[tuple[datetime, int]]] = {host: [] for host in HOSTS}
        self.fail_every = 0
        self.die_after: int | None = None
        self._writes = 0
        self._lost = False
        self._violation: Violation | None = None

    def edited(self) -> None:
        """The templates are about to change: what they are now is what a renderer that is behind has."""
        self.former = (self.position, {name: replace(template) for name, template in self.templates.items()})
        self.position += 1

    def zone_changes(self, host: str, *, present: bool) -> None:
        """DNS has the vCenter, or has it no more: discovery writes it into the record at once."""
        true = self.vcenters[host]
        true.present, true.zone, true.gone_since = present, true.zone + 1, None if present else self.now

    def state(self, host: str, *, behind: bool = False) -> None:
        """Collector and renderer say what is so; a renderer that is `behind` has templates from before."""
        position, templates = self.former if behind else (self.position, self.templates)
        said = self._said(host, position, templates)
        self.network[host].append(said)
        self.ever[host].append(said)

    def deliver(self, host: str, which: int, *, again: bool = False) -> None:
        """One of the messages under way arrives; `again`: and will once more."""
        if queue := self.network[host]:
            said = queue[which % len(queue)]
            if not again:
                queue.remove(said)
            self._handle(host, said)

    def look(self, host: str) -> None:
        """The applier looks again by itself, or because a person said something."""
        if self.appliers[host].said is not None:
            self._reconcile(host)

    def restart(self) -> None:
        """Every applier begins with what the record says, as it is stored."""
        for host, applier in self.appliers.items():
            record = None
            if applier.record is not None:
                status = section_status({}, applier.record, self.now)
                record = record_of({"metadata": {"name": host}, "status": status}).applied
                assert record is not None
            self.appliers[host] = Applier(record)
        self.die_after = None

    def approve(self, host: str, word: str | None = None) -> None:
        """A person repeats what the record shows, and means what was listed; `word`: if it is that."""
        applier = self.appliers[host]
        if applier.record is None or applier.record.held_plan is None or host not in self.shown:
            return
        digest, listed = self.shown[host]
        if digest == applier.record.held_plan and word in (None, digest):
            self.orders[host] = self.orders[host].model_copy(update={"approve": digest})
            self.words[host].append(listed)

    # What follows from the truth

    def _said(self, host: str, position: int, templates: dict[str, TrueTemplate]) -> Said:
        true = self.vcenters[host]
        true.sequence += 1
        inventory = self._inventory(host)
        known = TemplateSet.of(template.resource(name) for name, template in templates.items() if template.exists)
        scopes = scopes_of(inventory)
        yields = [self._yield(host, each, unit, templates) for each, unit in renderings(scopes, known)]
        merged = merge(scopes, known, yields)
        index = {
            object_id: IndexEntry(digest=entry.body, template=entry.template.key, unit=entry.unit)
            for object_id, entry in merged.entries.items()
        }
        delta = ManifestDelta(
            host=host,
            present=true.present,
            provenance=Provenance(
                zone=inventory.zone, inventory=inventory.revision, templates=position, cells=1, config=self.inputs
            ),
            templates=known.versions,
            inputs=f"i{self.inputs}",
            units=scopes.all if true.present else (),
            index=index if true.present else {},
            unknown=merged.unknown if true.present else (),
            manifests=dict.fromkeys(index, b"") if true.present else {},
            suspended=tuple(f"{OWN}/{name}" for name, each in self.templates.items() if each.exists and each.suspended),
        )
        unknown = frozenset(self._truly_unknown(host, templates)) if true.present else frozenset()
        return Said(delta, unknown, frozenset(delta.index))

    def _inventory(self, host: str) -> Inventory:
        true = self.vcenters[host]
        read = [name for name in true.clusters if name not in true.unreadable] if true.present else []
        unread = [name for name in true.clusters if name in true.unreadable] if true.present else []
        return Inventory(
            host=host,
            present=true.present,
            revision=Revision(1, true.sequence),
            zone=ZoneSource(revision=Revision(1, true.zone), serial=true.zone),
            clusters=tuple(
                Cluster(
                    moid=name,
                    role=ClusterRole.PRODUCTION,
                    cluster_name=name,
                    name=name,
                    availability_zone=az_of(name),
                    datastore_regex=str(true.clusters[name]),
                )
                for name in read
            ),
            unknown=tuple(
                UnknownCluster(
                    moid=name,
                    role=ClusterRole.PRODUCTION,
                    cluster_name=name,
                    availability_zone=az_of(name),
                    reason="unreadable",
                )
                for name in unread
            ),
        )

    def _yield(self, host: str, template: Template, unit: Unit, templates: dict[str, TrueTemplate]) -> Yield[str]:
        true = templates[template.name]
        what = unit.cluster or unit.availability_zone
        if what in true.failing:
            return Yield(template, unit, failure=Failure("it fails"))
        content = self.vcenters[host].clusters.get(unit.cluster, 0)
        digest = f"{host} {true.shape} {content} {self.inputs}"
        objects = []
        for object_id in true.yields(template.name, what):
            manifest = {"metadata": {"name": object_id.name, "namespace": OWN}}
            self.bodies[host, object_id, digest] = as_member(
                manifest, template=template, unit=unit, host=host, own_namespace=OWN
            )
            objects.append((object_id, digest))
        return Yield(template, unit, tuple(objects))

    def _truly_unknown(self, host: str, templates: dict[str, TrueTemplate]) -> Iterator[Pair]:
        """By the truth itself: unreadable clusters, zones of which only such are left, templates that fail."""
        true = self.vcenters[host]
        units = {unit_of(name) for name in true.clusters}
        zones = {unit.availability_zone for unit in units}
        unread = {unit_of(name) for name in true.clusters if name in true.unreadable}
        read_zones = {unit.availability_zone for unit in units - unread}
        unread |= {Unit("datacenter", zone) for zone in zones - read_zones}
        everywhere = {unit_of(name) for name in CLUSTERS} | {Unit("datacenter", zone) for zone in ZONES}
        for name, template in templates.items():
            key = f"{OWN}/{name}"
            yield from ((key, unit) for unit in unread)
            if template.exists and template.unusable:
                yield from ((key, unit) for unit in everywhere)
            elif template.exists:
                known = units if SCOPES[name] == "cluster" else {Unit("datacenter", zone) for zone in zones}
                for unit in known:
                    if (unit.cluster or unit.availability_zone) in template.failing:
                        yield key, unit

    # What the applier does

    def _handle(self, host: str, said: Said) -> None:
        applier, made_from = self.appliers[host], said.delta.provenance
        if applier.record is not None and made_from.older_than(applier.record.acted_on):
            return
        record = applier.record or Applied(acted_on=made_from)
        applier.record = record.model_copy(update={"acted_on": made_from})
        applier.said = said
        self._reconcile(host)

    def _reconcile(self, host: str) -> None:
        applier = self.appliers[host]
        assert applier.record is not None
        self._lost = False
        for _ in range(3):
            plan = self._plan(host)
            if (taken := accepted(applier.record, plan, self.orders[host])) is not None:
                applier.record = taken
                plan = self._plan(host)
            self._about_to_act(host, plan)
            budget = POLICY.budget
            applier.record = foreseen(applier.record, plan, owned=self._owned(host), budget=budget, now=self.now)
            applier.plan = plan
            result = self._carry_out(host, plan)
            applier.plan = None
            if self._lost:
                self.restart()
                return
            if not result.undone:
                break
        self._settle(host, plan, result)

    def _carry_out(self, host: str, plan: Plan) -> Result:
        def manifest_of(change: Change) -> dict[str, Any]:
            manifest = self.bodies[host, change.id, change.digest]
            annotations = {**manifest["metadata"]["annotations"], labels.DIGEST: change.digest}
            return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}

        acting = Acting(self.cluster, nullcontext, lambda: None, manifest_of, own_namespace=OWN)

        async def carried_out() -> Result:
            return await acting.carry_out(plan, await self.cluster.owned(host, []))

        result = RUNNER.run(carried_out())
        if self._violation is not None:  # whoever carries out a plan survives any error of a write
            raise self._violation
        return result

    def _settle(self, host: str, plan: Plan, result: Result) -> None:
        applier = self.appliers[host]
        assert applier.record is not None
        assert applier.said is not None
        outcome = Outcome(
            created=tuple(one.id for one in result.created),
            updated=tuple(one.id for one in result.updated),
            deleted=tuple(removal.id for removal in result.deleted),
            handed_over=tuple(removal.id for removal in result.handed_over),
            failed=tuple(result.failed),
            interrupted="changed meanwhile" if result.undone else None,
        )
        applier.record = section(
            applier.record,
            applier.said.delta,
            plan,
            outcome,
            gone=[*result.deleted, *result.handed_over],
            owned=self._owned(host),
            budget=POLICY.budget,
            now=self.now,
        )
        if plan.held_plan is not None:
            self.shown[host] = plan.held_plan, frozenset(removal.instance for removal in plan.held)
            if plan.held_plan not in self.digests[host]:
                self.digests[host].append(plan.held_plan)
        if not outcome.failed and not result.undone and (again := self._plan(host)).retaining == plan.retaining:
            self._ensure(again.empty, f"a plan applied twice: {again}")

    def _plan(self, host: str) -> Plan:
        applier = self.appliers[host]
        assert applier.record is not None
        assert applier.said is not None
        record, delta, true = applier.record, applier.said.delta, self.vcenters[host]
        observed = {one.id: one for one in self.cluster.objects.values() if one.host == host or one.id in delta.index}
        memory = Memory(
            settled_templates=record.settled_templates,
            settled_inputs=record.settled_inputs,
            declared=frozenset(record.declared),
            held=frozenset(record.held),
            hold=record.hold,
            approved=frozenset((one.id, one.uid) for one in record.approved),
            gone_since=true.gone_since if delta.provenance.zone.revision.sequence == true.zone else None,
            samples=record.samples,
        )
        return decide(observed, delta, memory, POLICY, self.orders[host], self.now)

    def _owned(self, host: str) -> int:
        return sum(one.host == host and not one.terminating for one in self.cluster.objects.values())

    # What must never happen

    def _ensure(self, holds: bool, what: str) -> None:
        if not holds:
            raise Violation(what)

    def _about_to_act(self, host: str, plan: Plan) -> None:
        """Words that something has overtaken are void from now on; then the budget is held against the truth."""
        said = self.appliers[host].said
        assert said is not None
        mine = {one.id: one for one in self.cluster.objects.values() if one.host == host and not one.terminating}
        deferred = {removal.id for removal in plan.deferred}
        lost = {one.instance for one in map(_Standing, mine.values()) if self._is_lost(one, said)}
        exist = {(one.id, one.uid) for one in mine.values()}
        self.words[host] = [
            word
            for word in self.words[host]
            if not ({each for each in lost - word if each[0] not in deferred})
            and all(each[0] not in said.delta.index and not self._unknown(mine[each[0]], said) for each in word & exist)
        ]
        hour = self.now - timedelta(hours=1)
        self.most[host] = [(at, owned) for at, owned in self.most[host] if at > hour] + [(self.now, len(mine))]
        going = {removal.instance for removal in plan.deletes} & lost
        if any(going <= word for word in self.words[host]):
            return
        clusters = {mine[object_id].unit for object_id, _ in going}
        most = max(owned for _, owned in self.most[host])
        of_clusters = {unit for unit in clusters if unit is not None and unit.cluster}
        self._ensure(
            len(of_clusters) <= 1 or len(going) <= POLICY.budget.share * most,
            f"{len(going)} of {most} objects would go because of the inventory, without a person's word",
        )

    def _is_lost(self, one: _Standing, said: Said) -> bool:
        """Whether an object is to go because its unit does, or its vCenter: nobody edited anything."""
        standing = one.object
        known = standing.template in said.delta.templates and standing.unit not in said.delta.units
        unwanted = standing.id not in said.delta.index and (known or not said.delta.present)
        claimed = standing.claim is not None and standing.claim.host != standing.host
        return unwanted and not claimed and not self._unknown(standing, said)

    def _unknown(self, one: Observed, said: Said) -> bool:
        return one.template is None or one.unit is None or (one.template, one.unit) in said.unknown

    def _entry_unknown(self, object_id: ObjectId, said: Said) -> bool:
        entry = said.delta.index[object_id]
        return (entry.template, entry.unit) in said.unknown

    def _witness(self, write: Write) -> None:
        try:
            self._check(write)
        except Violation as violation:
            self._violation = violation
            raise
        self._writes += 1
        if self.die_after is not None:
            self.die_after -= 1
            if self.die_after < 0:
                self._lost = True
                raise OwnershipLost("the process is gone")
        if self.fail_every and self._writes % self.fail_every == 0:
            raise TransientError("the server is busy")

    def _check(self, write: Write) -> None:
        said, orders, before = self.appliers[write.actor].said, self.orders[write.actor], write.before
        assert said is not None
        self._ensure(orders.policy is not PolicyName.OBSERVE, f"written while observing: {write}")
        self._ensure(not orders.suspended, f"written while the vCenter is suspended: {write}")
        suspended = set(said.delta.suspended)
        entry = said.delta.index.get(write.id)
        self._ensure(entry is None or entry.template not in suspended, f"of a suspended template: {write}")
        standing = (self.cluster.objects.get(object_id) for object_id in said.delta.index)
        waits = any(one is not None and one.adoptable for one in standing) and not orders.adopt
        self._ensure(not waits, f"written before a person let it adopt: {write}")
        if before is None:
            return
        if before.adoptable:
            self._ensure(write.action == "update", f"an object of the deployed operator: {write}")
            return
        self._ensure(before.host is not None, f"an object without our labels: {write}")
        self._ensure(not before.terminating, f"an object that is being deleted: {write}")
        self._ensure(write.action == "claim" or before.host == write.actor, f"another vCenter's object: {write}")
        self._ensure(before.template not in suspended, f"of a suspended template: {write}")
        if write.action == "claim":
            return
        self._ensure(not self._unknown(before, said), f"what is unknown is touched: {write}")
        if write.action != "delete":
            return
        self._ensure(orders.policy is not PolicyName.UPSERT_ONLY, f"deleted under upsert-only: {write}")
        self._ensure(write.id not in said.expected, f"what should exist is deleted: {write}")
        claimed = before.claim is not None and before.claim.host != before.host
        self._ensure(not claimed, f"what another vCenter claimed is deleted: {write}")
        if not said.delta.present:
            since = self.vcenters[write.actor].gone_since
            self._ensure(orders.when_gone is WhenGone.DELETE, f"an object of a vCenter that is gone: {write}")
            over = since is not None and self.now >= since + POLICY.gone_after
            self._ensure(over, f"before its time, or though DNS has it again: {write}")

    # The end

    def rest(self) -> None:
        """People let everything go on, what is under way is lost, and all is said until nothing changes any more.

        Then everything that was ever said arrives once more.
        """
        self.fail_every, self.die_after = 0, None
        for host in HOSTS:
            self.network[host] = []
            self.orders[host] = Orders(when_gone=self.orders[host].when_gone, adopt=True)
        for template in self.templates.values():
            template.suspended = False
        for one in [one for one in self.cluster.objects.values() if one.host is None and not one.adoptable]:
            self.cluster.remove(one.id)
        self.restart()
        for _ in range(8):
            self.cluster.finish()
            for host in HOSTS:
                self.state(host)
                self.deliver(host, 0)
                self.approve(host)
                self.look(host)
            self.now += timedelta(days=2)
        for host in HOSTS:
            for said in self.ever[host]:
                self._handle(host, said)

    def check_rest(self) -> None:
        """What is there follows from the last statements alone."""
        said = {host: self._said(host, self.position, self.templates) for host in HOSTS}
        wanted = {object_id for each in said.values() for object_id in each.expected}
        for object_id in wanted:
            self._ensure(object_id in self.cluster.objects, f"{object_id} is not there")
        for one in self.cluster.objects.values():
            if one.adoptable:
                by_whom = [host for host, each in said.items() if one.id in each.expected]
                unsure = any(self._entry_unknown(one.id, said[host]) for host in by_whom)
                self._ensure(unsure or not by_whom, f"{one} was not adopted by {by_whom}")
                continue
            assert one.host is not None
            own = said[one.host]
            entry = own.delta.index.get(one.id)
            if entry is not None:
                as_stated = (one.digest, one.template, one.unit) == (entry.digest, entry.template, entry.unit)
                self._ensure(as_stated or self._unknown(one, own), f"{one} is not as {entry}")
                continue
            if not own.delta.present and self.orders[one.host].when_gone is not WhenGone.DELETE:
                claimant = one.id in said[OTHER if one.host == HOST else HOST].expected
                self._ensure(not claimant, f"{one} was not handed over")
                continue
            contested = {
                (each.template, each.unit)
                for object_id, each in own.delta.index.items()
                if self.cluster.objects[object_id].host != one.host
            }
            left = self._unknown(one, own) or (one.template, one.unit) in contested
            self._ensure(left, f"{one} should not be there")


@dataclass(frozen=True)
class _Standing:
    object: Observed

    @property
    def instance(self) -> Instance:
        return self.object.id, self.object.uid


RUNNER = asyncio.Runner()
