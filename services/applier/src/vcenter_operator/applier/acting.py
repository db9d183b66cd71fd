"""Carrying out a plan: in order, a bounded number of objects at once, none stopping another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from vcenter_operator.applier.core.decisions import Change, Item, Plan, Removal, Taking
from vcenter_operator.applier.core.describe import describe_object
from vcenter_operator.applier.core.observed import GroupKind, Observed
from vcenter_operator.applier.core.order import phases, rank
from vcenter_operator.applier.core.outcome import Failure
from vcenter_operator.applier.metrics import Acted, acted
from vcenter_operator.applier.ports import Changed, Cluster, ClusterAway, Frozen, Guard, Holdings
from vcenter_operator.common import tracing
from vcenter_operator.common.errors import OwnershipLost, PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.telemetry import logger

log = logger(__name__)


_I = TypeVar("_I", bound=Item)


@dataclass
class Result:
    """What was done."""

    created: list[Observed] = field(default_factory=list)
    updated: list[Observed] = field(default_factory=list)
    deleted: list[Removal] = field(default_factory=list)
    handed_over: list[Removal] = field(default_factory=list)
    claimed: list[Taking] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    undone: list[ObjectId] = field(default_factory=list)
    """Not tried, or tried on something that had changed: to be planned again."""
    stopped: TransientError | None = None
    """Why nothing else was tried: the partition was lost, all is frozen, or the cluster is away."""
    holdings: Holdings | None = None
    """Those given, with what the ApplySet's parent names now."""

    def add(self, later: Result) -> None:
        """Takes over what was done in a later round; what is left is what that round left."""
        for name in ("created", "updated", "deleted", "handed_over", "claimed"):
            getattr(self, name).extend(getattr(later, name))
        self.failed = [failure for failure in self.failed if failure.permanent] + later.failed
        self.undone, self.stopped, self.holdings = later.undone, later.stopped, later.holdings


class Acting:
    """One plan being carried out. `manifest_of` opens the manifest of a change, complete with its annotations."""

    def __init__(
        self,
        cluster: Cluster,
        place: Callable[[], AbstractAsyncContextManager[None]],
        guard: Guard,
        manifest_of: Callable[[Change], dict[str, Any]],
    ) -> None:
        self._cluster = cluster
        self._place = place
        self._guard = guard
        self._manifest_of = manifest_of
        self._result = Result()

    async def carry_out(self, plan: Plan, holdings: Holdings) -> Result:
        """Everything in the plan: what is to be written, then claims and handovers, then deletes."""
        result = self._result
        writable = await self._widen(plan, holdings)
        writes = [change for change in (*plan.creates, *plan.updates) if writable or not change.joins]
        writes.sort(key=lambda change: (rank(change.id), change.id))
        for phase in phases(writes, lambda change: change.id):
            await self._each("write", phase, lambda change: self._write(plan.host, change))
        await self._each("claim", plan.claims if writable else (), self._claim)
        await self._each("hand over", plan.handovers, self._hand_over)
        for removals in phases(self._deletable(plan), lambda removal: removal.id):
            await self._each("delete", removals, self._delete)
        result.failed.sort(key=lambda failure: (rank(failure.id), failure.id))
        return result

    def _deletable(self, plan: Plan) -> list[Removal]:
        """Without those whose template, for the same unit, yields something now that could not be written."""
        unwritten = {failure.id for failure in self._result.failed} | set(self._result.undone)
        stuck = {(change.template, change.unit) for change in (*plan.creates, *plan.updates) if change.id in unwritten}
        return [removal for removal in plan.deletes if (removal.template, removal.unit) not in stuck]

    async def narrow(self, host: str, holdings: Holdings, kept: Sequence[ObjectId]) -> Holdings:
        """Makes the parent name no more than where members are, `kept` is going on, or nothing can be said."""
        ids = [*holdings.objects, *kept]
        kinds = frozenset(GroupKind.of(object_id) for object_id in ids) | holdings.unserved
        namespaces = _namespaces(ids)
        if holdings.unserved:
            namespaces |= holdings.namespaces
        return await self._contain(host, holdings, kinds, namespaces)

    async def _widen(self, plan: Plan, holdings: Holdings) -> bool:
        """Makes the parent name all that members are in or will be, before the first is written (KEP-3659)."""
        self._result.holdings = holdings
        if plan.empty:
            return True
        joining = [change.id for change in (*plan.creates, *plan.updates) if change.joins]
        new = joining + [taking.id for taking in plan.claims]
        ids = [*new, *holdings.objects]
        kinds = holdings.kinds | {GroupKind.of(object_id) for object_id in ids}
        try:
            namespaces = holdings.namespaces | _namespaces(ids)
            self._result.holdings = await self._contain(plan.host, holdings, kinds, namespaces)
        except (OwnershipLost, Frozen, ClusterAway) as error:
            self._result.stopped = error
        except (TransientError, PermanentError) as error:
            permanent = isinstance(error, PermanentError)
            self._result.failed += [Failure(object_id, None, str(error), permanent) for object_id in new]
            return False
        return True

    async def _contain(
        self, host: str, holdings: Holdings, kinds: frozenset[GroupKind], namespaces: frozenset[str]
    ) -> Holdings:
        if (kinds, namespaces) == (holdings.kinds, holdings.namespaces):
            return holdings
        async with self._place():
            await self._cluster.contain(host, kinds, namespaces, self._guard)
        return replace(holdings, kinds=kinds, namespaces=namespaces)

    async def _each(self, what: str, items: Sequence[_I], act: Callable[[_I], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(self._try(what, item, act))

    async def _try(self, what: str, item: _I, act: Callable[[_I], Awaitable[None]]) -> None:
        result = self._result
        async with self._place():
            if result.stopped is not None:
                result.undone.append(item.id)
                acted(item, Acted.STOPPED)
                return
            try:
                with tracing.step(f"{what} {item.id.kind}", object=describe_object(item.id)):
                    await act(item)
                acted(item, Acted.DONE)
            except (OwnershipLost, Frozen, ClusterAway) as error:
                result.stopped = error
                result.undone.append(item.id)
                acted(item, Acted.STOPPED)
            except Changed as error:
                log.info("changed meanwhile", object=describe_object(item.id), error=str(error))
                result.undone.append(item.id)
                acted(item, Acted.CHANGED)
            except (TransientError, PermanentError) as error:
                self._failed(item, str(error), permanent=isinstance(error, PermanentError))
            except Exception as error:
                log.exception("unexpected error", object=describe_object(item.id))
                self._failed(item, f"unexpected {type(error).__name__}", permanent=False)

    def _failed(self, item: Item, error: str, *, permanent: bool) -> None:
        template = getattr(item, "template", None)
        log.warning(
            "refused" if permanent else "failed", object=describe_object(item.id), template=template, error=error
        )
        self._result.failed.append(Failure(item.id, template, error, permanent))
        acted(item, Acted.REFUSED if permanent else Acted.FAILED)

    async def _write(self, host: str, change: Change) -> None:
        manifest = self._manifest_of(change)
        written = await self._cluster.apply(host, change.id, manifest, change.current, self._guard)
        (self._result.created if change.current is None else self._result.updated).append(written)
        done = "created" if change.current is None else "adopted" if change.adopts else "updated"
        self._done(done, host, change.id, change.template)

    async def _claim(self, taking: Taking) -> None:
        await self._cluster.claim(taking.current, taking.claim, self._guard)
        self._result.claimed.append(taking)
        self._done("claimed", taking.claim.host, taking.id, taking.claim.template, holder=taking.current.host)

    async def _hand_over(self, removal: Removal) -> None:
        claim = removal.current.claim
        assert claim is not None
        await self._cluster.hand_over(removal.current, self._guard)
        self._result.handed_over.append(removal)
        self._done("handed over", removal.current.host, removal.id, removal.template, to=claim.host)

    async def _delete(self, removal: Removal) -> None:
        await self._cluster.delete(removal.current, self._guard)
        self._result.deleted.append(removal)
        self._done("deleted", removal.current.host, removal.id, removal.template, reason=removal.reason)

    def _done(self, what: str, host: str | None, object_id: ObjectId, template: str | None, **more: Any) -> None:
        if self._cluster.dry_run:
            more["dry_run"] = True
        log.info(what, vcenter=host, object=describe_object(object_id), template=template, **more)


def _namespaces(ids: Iterable[ObjectId]) -> frozenset[str]:
    return frozenset(object_id.namespace for object_id in ids) - {""}
