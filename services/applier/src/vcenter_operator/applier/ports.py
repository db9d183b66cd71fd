"""The applier's edges: the cluster that it writes to, and the freeze that stops it.

Every write takes a guard, and calls it right before the write leaves: it raises what forbids it by then (the partition
was lost, everything was frozen). Writes concern an object as it was observed, and raise `Changed` when it no longer is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from vcenter_operator.applier.core.decisions import Plan
from vcenter_operator.applier.core.observed import Claim, GroupKind, Observed
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.identity import ObjectId

Guard = Callable[[], None]
OnPlan = Callable[[str, Plan, Outcome], None]
"""Told about every plan, and what came of it: vCenter, plan, outcome. It must not raise."""
OnAnswer = Callable[[ObjectId, Mapping[str, Any]], None]
"""Told, in a dry run, what an object would be if it were written: all of it. It must not raise."""
Place = tuple[GroupKind, str]
"""A kind in a namespace (empty: cluster-scoped)."""


def place_of(object_id: ObjectId) -> Place:
    """Where an object is."""
    return GroupKind.of(object_id), object_id.namespace


class Changed(TransientError):
    """The object is not what was observed any more, or an id is taken that was free: look again, plan again."""


class ClusterAway(TransientError):
    """The cluster does not answer at all: nothing else needs to be tried just now."""


class Frozen(TransientError):
    """Somebody froze all writing."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"frozen: {reason}", retry_after=2.0)
        self.reason = reason


@dataclass(frozen=True)
class Holdings:
    """What a vCenter owns, and where it is looked for."""

    objects: Mapping[ObjectId, Observed] = field(default_factory=dict)
    kinds: frozenset[GroupKind] = frozenset()
    """The group-kinds that the ApplySet's parent names."""
    namespaces: frozenset[str] = frozenset()
    """The namespaces that the parent names."""
    unserved: frozenset[GroupKind] = frozenset()
    """Of `kinds`: those that the server does not know just now, so that nothing can be said of their objects."""
    barred: Mapping[Place, str] = field(default_factory=dict)
    """Where the account may not look, and what the server says to that. No member ever was there."""


@dataclass(frozen=True)
class Known:
    """What is known without asking. It may be a moment behind: then a write finds that the object has `Changed`."""

    holdings: Holdings
    others: Mapping[ObjectId, Observed] = field(default_factory=dict)
    """What else stands under ids that were asked for, as far as it can be known."""


class Cluster(Protocol):
    """The cluster. Every method may raise TransientError, and writes PermanentError, as their words say."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing is changed by the writes."""
        ...

    def listen(self, noticed: Callable[[str], None]) -> None:
        """Calls back with a vCenter whenever somebody else changed what it owns, where that is noticed at all."""
        ...

    def known(self, host: str, places: Collection[Place], ids: Collection[ObjectId]) -> Known | None:
        """Everything in the vCenter's ApplySet as far as that is known at once; None: it has to be looked at.

        `ids` should be there. PermanentError: the set is another tool's.
        """
        ...

    async def owned(self, host: str, places: Collection[Place], *, afresh: bool = True) -> Holdings:
        """Everything in the vCenter's ApplySet, complete; as it is now, if `afresh`.

        Looked for in what the parent names and in `places` besides. PermanentError: the set is another tool's.
        """
        ...

    def forget(self, host: str) -> None:
        """A vCenter is not worked for any more."""
        ...

    async def occupants(self, host: str, ids: Collection[ObjectId], *, afresh: bool = True) -> dict[ObjectId, Observed]:
        """Which of these ids are taken, and by what; not `afresh`: without what `known` tells besides."""
        ...

    async def apply(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> Observed:
        """Makes the object be as the manifest says; `current` None: it does not exist.

        What cannot be patched is replaced, never deleted and created. PermanentError: the server does not take it.
        """
        ...

    async def check(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> None:
        """What `apply` would raise, without anything being written."""
        ...

    async def deployments(self, host: str, namespaces: Collection[str]) -> dict[ObjectId, Mapping[str, Any]]:
        """The vCenter's Deployments in these namespaces, whole, as they are now."""
        ...

    async def delete(self, current: Observed, guard: Guard) -> None:
        """Deletes exactly this object. That it is gone already is fine."""
        ...

    async def claim(self, current: Observed, claim: Claim, guard: Guard) -> None:
        """Notes on another vCenter's object that it is wanted."""
        ...

    async def hand_over(self, current: Observed, guard: Guard) -> None:
        """Moves the object into the ApplySet of the vCenter that claimed it.

        Its digest goes: who takes it over has to write it, since nothing tells them what others edited before.
        """
        ...

    async def contain(self, host: str, kinds: Collection[GroupKind], namespaces: Collection[str], guard: Guard) -> None:
        """Makes the ApplySet's parent name exactly these group-kinds and namespaces."""
        ...


class Freeze(Protocol):
    """The switch that stops every write within a second."""

    async def look(self) -> None:
        """Reads it afresh. Raises TransientError."""
        ...

    def attended(self) -> AbstractAsyncContextManager[None]:
        """While entered it is looked at again and again, whatever notices come: for writing that takes long."""
        ...

    def check(self) -> None:
        """Raises Frozen, or TransientError while it is not known (ClusterAway: not any more)."""
        ...
