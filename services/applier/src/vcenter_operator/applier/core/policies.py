"""What of a plan is carried out: small functions over a Plan, applied after it is made.

They take out of the lists of what is to be done, and show what they took; none ever adds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from vcenter_operator.applier.core.decisions import Change, Item, Plan, Taking, Withheld, Withholding
from vcenter_operator.common.record.orders import PolicyName

_ACTIONS = ("creates", "updates", "claims", "handovers", "deletes")
_NOT_ADOPTED = "nothing is written until spec.adopt lets objects of the deployed operator be adopted"


def sync(plan: Plan) -> Plan:
    """All of it."""
    return plan


def upsert_only(plan: Plan) -> Plan:
    """All but deletes."""
    going = {removal.id for removal in plan.deletes}
    reason = "policy upsert-only: nothing is deleted"
    return _without(plan, Withheld.UPSERT_ONLY, lambda item: reason if item.id in going else None)


def observe(plan: Plan) -> Plan:
    """Nothing."""
    return _without(plan, Withheld.OBSERVING, lambda _: "policy observe: nothing is written")


def suspend(plan: Plan) -> Plan:
    """Nothing, since a person suspended the vCenter."""
    suspended = _without(plan, Withheld.SUSPENDED, lambda _: "the vCenter is suspended")
    return replace(suspended, suspended=True)


def suspend_templates(plan: Plan, templates: Collection[str]) -> Plan:
    """All but what concerns objects that one of these templates yields, or yielded."""
    suspended = _without(plan, Withheld.SUSPENDED, _concerning(templates, "is suspended"))
    return replace(suspended, suspended_templates=tuple(sorted(templates)))


def await_turn(plan: Plan, templates: Collection[str]) -> Plan:
    """All but what concerns objects of templates that are rolled out, and not here yet."""
    return _without(plan, Withheld.ROLLING_OUT, _concerning(templates, "is rolled out, and not here yet"))


def await_adoption(plan: Plan) -> Plan:
    """Nothing, since objects of the deployed operator are to be taken over, and no person has said so."""
    return _without(plan, Withheld.ADOPTING, lambda _: _NOT_ADOPTED)


POLICIES: dict[PolicyName, Callable[[Plan], Plan]] = {
    PolicyName.SYNC: sync,
    PolicyName.UPSERT_ONLY: upsert_only,
    PolicyName.OBSERVE: observe,
}


def stricter(one: PolicyName, other: PolicyName | None) -> PolicyName:
    """The one that does less."""
    return one if other is None else max(one, other, key=lambda policy: policy.strictness)


def _without(plan: Plan, by: Withheld, why: Callable[[Item], str | None]) -> Plan:
    """The plan without what there is a reason against. With a write goes every deletion that it might replace."""
    taken: list[Withholding] = []
    kept: dict[str, tuple[Item, ...]] = {}
    waiting: dict[tuple[str | None, object], str] = {}
    for action in _ACTIONS:
        left: list[Item] = []
        for item in getattr(plan, action):
            reason = why(item)
            if reason is None and action == "deletes":
                reason = waiting.get((item.template, item.unit))
            if reason is None:
                left.append(item)
                continue
            taken.append(Withholding(item, by, reason))
            if isinstance(item, Change):
                waiting[item.template, item.unit] = f"waits for what is yielded now: {reason}"
        kept[action] = tuple(left)
    return replace(plan, **kept, withheld=(*plan.withheld, *taken))  # type: ignore[arg-type]


def _concerning(templates: Collection[str], what: str) -> Callable[[Item], str | None]:
    def reason(item: Item) -> str | None:
        concerned = next((template for template in sorted(templates) if template in templates_of(item)), None)
        return f"template {concerned} {what}" if concerned else None

    return reason


def templates_of(item: Item) -> set[str | None]:
    """Those that yield an object, yielded it, or are to yield it when it is handed over."""
    stated = item.claim.template if isinstance(item, Taking) else item.template
    handed_to = item.current.claim.template if item.current is not None and item.current.claim is not None else None
    return {stated, handed_to, item.current.template if item.current is not None else None}
