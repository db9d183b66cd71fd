"""What the applier holds in memory about a vCenter: all of it can be had again, from cluster, record and bus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf

from vcenter_operator.applier.core.decisions import Memory, Plan, Refusal
from vcenter_operator.applier.core.drift import Drift
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.ports import Holdings, Place, place_of
from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import IndexEntry, ManifestDelta
from vcenter_operator.common.record.orders import Orders
from vcenter_operator.common.record.port import Applied, Record

LEFT = "left as it is"
_UNDONE = "was undone by others just now, and is put right in a moment"


@dataclass
class VCenterState:
    """One vCenter, from when its partition was taken until it is released."""

    host: str
    ownership: Ownership
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One piece of work at a time: a statement, or a look."""
    record: Record | None = None
    """The record as it was read or written last."""
    applied: Applied | None = None
    """Its section that is the applier's."""
    holdings: Holdings | None = None
    """What is owned; None: not looked yet."""
    others: dict[ObjectId, Observed] = field(default_factory=dict)
    """What else stands under ids of the index."""
    strangers: dict[ObjectId, Observed] = field(default_factory=dict)
    """Of `others`, those that only a look shows."""
    surveyed: bool = False
    """Whether what stands under the ids of an index was ever looked at."""
    drift: Drift = field(default_factory=Drift)
    edited: frozenset[ObjectId] = frozenset()
    """What others edited, and is to be put right, as of the last plan."""
    paused: dict[ObjectId, float] = field(default_factory=dict)
    """What others undid and is not put right yet, and when (monotonic) it is, as of the last plan."""
    heeded: str | None = None
    """The `reconcile` annotation for which what was refused is tried again and everything was looked at."""
    noticed: bool = False
    """Something of what it owns was changed by somebody else."""
    delta: ManifestDelta | None = None
    """The newest that was accepted, without manifests."""
    bodies: dict[ObjectId, tuple[str, bytes]] = field(default_factory=dict)
    """Digest and sealed manifest of what was stated, and is not applied yet."""
    refused: dict[ObjectId, tuple[Refusal, float]] = field(default_factory=dict)
    """What the server refused for good, and until when (monotonic) it is not tried again."""
    asked: dict[ObjectId, tuple[str, float]] = field(default_factory=dict)
    """Digest of the manifests that were asked for, and when (monotonic)."""
    look_at: float = 0.0
    """When (monotonic) everything owned is looked at again; 0: at once, it is not even known."""
    retry_at: float = inf
    """When (monotonic) it is planned again, because something was left to be done."""
    due_at: float = inf
    """When (monotonic) it is planned again, because time alone makes a difference then."""
    failures: int = 0
    """How often in a row such a look left something to be done."""
    checked: dict[ObjectId, tuple[str, str]] = field(default_factory=dict)
    """What waits for a rollout: see `rollouts.Checked`."""
    available_since: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By template of which this is the canary: since when (monotonic) the Deployments of this version are available."""
    tally: Mapping[str, int] = field(default_factory=dict)
    """How many objects were how, as of the last plan: see `outcome.tally`; empty: there was none."""
    unfinished: bool = False
    """Something was written for a statement of which something is left to do."""
    shown: frozenset[tuple[str, ObjectId, str]] = frozenset()
    """What of held, conflicts and unknown is in the log already."""

    def accept(self, delta: ManifestDelta) -> None:
        """Makes a delta the current one. Manifests that came earlier and still fit are kept."""
        bodies = self.bodies | {
            object_id: (delta.index[object_id].digest, sealed) for object_id, sealed in delta.manifests.items()
        }
        self.bodies = {
            object_id: body
            for object_id, body in bodies.items()
            if (entry := delta.index.get(object_id)) and entry.digest == body[0] and not self._has(object_id, entry)
        }
        self.delta = delta.model_copy(update={"manifests": {}})

    def _has(self, object_id: ObjectId, entry: IndexEntry) -> bool:
        """Whether it stands as it should, by its annotations: somebody may have edited one of them."""
        if object_id in self.edited:
            return False
        held = self.holdings.objects.get(object_id) if self.holdings else None
        return held is not None and (held.digest, held.template, held.unit) == (
            entry.digest,
            entry.template,
            entry.unit,
        )

    @property
    def owned(self) -> int:
        """How many objects it owns that are not going already."""
        objects = self.holdings.objects if self.holdings else {}
        return sum(not one.terminating for one in objects.values())

    @property
    def orders(self) -> Orders:
        """What people said, as far as it was read."""
        return self.record.orders if self.record else Orders()

    @property
    def gone_since(self) -> datetime | None:
        """Since when DNS lacks it by the record, if that has no other statement than the one that came down to here."""
        discovered = self.record.discovered if self.record else None
        if discovered is None or discovered.present or self.delta is None:
            return None
        return discovered.gone_since if discovered.revision == self.delta.provenance.zone.revision else None

    @property
    def to_answer(self) -> str | None:
        """What a person asked to be reconciled by, and was not answered yet."""
        asked = self.orders.reconcile
        return None if self.applied is not None and asked == self.applied.reconciled else asked

    def observed(self, monotonic: float) -> dict[ObjectId, Observed]:
        """All that is known to exist. What others edited is not what its digest says, and shows none."""
        objects = self.holdings.objects if self.holdings else {}
        self.edited, later = self.drift.edited(objects, monotonic)
        index = self.delta.index if self.delta else {}
        wanted = {one: (entry.digest, entry.template, entry.unit) for one, entry in index.items()}
        self.paused = self.drift.paused(objects, wanted, monotonic)
        _, over = self.drift.fights(monotonic)
        self.retry_at = min(self.retry_at, later, over, *self.paused.values())
        seen = {one: replace(objects[one], digest=None) for one in self.edited if one in index}
        return {**self.others, **objects, **seen}

    @property
    def places(self) -> set[Place]:
        """Kinds and namespaces of the index: where objects of ours may be besides those that the parent names."""
        return {place_of(object_id) for object_id in (self.delta.index if self.delta else ())}

    def memory(self, monotonic: float) -> Memory:
        """What the planner needs of all this."""
        self.refused = {object_id: entry for object_id, entry in self.refused.items() if entry[1] > monotonic}
        applied = self.applied
        return Memory(
            settled_templates=applied.settled_templates if applied else None,
            settled_inputs=applied.settled_inputs if applied else None,
            declared=frozenset(applied.declared if applied else ()),
            held=frozenset(applied.held if applied else ()),
            hold=applied.hold if applied else 0,
            approved=frozenset((one.id, one.uid) for one in applied.approved) if applied else frozenset(),
            gone_since=self.gone_since,
            samples=applied.samples if applied else (),
            refused={object_id: refusal for object_id, (refusal, _) in self.refused.items()}
            | self._put_off()
            | self._barred(),
            bodies=frozenset((object_id, digest) for object_id, (digest, _) in self.bodies.items()),
        )

    def _put_off(self) -> dict[ObjectId, Refusal]:
        index = self.delta.index if self.delta else {}
        return {one: Refusal(index[one].digest, _UNDONE) for one in self.paused if one in index}

    def _barred(self) -> dict[ObjectId, Refusal]:
        """What would stand where the account may not look."""
        barred = self.holdings.barred if self.holdings else {}
        if not barred or self.delta is None:
            return {}
        places = ((one, entry, barred.get(place_of(one))) for one, entry in self.delta.index.items())
        return {one: Refusal(entry.digest, why) for one, entry, why in places if why is not None}

    def hold(self, holdings: Holdings) -> None:
        """Takes over what is owned."""
        self.holdings = holdings
        recorded = self.applied.fields if self.applied else None
        self.drift.seen(holdings.objects, self.delta.index if self.delta else (), recorded)

    def own(self, changed: Iterable[Observed], gone: Iterable[Observed]) -> None:
        """Takes over what was written: objects as they are now, and those that are deleted or handed over."""
        assert self.holdings is not None
        objects = dict(self.holdings.objects)
        for one in gone:
            self.drift.ended(one.id)
            if one.lingers and one.claim is None:
                objects[one.id] = replace(one, terminating=True)
            else:
                objects.pop(one.id, None)
        for one in changed:
            objects[one.id] = one
            self.others.pop(one.id, None)
            self.bodies.pop(one.id, None)
        self.holdings = replace(self.holdings, objects=objects)

    def news(self, plan: Plan) -> list[tuple[str, ObjectId, str]]:
        """What of held, conflicts and unknown is to be told, since it was not so before."""
        now = frozenset(
            [("held", removal.id, removal.reason) for removal in plan.held]
            + [("conflict", left.id, left.reason) for left in plan.conflicts]
            + [(LEFT, left.id, left.reason) for left in plan.unknown]
        )
        news, self.shown = sorted(now - self.shown), now
        return news
