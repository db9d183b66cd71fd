"""The whole decision about one vCenter: the plan, and what people said about carrying it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from vcenter_operator.applier.core.decisions import Memory, Plan, Policy
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.core.plan import plan
from vcenter_operator.applier.core.policies import (
    POLICIES,
    await_adoption,
    await_turn,
    stricter,
    suspend,
    suspend_templates,
)
from vcenter_operator.applier.core.rollouts import waiting
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta
from vcenter_operator.common.record.orders import Orders


def decide(
    observed: Mapping[ObjectId, Observed],
    delta: ManifestDelta,
    memory: Memory,
    policy: Policy,
    orders: Orders,
    now: datetime,
) -> Plan:
    """The plan as it is to be carried out. Of the region's policy and the vCenter's, the stricter one counts.

    As long as anything that is wanted is the deployed operator's, and nobody has said that it may be adopted, the
    vCenter is only observed: whatever else is to be done might be meant for objects that are still another's. What then
    waits for a rollout is what would be done otherwise.
    """
    name = stricter(policy.name, orders.policy)
    own = replace(policy, name=name, when_gone=orders.when_gone or policy.when_gone)
    made = replace(plan(observed, delta, memory, own, now), policy=name)
    if made.held and orders.approve not in (None, made.held_plan):
        made = replace(made, other_word=orders.approve)
    made = suspend_templates(made, delta.suspended)
    if orders.suspended:
        made = suspend(made)
    made = POLICIES[name](made)
    adopting = any((one := observed.get(object_id)) is not None and one.adoptable for object_id in delta.index)
    adopts = policy.adopt if orders.adopt is None else orders.adopt
    if adopting and not adopts:
        made = await_adoption(made)
    return await_turn(made, waiting(delta))
