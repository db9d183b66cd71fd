"""From what was recorded and what was read now: which clusters are known, which unknown, and which are gone.

The rules are those of three values: nothing is gone without evidence, and a cluster of which anything could not be
read stays exactly as it was stated before. What was recorded in another vCenter instance (one that was set up anew
under the same name) cannot be judged here: its managed object ids mean something else, or nothing.

The managed object is what lasts: a cluster that was renamed, or moved to another datacenter, is known as what it is
now, and that is the evidence that nothing is left of what it was. One reading says both, and so one statement does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vcenter_operator.collector.core.conventions import (
    Convention,
    Name,
    availability_zone,
    bridge,
    datastore_hagroup_regex,
    datastore_regex,
    is_bridge,
    is_ephemeral,
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
    """Why clusters that are not recorded cannot be stated now either: name or datacenter unreadable."""

    @property
    def partial(self) -> str | None:
        """See `Inventory.partial`. They were never stated, unless the record was lost: then they may have objects."""
        if not self.unplaced:
            return None
        more = f"; and {len(self.unplaced) - 1} more" if len(self.unplaced) > 1 else ""
        return f"a cluster that is not recorded cannot be placed: {self.unplaced[0]}{more}"


def to_ask(recorded: Iterable[RecordedCluster], snapshot: Snapshot) -> list[Reference]:
    """What is missing from the snapshot and has to be asked directly, since missing from a list is not absent."""
    seen = {cluster.moid: cluster for cluster in snapshot.clusters}
    wanted: set[Reference] = set()
    for entry in recorded:
        if _elsewhere(entry, snapshot):
            continue
        if cluster := seen.get(entry.moid):
            wanted |= _vanished(cluster, [entry])
        else:
            wanted.add(cluster_reference(entry.moid))
    return sorted(wanted)


def conclude(
    convention: Convention,
    recorded: Sequence[RecordedCluster],
    snapshot: Snapshot,
    answers: Mapping[Reference, Answer],
) -> Conclusion:
    """Weighs the evidence. `answers` are those to `to_ask` of the same snapshot; one that lacks proves nothing."""
    weighing = _Weighing(convention, answers, snapshot.instance)
    for entry in recorded:
        if _elsewhere(entry, snapshot):
            weighing.foreign.append(entry)
        else:
            weighing.recorded[entry.moid].append(entry)
    for cluster in snapshot.clusters:
        weighing.seen(cluster)
    for moid in weighing.recorded.keys() - {cluster.moid for cluster in snapshot.clusters}:
        weighing.missing(moid)
    return weighing.conclusion()


class _Doubt(NamedTuple):
    """Why something stays as it is, and what: it is not empty."""

    reason: str
    entries: list[RecordedCluster]
    claims: frozenset[Unit]
    """Which of these units the managed object may be now. Another one that is read as one of them is a namesake."""


class _Weighing:
    """The work of `conclude` on one reading."""

    def __init__(self, convention: Convention, answers: Mapping[Reference, Answer], instance: str | None) -> None:
        self.recorded: defaultdict[str, list[RecordedCluster]] = defaultdict(list)
        self.foreign: list[RecordedCluster] = []
        self._instance = instance
        self._convention = convention
        self._answers = answers
        self._known: list[tuple[Cluster, RecordedCluster]] = []
        self._doubted: list[_Doubt] = []
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
            reason = f"{cluster.name}: its datacenter cannot be read: {cluster.datacenter.reason}"
            self._doubt(cluster.moid, reason, named=cluster.name)
            return
        identity = RecordedCluster(
            moid=cluster.moid,
            role=name.role,
            cluster_name=cluster.name,
            availability_zone=availability_zone(cluster.datacenter),
            instance=self._instance,
        )
        datastores, networks = _names(cluster.datastores), _names(cluster.networks)
        if isinstance(datastores, Unreadable):
            self._doubt(cluster.moid, f"datastores: {datastores.reason}", identity)
        elif isinstance(networks, Unreadable):
            self._doubt(cluster.moid, f"networks: {networks.reason}", identity)
        elif lost := self._lost(cluster):
            self._doubt(cluster.moid, lost, identity)
        else:
            self._know(cluster, name, identity, datastores, networks)

    def missing(self, moid: str) -> None:
        """A recorded cluster that the vCenter did not list."""
        answer = self._answers.get(cluster_reference(moid), Unreadable("it was not asked"))
        if answer is ABSENT or (isinstance(answer, str) and self._convention.name(answer) is None):
            self._gone += self.recorded[moid]
        elif isinstance(answer, str):
            self._doubt(moid, f"not listed any more, but it answers as {answer}", named=answer)
        else:
            self._doubt(moid, f"not listed any more, and it cannot be read: {answer.reason}")

    def conclusion(self) -> Conclusion:
        """The sum of it."""
        known = self._without_namesakes()
        for entry in self.foreign:
            if _unit(entry) not in known:
                reason = f"the vCenter was replaced, and this one does not have {entry.moid}"
                self._doubted.append(_Doubt(reason, [entry], frozenset()))
        unknown: dict[Unit, UnknownCluster] = {}
        kept: list[RecordedCluster] = []
        for doubt in sorted(self._doubted, key=lambda doubt: (doubt.entries[0].moid, doubt.reason)):
            # It stays as it was stated, and what it is called now is nobody else's: both are remembered.
            kept += doubt.entries
            for entry in doubt.entries:
                doubted = UnknownCluster(**entry.model_dump(exclude={"instance", "members"}), reason=doubt.reason)
                unknown.setdefault(doubted.unit, doubted)
        return Conclusion(
            clusters=tuple(known[unit][0] for unit in sorted(known)),
            unknown=tuple(unknown[unit] for unit in sorted(unknown.keys() - known.keys())),
            recorded=in_order([*(identity for _, identity in known.values()), *kept]),
            gone=in_order(self._gone),
            unplaced=tuple(sorted(self._unplaced)),
        )

    def _know(
        self, cluster: SeenCluster, name: Name, identity: RecordedCluster, datastores: list[str], networks: list[str]
    ) -> None:
        port_group, physical = bridge(networks)
        known = Cluster(
            moid=cluster.moid,
            role=name.role,
            cluster_name=identity.cluster_name,
            name=name.name,
            availability_zone=identity.availability_zone,
            datastore_regex=datastore_regex(datastores),
            datastore_hagroup_regex=datastore_hagroup_regex(datastores),
            bridge=port_group,
            physical=physical,
        )
        self._known.append((known, identity.model_copy(update={"members": _rests_on(cluster)})))

    def _doubt(
        self, moid: str, reason: str, identity: RecordedCluster | None = None, *, named: str | None = None
    ) -> None:
        """`identity`: what it is now; `named`: all that is known of that is its name."""
        entries = [*self.recorded[moid]]
        if identity is not None:
            claims = {_unit(identity)}
            if _unit(identity) not in {_unit(entry) for entry in entries}:
                entries.append(identity)
        else:
            claims = {_unit(entry) for entry in entries if named in (None, entry.cluster_name)}
        if entries:
            self._doubted.append(_Doubt(reason, entries, frozenset(claims)))
        else:
            self._unplaced.append(f"{moid}: {reason}")

    def _without_namesakes(self) -> dict[Unit, tuple[Cluster, RecordedCluster]]:
        """Clusters by unit. Two with one name in one availability zone cannot be told apart: both are unknown.

        So is one that has the name of another that cannot be read, and that may well have it still.
        """
        by_unit: defaultdict[Unit, list[tuple[Cluster, RecordedCluster]]] = defaultdict(list)
        for cluster, identity in self._known:
            by_unit[cluster.unit].append((cluster, identity))
        claimants = sorted(self._doubted, key=lambda doubt: doubt.entries[0].moid, reverse=True)
        claimed = {unit: doubt.entries[0].moid for doubt in claimants for unit in doubt.claims}
        for unit, namesakes in by_unit.items():
            moids = ", ".join(sorted(cluster.moid for cluster, _ in namesakes))
            for _, identity in namesakes:
                if len(namesakes) > 1:
                    self._doubt(identity.moid, f"several clusters have this name: {moids}", identity)
                elif unit in claimed:
                    reason = f"{claimed[unit]}, which cannot be read, has this name too, or had it"
                    self._doubt(identity.moid, reason, identity)
        return {unit: clusters[0] for unit, clusters in by_unit.items() if len(clusters) == 1 and unit not in claimed}

    def _lost(self, cluster: SeenCluster) -> str | None:
        """What its last statement rests on, and what is not listed now, and not known to be off the cluster."""
        off = {ref for ref, answer in self._answers.items() if not isinstance(answer, Unreadable)}
        hidden = sorted(_vanished(cluster, self.recorded[cluster.moid]) - off)
        if not hidden:
            return None
        answer = self._answers.get(hidden[0])
        reason = answer.reason if isinstance(answer, Unreadable) else "it was not asked"
        return f"{hidden[0]} is not listed any more, and it cannot be read: {reason}"


def in_order(recorded: Iterable[RecordedCluster]) -> tuple[RecordedCluster, ...]:
    """Without repetitions, in the order in which they are written."""
    unique = {
        (entry.moid, entry.role, entry.availability_zone, entry.cluster_name, entry.instance or ""): entry
        for entry in recorded
    }
    return tuple(unique[key] for key in sorted(unique))


def _vanished(cluster: SeenCluster, recorded: Iterable[RecordedCluster]) -> set[Reference]:
    """Recorded members that are not listed now; none as long as a list cannot be read at all."""
    if isinstance(cluster.datastores, Unreadable) or isinstance(cluster.networks, Unreadable):
        return set()
    listed = {member.reference for member in (*cluster.datastores, *cluster.networks)}
    return {Reference.parse(member) for entry in recorded for member in entry.members} - listed


def _rests_on(cluster: SeenCluster) -> tuple[str, ...]:
    """The members that decide what is stated: every ephemeral datastore, and the port group that is the bridge."""
    datastores = [ref for ref, name in _named(cluster.datastores) if is_ephemeral(name)]
    bridges = [ref for ref, name in _named(cluster.networks) if is_bridge(name)]
    return tuple(sorted(str(ref) for ref in datastores + bridges[:1]))


def _names(members: Members) -> list[str] | Unreadable:
    if isinstance(members, Unreadable):
        return members
    names = []
    for member in members:
        if isinstance(member.name, Unreadable):
            return Unreadable(f"{member.reference}: {member.name.reason}")
        names.append(member.name)
    return names


def _named(members: Members) -> list[tuple[Reference, str]]:
    listed = () if isinstance(members, Unreadable) else members
    return [(member.reference, member.name) for member in listed if isinstance(member.name, str)]


def _elsewhere(entry: RecordedCluster, snapshot: Snapshot) -> bool:
    """Whether it was recorded in another instance than the one that was read."""
    return None not in (entry.instance, snapshot.instance) and entry.instance != snapshot.instance


def _unit(entry: RecordedCluster) -> Unit:
    return Unit(entry.role.value, entry.availability_zone, entry.cluster_name)
