"""What is so of vCenters, clusters and templates, and what the renderer's pure parts make of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from tests.unit.applier.given import HOST, KEYRING, OTHER, OWN
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
Pair = tuple[str, Unit]


NINE = tuple(f"productionbb{number:03}" for number in range(1, 10))


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
    """Name to what is in it: another version with every number, and nothing to render for with a negative one."""
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
    expected: Mapping[ObjectId, str]
    """What should exist, as far as that can be known, and the template that yields it."""
    would_be: frozenset[ObjectId]
    """What should exist if nothing had vanished from clusters that are there."""
    templates: frozenset[str]
    """Those that exist."""
    units: frozenset[Unit]
    """Of clusters that exist, read or not, and of their zones."""
    suspended: frozenset[str]
    """Templates."""

    def unknown_of(self, template: str | None, unit: Unit | None) -> bool:
        return template is None or unit is None or (template, unit) in self.unknown

    def lost(self, object_id: ObjectId, template: str | None, unit: Unit | None) -> bool:
        """Whether an object is to go because of its vCenter, its cluster or what is in it: nobody edited anything."""
        if object_id in self.expected or self.unknown_of(template, unit):
            return False
        if not self.delta.present or object_id in self.would_be:
            return True
        return template in self.templates and unit not in self.units


class Truth:
    """All that is so, and was so before the last edit of the templates: HOST has four clusters, OTHER one."""

    @classmethod
    def of_nine(cls) -> Self:
        """HOST has nine clusters, and an object in each: a loss of three is within the budget."""
        truth = cls()
        truth.templates["cinder"].exists = truth.templates["sidecar"].exists = False
        truth.vcenters[HOST].clusters = dict.fromkeys(NINE, 0)
        truth.vcenters[OTHER].clusters = {}
        return truth

    def __init__(self) -> None:
        self.inputs = 1
        self.position = 1
        self.templates = {name: TrueTemplate() for name in NAMES}
        self._former = self._templates_now()
        self.vcenters = {
            HOST: TrueVCenter(clusters=dict.fromkeys(CLUSTERS[:4], 0)),
            OTHER: TrueVCenter(clusters=dict.fromkeys(CLUSTERS[4:], 0)),
        }
        self._sealed: dict[tuple[str, ObjectId, str], bytes] = {}

    def _templates_now(self) -> tuple[int, dict[str, TrueTemplate]]:
        return self.position, {name: replace(template) for name, template in self.templates.items()}

    def edited(self) -> None:
        """The templates are about to change: what they are now is what a renderer that is behind has."""
        self._former = self._templates_now()
        self.position += 1

    def said(self, host: str, *, behind: bool = False, bodies: Collection[ObjectId] | None = None) -> Said:
        """What collector and renderer say; `behind`: with templates from before. `bodies`: the manifests; None: all."""
        position, templates = self._former if behind else (self.position, self.templates)
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
            if true.present
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
            index=index,
            unknown=merged.unknown if true.present else (),
            manifests={
                object_id: self._sealed[host, object_id, entry.digest]
                for object_id, entry in index.items()
                if bodies is None or object_id in bodies
            },
            suspended=tuple(f"{OWN}/{name}" for name, each in self.templates.items() if each.exists and each.suspended),
        )
        return Said(
            delta,
            unknown=frozenset(self._truly_unknown(host, templates)) if true.present else frozenset(),
            expected=dict(self._truly_expected(host, templates)),
            would_be=frozenset(object_id for object_id, _ in self._truly_expected(host, templates, emptied=True)),
            templates=frozenset(f"{OWN}/{name}" for name, each in templates.items() if each.exists),
            units=frozenset(
                each for name in true.clusters for each in (unit_of(name), Unit("datacenter", az_of(name)))
            ),
            suspended=frozenset(delta.suspended),
        )

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
        if content < 0:
            return Yield(template, unit, ())
        digest = f"{host} {true.shape} {content} {self.inputs}"
        objects = []
        for object_id in true.yields(template.name, what):
            if (host, object_id, digest) not in self._sealed:
                stated = {"metadata": {"name": object_id.name, "namespace": OWN}}
                manifest = as_member(stated, template=template, unit=unit, host=host, own_namespace=OWN)
                self._sealed[host, object_id, digest] = KEYRING.seal(host, object_id, digest, manifest)
            objects.append((object_id, digest))
        return Yield(template, unit, tuple(objects))

    # By the truth itself, and by nothing that the renderer says

    def _truly_unknown(self, host: str, templates: dict[str, TrueTemplate]) -> Iterator[Pair]:
        """Unreadable clusters, zones of which only such are left, templates that fail."""
        true = self.vcenters[host]
        units = {unit_of(name) for name in true.clusters}
        zones = {unit.availability_zone for unit in units}
        unread = {unit_of(name) for name in true.clusters if name in true.unreadable}
        read_zones = {unit.availability_zone for unit in units - unread}
        unread |= {Unit("datacenter", zone) for zone in zones - read_zones}
        everywhere = {unit_of(name) for name in NINE} | {Unit("datacenter", zone) for zone in ZONES}
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

    def _truly_expected(
        self, host: str, templates: dict[str, TrueTemplate], *, emptied: bool = False
    ) -> Iterator[tuple[ObjectId, str]]:
        """What templates that work yield for clusters that can be read, and for their zones.

        `emptied`: also for clusters with nothing in them.
        """
        true = self.vcenters[host]
        read = [name for name in true.clusters if name not in true.unreadable] if true.present else []
        for name, template in templates.items():
            if template.exists and not template.unusable:
                for what in read if SCOPES[name] == "cluster" else {az_of(each) for each in read}:
                    if what not in template.failing and (emptied or true.clusters.get(what, 0) >= 0):
                        yield from ((object_id, f"{OWN}/{name}") for object_id in template.yields(name, what))
