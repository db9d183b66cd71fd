"""The decisions about one vCenter's objects, and what they are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from vcenter_operator.applier.core.budget import Budget
from vcenter_operator.applier.core.observed import Claim, Observed
from vcenter_operator.common.identity import ObjectId, Unit
from vcenter_operator.common.record.orders import PolicyName, WhenGone
from vcenter_operator.common.record.port import OwnedSample

Instance = tuple[ObjectId, str]
"""One object as it exists: its id and uid."""


@dataclass(frozen=True)
class Policy:
    """What may be decided without asking."""

    name: PolicyName = PolicyName.SYNC
    when_gone: WhenGone = WhenGone.RETAIN
    gone_after: timedelta = timedelta(days=7)
    """The time of grace before a gone vCenter's objects are deleted."""
    budget: Budget = field(default_factory=Budget)
    cluster_scoped: frozenset[str] = frozenset()
    """Cluster-scoped kinds that may be written: `Kind`, or `group/Kind`."""
    adopt: bool = False
    """Whether objects of the deployed operator may be taken over."""


@dataclass(frozen=True)
class Refusal:
    """The server refused an object for good: not tried again with the same digest."""

    digest: str
    reason: str


@dataclass(frozen=True)
class Memory:
    """What was done before, for one vCenter."""

    settled_templates: Mapping[str, int] | None = None
    """`ManifestDelta.templates` of the last delta that was planned and acted on; None: never yet."""
    settled_inputs: str | None = None
    """`ManifestDelta.inputs` of that delta."""
    declared: frozenset[ObjectId] = frozenset()
    """What an edit before that asked to go, and has not gone yet."""
    held: frozenset[ObjectId] = frozenset()
    hold: int = 0
    """The number of the set that is held, or was held last."""
    approved: frozenset[Instance] = frozenset()
    """What a person released."""
    gone_since: datetime | None = None
    """Since when DNS lacks the vCenter, if the record says so of the very statement that the delta was made from."""
    samples: tuple[OwnedSample, ...] = ()
    refused: Mapping[ObjectId, Refusal] = field(default_factory=dict)
    bodies: frozenset[tuple[ObjectId, str]] = frozenset()
    """Object and digest of the manifests that are at hand beside those in the delta."""


@dataclass(frozen=True)
class Change:
    """An object to create, or to update from `current`."""

    id: ObjectId
    template: str
    unit: Unit
    digest: str
    current: Observed | None = None

    @property
    def adopts(self) -> bool:
        """Whether it takes an object over from the deployed operator."""
        return self.current is not None and self.current.host is None

    @property
    def joins(self) -> bool:
        """Whether the object comes into the ApplySet by it."""
        return self.current is None or self.adopts


@dataclass(frozen=True)
class Removal:
    """An object of ours that should not exist here any more."""

    id: ObjectId
    template: str | None
    unit: Unit | None
    reason: str
    inferred: bool
    """From DNS or inventory, so that the deletion budget counts it."""
    current: Observed
    approved: bool = False
    """A person released it, and the budget does not count it."""

    @property
    def counted(self) -> bool:
        """Whether the deletion budget remembers it."""
        return self.inferred and not self.approved

    @property
    def instance(self) -> Instance:
        """Exactly what would go."""
        return self.id, self.current.uid


@dataclass(frozen=True)
class Taking:
    """An object of another vCenter that is claimed."""

    id: ObjectId
    claim: Claim
    current: Observed


Item = Change | Removal | Taking
ACTIONS = ("create", "update", "adopt", "claim", "hand over", "delete")


def action_of(item: Item) -> str:
    """What is to be done to an object: one of `ACTIONS`."""
    match item:
        case Change(current=None):
            return "create"
        case Change(adopts=True):
            return "adopt"
        case Change():
            return "update"
        case Taking():
            return "claim"
        case Removal(current=Observed(host=host, claim=Claim(host=other))) if other != host:
            return "hand over"
    return "delete"


class Withheld(StrEnum):
    """On whose word something is not carried out; the reason of a condition."""

    OBSERVING = "Observing"
    UPSERT_ONLY = "UpsertOnly"
    SUSPENDED = "Suspended"
    ADOPTING = "Adopting"
    ROLLING_OUT = "RollingOut"


@dataclass(frozen=True)
class Withholding:
    """Something of a plan that a policy or a suspension takes out: it would be done, and is not."""

    item: Item
    by: Withheld
    reason: str

    @property
    def id(self) -> ObjectId:
        """The object."""
        return self.item.id

    @property
    def template(self) -> str | None:
        """The template that yields it, or did."""
        return self.item.claim.template if isinstance(self.item, Taking) else self.item.template

    @property
    def action(self) -> str:
        """What would be done."""
        return action_of(self.item)


@dataclass(frozen=True)
class Left:
    """An object that is not touched, and why."""

    id: ObjectId
    template: str | None
    reason: str


@dataclass(frozen=True)
class Plan:
    """Every decision about one vCenter's objects. Each list is in the order of action."""

    host: str
    present: bool = True
    """False: the vCenter is gone from DNS."""
    retained_until: datetime | None = None
    """When a gone vCenter's objects are deleted that are retained until then; None: never, or that time has come."""
    retaining: bool = False
    """Whether a gone vCenter's objects are all retained, at least for now."""
    unchanged: int = 0
    """How many are as they should be."""
    creates: tuple[Change, ...] = ()
    updates: tuple[Change, ...] = ()
    """What is taken over from the deployed operator is among them."""
    deletes: tuple[Removal, ...] = ()
    handovers: tuple[Removal, ...] = ()
    """To go, but another vCenter claimed them: they become its own."""
    claims: tuple[Taking, ...] = ()
    """Of `conflicts`: another vCenter's, not claimed by this one yet."""
    held: tuple[Removal, ...] = ()
    """To go, but beyond the deletion budget."""
    hold: int = 0
    """The number of this set of held objects."""
    held_plan: str | None = None
    """The digest of what is held: a person who repeats it releases exactly that."""
    other_word: str | None = None
    """A person's approval that is for another plan than the one that is held."""
    approved: frozenset[Instance] = frozenset()
    """Of what a person released: what is still to go."""
    withheld: tuple[Withholding, ...] = ()
    """Taken out of the lists above by a policy or a suspension."""
    policy: PolicyName = PolicyName.SYNC
    """The policy that it was made under."""
    suspended: bool = False
    """Whether the vCenter is suspended."""
    suspended_templates: tuple[str, ...] = ()
    deferred: tuple[Removal, ...] = ()
    """To go, but what their template yields for their unit now cannot be written yet: one might replace the other."""
    conflicts: tuple[Left, ...] = ()
    """Not ours to write: they exist and are somebody else's, or are of a kind that is not allowed."""
    contested: tuple[Left, ...] = ()
    """Of `conflicts`: another vCenter's, so that they will be handed over."""
    unknown: tuple[Left, ...] = ()
    lacking: tuple[Left, ...] = ()
    """In the index, but the manifest is not at hand: to be asked for."""
    waiting: tuple[Left, ...] = ()
    """Being deleted just now: planned again when they are gone."""
    refused: tuple[Left, ...] = ()
    """Refused by the server before, with this very digest."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.creates or self.updates or self.deletes or self.handovers or self.claims)

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to write, to ask or to wait for."""
        return self.empty and not (self.lacking or self.waiting or self.contested)
