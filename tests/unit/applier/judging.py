"""What must never happen: every write held against what was true when it was stated, and what people say now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.cluster import OURS, SimulatedCluster, Write
from tests.unit.applier.process import Records
from tests.unit.applier.truth import HOSTS, Said, TrueVCenter
from vcenter_operator.applier.core.decisions import Instance, Policy
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.common import labels
from vcenter_operator.common.identity import ObjectId, Unit
from vcenter_operator.common.record.orders import Orders, PolicyName, WhenGone

THEIRS = "theirs"
"""The label `app` of a stranger's object."""
_HOUR = timedelta(hours=1)


class Violation(AssertionError):
    """Something happened that must never happen."""


class Judge:
    """Sees every write before it happens."""

    def __init__(self, cluster: SimulatedCluster, store: Records, policy: Policy) -> None:
        self._cluster = cluster
        self._store = store
        self._policy = policy
        self.words: dict[str, list[frozenset[Instance]]] = {host: [] for host in HOSTS}
        """What people released, as they were shown it, until it is used or overtaken."""
        self._ledger: dict[str, list[tuple[datetime, int]]] = {host: [] for host in HOSTS}
        """Losses without a word (1 each), and what came instead (-1 each)."""
        self._most: dict[str, list[tuple[datetime, int]]] = {host: [] for host in HOSTS}
        self._losing: set[Unit] = set()
        """The clusters that went without a word in the present piece of work."""
        self._held: frozenset[ObjectId] = frozenset()
        """What the record showed as waiting for a person's word before the present piece of work."""
        self._planned = False
        self._acted_on: dict[str, tuple[Any, ...]] = {}
        """The newest of each part that anything was written by."""

    def begin(self, host: str) -> None:
        """A piece of work for a vCenter: a statement, or a look."""
        self._losing, self._planned = set(), False
        record = self._store.records.get(host)
        self._held = frozenset(record.applied.held if record and record.applied else ())

    def planned(self, host: str, said: Said, now: datetime) -> None:
        """Before the first write of a piece of work, or at its end: words that something has overtaken are void."""
        if self._planned:
            return
        self._planned = True
        mine = self._owned(host)
        self._most[host].append((now, len(mine)))
        lost = {(one.id, one.uid) for one in mine.values() if self._lost(one, said)}
        exist = {(one.id, one.uid) for one in mine.values()}

        def stands(word: frozenset[Instance]) -> bool:
            return not lost - word and all(
                object_id not in said.expected and not said.unknown_of(mine[object_id].template, mine[object_id].unit)
                for object_id, _ in word & exist
            )

        self.words[host] = [word for word in self.words[host] if stands(word)]

    def write(self, write: Write, said: Said, true: TrueVCenter, now: datetime) -> None:
        """One write. Raises Violation."""
        self.planned(write.actor, said, now)
        orders, before = self._store.orders(write.actor), write.before
        self._newest(write, said)
        self._allowed(write, said, orders)
        if write.action in ("create", "update"):
            _ensure(write.id in said.expected, f"nobody wants it: {write}")
            host = write.metadata["annotations"][labels.VCENTER]
            _ensure(host == write.actor, f"as {host}'s: {write}")
        if before is not None:
            self._of_whom(write, before, said)
        if write.action in ("delete", "hand over"):
            _ensure(write.id not in said.expected, f"what should exist goes: {write}")
        if write.action == "delete":
            assert before is not None
            self._delete(write, before, said, orders, true, now)
        elif before is None or before.host != write.actor:
            self._ledger[write.actor].append((now, -1))

    def _newest(self, write: Write, said: Said) -> None:
        made_from = said.delta.provenance
        parts = (made_from.zone.revision, made_from.inventory, made_from.templates, made_from.config)
        before = self._acted_on.get(write.actor, parts)
        older = any(part < newest for part, newest in zip(parts, before, strict=True))
        _ensure(not older, f"by what is older, in one part at least, than what was acted on: {write}")
        self._acted_on[write.actor] = parts

    def _allowed(self, write: Write, said: Said, orders: Orders) -> None:
        """By what people say."""
        _ensure(orders.policy is not PolicyName.OBSERVE, f"written while observing: {write}")
        _ensure(not orders.suspended, f"written while the vCenter is suspended: {write}")
        _ensure(said.expected.get(write.id) not in said.suspended, f"of a suspended template: {write}")
        standing = (self._cluster.objects.get(object_id) for object_id in said.expected)
        waits = any(one is not None and one.adoptable for one in standing) and not orders.adopt
        _ensure(not waits, f"written before a person let it adopt: {write}")

    def _of_whom(self, write: Write, before: Observed, said: Said) -> None:
        """By whose the object is, and what is known of it."""
        theirs = (self._cluster.metadata[before.id].get("labels") or {}).get("app") == THEIRS
        _ensure(not theirs, f"a stranger's object: {write}")
        if before.adoptable:
            _ensure(write.action == "update", f"an object of the deployed operator: {write}")
            return
        _ensure(before.host is not None, f"an object without our labels: {write}")
        _ensure(not before.terminating, f"an object that is being deleted: {write}")
        _ensure(write.action == "claim" or before.host == write.actor, f"another vCenter's object: {write}")
        _ensure(before.template not in said.suspended, f"of a suspended template: {write}")
        unknown = write.action != "claim" and said.unknown_of(before.template, before.unit)
        _ensure(not unknown, f"what is unknown is touched: {write}")

    def _delete(
        self, write: Write, before: Observed, said: Said, orders: Orders, true: TrueVCenter, now: datetime
    ) -> None:
        _ensure(orders.policy is not PolicyName.UPSERT_ONLY, f"deleted under upsert-only: {write}")
        claimed = before.claim is not None and before.claim.host != before.host
        _ensure(not claimed, f"what another vCenter claimed is deleted: {write}")
        replaced = [one for one, template in said.expected.items() if self._in_its_stead(before, one, template, said)]
        _ensure(not replaced, f"before what may replace it, {replaced}, is there: {write}")
        if not said.delta.present:
            _ensure(orders.when_gone is WhenGone.DELETE, f"an object of a vCenter that is gone: {write}")
            over = true.gone_since is not None and now >= true.gone_since + self._policy.gone_after
            _ensure(over, f"before its time, or though DNS has it again: {write}")
        if self._lost(before, said) and not any((before.id, before.uid) in word for word in self.words[write.actor]):
            self._loss(write.actor, before, now)

    def _loss(self, host: str, one: Observed, now: datetime) -> None:
        """The budget, held against all that went without a word within the hour."""
        assert one.unit is not None
        self._losing |= {one.unit} if one.unit.cluster else set()
        ledger = self._ledger[host] = [(at, count) for at, count in self._ledger[host] if now - at < _HOUR]
        ledger.append((now, 1))
        gone = 0
        for _, count in ledger:
            gone = max(0, gone + count)
        most = max(owned for at, owned in self._most[host] if now - at < _HOUR)
        most = max(most, len(self._owned(host)) + gone)
        within = self._policy.budget.allows(gone, most)
        _ensure(len(self._losing) <= 1 or one.id not in self._held, f"it was held, and goes without a word: {one}")
        _ensure(len(self._losing) <= 1 or within, f"{gone} of {most} objects go without a person's word: {one}")

    def _in_its_stead(self, before: Observed, object_id: ObjectId, template: str, said: Said) -> bool:
        """Whether an object is yielded instead of one, and does not stand as this vCenter's yet."""
        entry = said.delta.index[object_id]
        if (template, entry.unit) != (before.template, before.unit):
            return False
        standing = self._cluster.objects.get(object_id)
        return standing is None or standing.host != before.host or standing.terminating

    def _lost(self, one: Observed, said: Said) -> bool:
        claimed = one.claim is not None and one.claim.host != one.host
        return not claimed and said.lost(one.id, one.template, one.unit)

    def _owned(self, host: str) -> dict[ObjectId, Observed]:
        return {one.id: one for one in self._cluster.objects.values() if one.host == host and not one.terminating}

    # The end

    def rest(self, said: Mapping[str, Said]) -> None:
        """What is there follows from the last statements alone. Raises Violation."""
        for each in said.values():
            _ensure(each.expected.keys() == each.delta.index.keys(), f"not all that is expected is stated: {each}")
            for object_id in each.expected:
                _ensure(object_id in self._cluster.objects, f"{object_id} is not there")
        for one in self._cluster.objects.values():
            if one.adoptable:
                wanted = any(one.id in each.expected for each in said.values())
                _ensure(not wanted, f"{one} was not adopted")
            else:
                assert one.host is not None
                self._rests(one, said[one.host], next(each for host, each in said.items() if host != one.host))

    def _rests(self, one: Observed, own: Said, others: Said) -> None:
        """One of ours, by what its own vCenter states, and the other one."""
        entry = own.delta.index.get(one.id)
        unknown = own.unknown_of(one.template, one.unit)
        if entry is not None:
            stated = entry.digest, entry.template, entry.unit, OURS
            as_stated = (one.digest, one.template, one.unit, one.fields) == stated
            _ensure(as_stated or unknown, f"{one} is not as {entry}")
            return
        if not own.delta.present and self._store.orders(own.delta.host).when_gone is not WhenGone.DELETE:
            _ensure(one.id not in others.expected, f"{one} was not handed over")
            return
        contested = {
            (each.template, each.unit)
            for object_id, each in own.delta.index.items()
            if self._cluster.objects[object_id].host != one.host
        }
        _ensure(unknown or (one.template, one.unit) in contested, f"{one} should not be there")


def _ensure(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)
