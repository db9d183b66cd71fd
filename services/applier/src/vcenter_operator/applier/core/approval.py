"""A person's word on what the deletion budget holds: for exactly that plan, and once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from vcenter_operator.applier.core.decisions import Instance, Plan
from vcenter_operator.common.record.orders import Orders
from vcenter_operator.common.record.port import Applied, ApprovedRemoval


def digest_of(hold: int, held: Collection[Instance]) -> str:
    """Names a held plan: 16 hex digits over the set of objects and uids, in any order.

    `hold` counts the sets that were held, so that a word that was given for one is none for the same set later on.
    """
    lines = [str(hold), *sorted(f"{object_id} {uid}" for object_id, uid in held)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def accepted(applied: Applied, plan: Plan, orders: Orders) -> Applied | None:
    """The section with what a person just released, to be stored before any of it goes; None: nothing was."""
    if not plan.held or orders.approve != plan.held_plan:
        return None
    released = sorted(removal.instance for removal in plan.held)
    return applied.model_copy(
        update={"approved": tuple(ApprovedRemoval(id=object_id, uid=uid) for object_id, uid in released)}
    )
