"""From what was recorded and what was read now: which clusters are known, which unknown, and which are gone.

The rules are those of three values: nothing is gone without evidence, and a cluster of which anything could not be
read stays exactly as it was stated before. What was recorded in another vCenter instance (one that was set up anew
under the same name) cannot be judged here: its managed object ids mean something else, or nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vcenter_operator.collector.core.conventions import (
    Convention,
    availability_zone,
    bridge,
    datastore_hagroup_regex,
    datastore_regex,
)
from vcenter_operator.collector.core.model import (
    ABSENT,
    Answer,
    Members,
    Reference,
    SeenCluster,
    Snapshot,
    Unreadable,
    cluster_reference,
)
from vcenter_operator.common.identity import Unit
from vcenter_operator.common.messages import Cluster, UnknownCluster
from vcenter_operator.common.record import RecordedCluster

Listed = Mapping[str, frozenset[Reference]]
"""The datastores and networks that each cluster (by moid) was known to list, for noticing what is listed no more."""


@dataclass(frozen=True)
class Conclusion:
    """What a reading comes to. Sequences are in a fixed order, so that equal content compares equal."""

    clusters: tuple[Cluster, ...] = ()
    unknown: tuple[UnknownCluster, ...] = ()
    recorded: tuple[RecordedCluster, ...] = ()
    """What has to be remembered once `clusters` and `unknown` are stated."""
    gone: tuple[RecordedCluster, ...] = ()
    """What was recorded and is proven gone."""
    unplaced: tuple[str, ...] = ()
    """Why clusters that were never stated cannot be stated now either: name or datacenter unreadable."""
    listed: Listed = field(default_factory=dict)
    """To be handed to the next reading."""


def to_ask(recorded: Iterable[RecordedCluster], snapshot: Snapshot, listed: Listed) -> list[Reference]:
    """What is missing from the snapshot and has to be asked directly, since missing from a list is not absent."""
    seen = {cluster.moid for cluster in snapshot.clusters}
    clusters = {
        cluster_reference(cluster.moid)
        for cluster in recorded
        if cluster.moid not in seen and not _elsewhere(cluster, snapshot)
    }
    return sorted(clusters | {ref for cluster in snapshot.clusters for ref in _vanished(cluster, listed)})


def conclude(
    convention: Convention,
    recorded: Sequence[RecordedCluster],
    snapshot: Snapshot,
    answers: Mapping[Reference, Answer],
    listed: Listed,
) -> Conclusion:
    """Weighs the evidence. `answers` are those to `to_ask` of the same snapshot; one that lacks proves nothing."""
    weighing = _Weighing(convention, answers, listed, snapshot.instance)
    for entry in recorded:
        if _elsewhere(entry, snapshot):
            weighing.foreign.append(entry)
        else:
            weighing.recorded[entry.moid].append(entry)
    for cluster in snapshot.clusters:
        weighing.seen(cluster)
    for moid in weighing.recorded.keys() - {cluster.moid for cluster in snapshot.clusters}:
        weighing.missing(moid)
    return weighing.conclusion(snapshot)


class _Weighing:
    """The work of `conclude` on one reading."""

    def __init__(
        self, convention: Convention, answers: Mapping[Reference, Answer], listed: Listed, instance: str | None
    ) -> None:
        self.recorded: defaultdict[str, list[RecordedCluster]] = defaultdict(list)
        self.foreign: list[RecordedCluster] = []
        self._instance = instance
        self._convention = convention
        self._answers = answers
        self._listed = listed
        self._known: list[Cluster] = []
        self._doubted: list[tuple[str, list[RecordedCluster]]] = []
        self._gone: list[RecordedCluster] = []
        self._unplaced: list[str] = []

    def seen(self, cluster: SeenCluster) -> None:
        """A cluster that the vCenter listed."""
        if isinstance(cluster.name, Unreadable):
            self._doubt(cluster.moid, f"its name cannot be read: {cluster.name.reason}")
            return
        name = self._convention.name(cluster.name)
        if name is None:
            self._gone += self.recorded[cluster.moid]
            return
        if isinstance(cluster.datacenter, Unreadable):
            self._doubt(cluster.moid, f"{cluster.name}: its datacenter cannot be read: {cluster.datacenter.reason}")
            return
        zone = availability_zone(cluster.datacenter)
        identity = RecordedCluster(
            moid=cluster.moid,
            role=name.role,
            cluster_name=cluster.name,
            availability_zone=zone,
            instance=self._instance,
        )
        datastores, networks = self._names(cluster.datastores), self._names(cluster.networks)
        if isinstance(datastores, Unreadable):
            self._doubt(cluster.moid, f"datastores: {datastores.reason}", identity)
        elif isinstance(networks, Unreadable):
            self._doubt(cluster.moid, f"networks: {networks.reason}", identity)
        elif lost := self._lost(cluster):
            self._doubt(cluster.moid, lost, identity)
        else:
            port_group, physical = bridge(networks)
            self._known.append(
                Cluster(
                    moid=cluster.moid,
                    role=name.role,
                    cluster_name=cluster.name,
                    name=name.name,
                    availability_zone=zone,
                    datastore_regex=datastore_regex(datastores),
                    datastore_hagroup_regex=datastore_hagroup_regex(datastores),
                    bridge=port_group,
                    physical=physical,
                )
            )

    def missing(self, moid: str) -> None:
        """A recorded cluster that the vCenter did not list."""
        answer = self._answers.get(cluster_reference(moid), Unreadable("it was not asked"))
        if answer is ABSENT or (isinstance(answer, str) and self._convention.name(answer) is None):
            self._gone += self.recorded[moid]
        elif isinstance(answer, str):
            self._doubt(moid, f"not listed any more, but it answers as {answer}")
        else:
            self._doubt(moid, f"not listed any more, and it cannot be read: {answer.reason}")

    def conclusion(self, snapshot: Snapshot) -> Conclusion:
        """The sum of it."""
        known = self._without_namesakes()
        for entry in self.foreign:
            if _unit(entry) not in known:
                self._doubted.append((f"the vCenter was replaced, and this one does not have {entry.moid}", [entry]))
        unknown: dict[Unit, UnknownCluster] = {}
        kept: list[RecordedCluster] = []
        for reason, entries in sorted(self._doubted, key=lambda doubt: (doubt[1][0].moid, doubt[0])):
            # A cluster stays as it was stated: under its recorded name, not one that it may have been given since.
            kept += entries if entries[0] in self.foreign else self.recorded[entries[0].moid] or entries
            for entry in entries:
                doubted = UnknownCluster(**entry.model_dump(exclude={"instance"}), reason=reason)
                unknown.setdefault(doubted.unit, doubted)
        return Conclusion(
            clusters=tuple(known[unit] for unit in sorted(known)),
            unknown=tuple(unknown[unit] for unit in sorted(unknown.keys() - known.keys())),
            recorded=in_order([*map(self._identity, known.values()), *kept]),
            gone=in_order(self._gone),
            unplaced=tuple(sorted(self._unplaced)),
            listed=self._remembered(snapshot),
        )

    def _doubt(self, moid: str, reason: str, identity: RecordedCluster | None = None) -> None:
        entries = [*self.recorded[moid]]
        if identity is not None and identity not in entries:
            entries.append(identity)
        if entries:
            self._doubted.append((reason, entries))
        else:
            self._unplaced.append(f"{moid}: {reason}")

    def _without_namesakes(self) -> dict[Unit, Cluster]:
        """Clusters by unit. Two with one name in one availability zone cannot be told apart: both are unknown."""
        by_unit: defaultdict[Unit, list[Cluster]] = defaultdict(list)
        for cluster in self._known:
            by_unit[cluster.unit].append(cluster)
        for namesakes in by_unit.values():
            if len(namesakes) > 1:
                moids = ", ".join(sorted(cluster.moid for cluster in namesakes))
                for cluster in namesakes:
                    self._doubt(cluster.moid, f"several clusters have this name: {moids}", self._identity(cluster))
        return {unit: clusters[0] for unit, clusters in by_unit.items() if len(clusters) == 1}

    def _identity(self, cluster: Cluster) -> RecordedCluster:
        return RecordedCluster(
            moid=cluster.moid,
            role=cluster.role,
            cluster_name=cluster.cluster_name,
            availability_zone=cluster.availability_zone,
            instance=self._instance,
        )

    def _names(self, members: Members) -> list[str] | Unreadable:
        if isinstance(members, Unreadable):
            return members
        names = []
        for member in members:
            if isinstance(member.name, Unreadable):
                return Unreadable(f"{member.reference}: {member.name.reason}")
            names.append(member.name)
        return names

    def _lost(self, cluster: SeenCluster) -> str | None:
        hidden = sorted(self._hidden(cluster))
        if not hidden:
            return None
        answer = self._answers.get(hidden[0])
        reason = answer.reason if isinstance(answer, Unreadable) else "it was not asked"
        return f"{hidden[0]} is not listed any more, and it cannot be read: {reason}"

    def _hidden(self, cluster: SeenCluster) -> frozenset[Reference]:
        """Members that the cluster listed before, that it does not list now, and that are not known to be off it."""
        off = {ref for ref, answer in self._answers.items() if not isinstance(answer, Unreadable)}
        return _vanished(cluster, self._listed) - off

    def _remembered(self, snapshot: Snapshot) -> Listed:
        kept = {moid: refs for moid, refs in self._listed.items() if moid not in {gone.moid for gone in self._gone}}
        for cluster in snapshot.clusters:
            unseen = self._hidden(cluster) if _complete(cluster) else kept.get(cluster.moid, frozenset())
            kept[cluster.moid] = _listing(cluster) | unseen
        return kept


def in_order(recorded: Iterable[RecordedCluster]) -> tuple[RecordedCluster, ...]:
    """Without repetitions, in the order in which they are written."""
    unique = {
        (entry.moid, entry.role, entry.availability_zone, entry.cluster_name, entry.instance or ""): entry
        for entry in recorded
    }
    return tuple(unique[key] for key in sorted(unique))


def _vanished(cluster: SeenCluster, listed: Listed) -> frozenset[Reference]:
    """Members that were listed before and are not now; none as long as a list cannot be read at all."""
    return listed.get(cluster.moid, frozenset()) - _listing(cluster) if _complete(cluster) else frozenset()


def _complete(cluster: SeenCluster) -> bool:
    return not isinstance(cluster.datastores, Unreadable) and not isinstance(cluster.networks, Unreadable)


def _listing(cluster: SeenCluster) -> frozenset[Reference]:
    lists = [members for members in (cluster.datastores, cluster.networks) if not isinstance(members, Unreadable)]
    return frozenset(member.reference for members in lists for member in members)


def _elsewhere(entry: RecordedCluster, snapshot: Snapshot) -> bool:
    """Whether it was recorded in another instance than the one that was read."""
    return None not in (entry.instance, snapshot.instance) and entry.instance != snapshot.instance


def _unit(entry: RecordedCluster) -> Unit:
    return Unit(entry.role.value, entry.availability_zone, entry.cluster_name)
