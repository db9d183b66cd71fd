"""What keeps each invariant: with it taken out, the shortest history that needs it breaks the invariant.

Without that nobody knows whether `test_histories` could fail at all. Where two protections stand behind one another,
each has a history of its own, or both are taken out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from tests.fakes.cluster import SimulatedCluster
from tests.unit.applier import scenes
from tests.unit.applier.given import HOST, NOW
from tests.unit.applier.judging import Violation
from vcenter_operator.applier import reconciling
from vcenter_operator.applier.acting import Acting
from vcenter_operator.applier.carrying import Carrying
from vcenter_operator.applier.core import approval, budget, deciding, observed, policies, settling
from vcenter_operator.applier.core import plan as planning
from vcenter_operator.applier.core.decisions import Memory, Plan
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.core.plan import _Sorting
from vcenter_operator.applier.ports import Guard
from vcenter_operator.applier.reconciling import Reconciler
from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common import labels
from vcenter_operator.common.messages import Provenance
from vcenter_operator.common.record.orders import PolicyName, WhenGone
from vcenter_operator.common.record.overlay import Overlay

MonkeyPatch = pytest.MonkeyPatch
Patch = Callable[[MonkeyPatch], None]


# Protections, and how each is taken out


def attribute(owner: Any, name: str, value: Any) -> Patch:
    return lambda patch: patch.setattr(owner, name, value)


def wanted_whatever(**fields: Any) -> Patch:
    """An object that should exist is seen otherwise than it is."""
    wanted = _Sorting.wanted
    return attribute(
        _Sorting, "wanted", lambda self, of, entry, one: wanted(self, of, entry, one and replace(one, **fields))
    )


def unwanted_whatever(**fields: Any) -> Patch:
    """An object that should not exist is seen otherwise than it is."""
    unwanted = _Sorting.unwanted
    return attribute(_Sorting, "unwanted", lambda self, of, one: unwanted(self, of, replace(one, **fields)))


def others_whatever(**fields: Any) -> Patch:
    others = _Sorting._others
    return attribute(_Sorting, "_others", lambda self, of, entry, one: others(self, of, entry, replace(one, **fields)))


def taken_at_once() -> Patch:
    return attribute(_Sorting, "_others", lambda self, of, entry, one: self._write(of, entry, one))


def nothing_sticks() -> Patch:
    return attribute(
        _Sorting, "_stick", lambda self, where, of, entry, reason: self._leave(where, of, entry.template, reason)
    )


def gone_whatever(**fields: Any) -> Patch:
    gone = planning._gone

    def anyway(owned: Any, delta: Any, memory: Memory, policy: Any, now: datetime) -> Plan:
        return gone(owned, delta, memory, replace(policy, **fields), now)

    return attribute(planning, "_gone", anyway)


def budget_whatever(**arguments: Any) -> Patch:
    return attribute(planning, "exceeded", lambda *args, **more: budget.exceeded(*args, **{**more, **arguments}))


def any_uid() -> Patch:
    done = _Sorting.done

    def anyway(self: _Sorting, owned: Any, now: datetime) -> Plan:
        ids = {object_id for object_id, _ in self._memory.approved}
        approved = frozenset((one.id, one.uid) for one in owned if one.id in ids)
        self._memory = replace(self._memory, approved=approved)
        return done(self, owned, now)

    return attribute(_Sorting, "done", anyway)


def any_word() -> Patch:
    def anyway(section: Any, made: Plan, orders: Any) -> Any:
        meant = made.held_plan if orders.approve else None
        return approval.accepted(section, made, orders.model_copy(update={"approve": meant}))

    return attribute(reconciling, "accepted", anyway)


def settled_in_full_only() -> Patch:
    settled = settling._settled

    def anyway(section: Any, delta: Any, made: Plan, outcome: Any) -> dict[str, object]:
        return {} if outcome.failed or made.refused else settled(section, delta, made, outcome)

    return attribute(settling, "_settled", anyway)


def unprepared() -> Patch:
    async def anyway(self: Reconciler, state: VCenterState, intended: Plan) -> None:
        """Nothing is stored, and nothing is read again."""

    return attribute(Reconciler, "_prepare", anyway)


def overlay_writes_through() -> Patch:
    async def anyway(self: Overlay, host: str, section: Any, **_: Any) -> Any:
        assert self._base is not None
        return await self._base.write(host, section)

    return attribute(Overlay, "write", anyway)


def no_digest() -> Patch:
    whole = Carrying._manifest

    def anyway(*args: Any) -> dict[str, Any]:
        made = whole(*args)
        del made["metadata"]["annotations"][labels.DIGEST]
        return made

    return attribute(Carrying, "_manifest", anyway)


def digest_handed_over() -> Patch:
    hand_over = SimulatedCluster.hand_over

    async def anyway(self: SimulatedCluster, current: Observed, guard: Guard) -> None:
        await hand_over(self, current, guard)
        annotations = {**self.metadata[current.id]["annotations"], labels.DIGEST: current.digest}
        self.put(current.id, {**self.metadata[current.id], "annotations": annotations}, fields=current.fields)

    return attribute(SimulatedCluster, "hand_over", anyway)


@dataclass(frozen=True)
class Protection:
    """`history` breaks the invariant that the words of the violation name, when it is taken out."""

    name: str
    taken_out: Patch
    history: Callable[[], None]
    violated: str


PROTECTIONS = [
    Protection(
        "what is unknown is not deleted",
        attribute(_Sorting, "_unknown", lambda *_: None),
        scenes.a_cluster_cannot_be_read,
        "what is unknown is touched",
    ),
    Protection(
        "what is unknown is not updated",
        attribute(_Sorting, "_unknown", lambda *_: None),
        scenes.what_is_unknown_is_yielded_otherwise,
        "what is unknown is touched",
    ),
    Protection(
        "what is gone is retained",
        gone_whatever(when_gone=WhenGone.DELETE),
        scenes.a_vcenter_is_gone,
        "of a vCenter that is gone",
    ),
    Protection(
        "what is gone has a time of grace",
        gone_whatever(gone_after=timedelta(0)),
        scenes.a_vcenter_is_given_up,
        "before its time",
    ),
    Protection(
        "the record says since when DNS lacks it",
        attribute(VCenterState, "gone_since", property(lambda _: NOW)),
        scenes.a_vcenter_comes_back_unread,
        "DNS has it again",
    ),
    Protection(
        "the record is read again before anything goes",
        unprepared(),
        scenes.a_vcenter_comes_back_unnoticed,
        "DNS has it again",
    ),
    Protection(
        "orders are read again before anything is written",
        unprepared(),
        scenes.an_order_is_unnoticed,
        "while observing",
    ),
    Protection(
        "the budget", attribute(planning, "exceeded", lambda *_, **__: None), scenes.all_is_lost, "a person's word"
    ),
    Protection("the budget's hour", budget_whatever(samples=()), scenes.a_series_of_losses, "without a person's word"),
    Protection(
        "samples are remembered",
        attribute(settling, "remembered", lambda *_, **__: ()),
        scenes.a_series_of_losses,
        "without a person's word",
    ),
    Protection(
        "losses are noted before they are made",
        attribute(reconciling, "foreseen", lambda section, *_, **__: section),
        scenes.a_series_of_losses_and_a_death,
        "without a person's word",
    ),
    Protection(
        "what was held waits for a word",
        budget_whatever(held_before=False),
        scenes.more_is_created_beside_what_is_held,
        "it was held",
    ),
    Protection(
        "a word is for one hold",
        attribute(planning, "digest_of", lambda _, held: approval.digest_of(0, held)),
        scenes.a_word_is_late,
        "a person's word|without a word",
    ),
    Protection("a word is for one plan", any_word(), scenes.a_wrong_word, "a person's word|without a word"),
    Protection(
        "a word is for one object", any_uid(), scenes.a_word_for_what_is_made_anew, "a person's word|without a word"
    ),
    Protection(
        "what terminates is not deleted",
        unwanted_whatever(terminating=False),
        scenes.what_lingers_is_looked_at_again,
        "is being deleted",
    ),
    Protection(
        "what terminates is not patched",
        wanted_whatever(terminating=False),
        scenes.what_lingers_is_wanted_again,
        "is being deleted",
    ),
    Protection(
        "what terminates is not claimed",
        others_whatever(terminating=False),
        scenes.what_lingers_is_wanted_by_another,
        "is being deleted",
    ),
    *(
        Protection(
            f"a deletion waits for what replaces it: {history.__name__}",
            attribute(
                _Sorting, "_stick", lambda self, where, of, entry, why: self._leave(where, of, entry.template, why)
            ),
            history,
            "before what may replace it",
        )
        for history in (
            scenes.a_stranger_stands_where_an_object_is_renamed_to,
            scenes.a_manifest_is_lacking_when_an_object_is_renamed,
        )
    ),
    Protection(
        "a deletion waits for what was refused just now",
        attribute(Acting, "_deletable", lambda self, plan: list(plan.deletes)),
        scenes.the_server_refuses_what_an_object_is_renamed_to,
        "before what may replace it",
    ),
    Protection(
        "an edit is noted though it is not done",
        settled_in_full_only(),
        scenes.an_edit_is_not_done_when_all_is_lost,
        "word",
    ),
    Protection(
        "what is older in any part is dropped",
        attribute(Provenance, "older_than", lambda self, other: self.inventory < other.inventory),
        scenes.a_renderer_is_behind,
        "older, in one part at least",
    ),
    Protection(
        "what is older is dropped",
        attribute(Provenance, "older_than", lambda self, other: self.templates < other.templates),
        scenes.an_inventory_is_late,
        "older, in one part at least",
    ),
    Protection(
        "what has no labels of ours is not touched",
        wanted_whatever(host=HOST),
        scenes.a_stranger_has_an_objects_name,
        "stranger",
    ),
    Protection(
        "only what the deployed operator made is adopted",
        attribute(
            observed, "is_of_deployed_operator", lambda metadata: labels.PART_OF not in metadata.get("labels", {})
        ),
        scenes.a_stranger_has_an_objects_name,
        "stranger",
    ),
    Protection(
        "another vCenter's object is claimed", taken_at_once(), scenes.two_have_one_cluster, "another vCenter's object"
    ),
    Protection(
        "what another vCenter claimed is handed over",
        unwanted_whatever(claim=None),
        scenes.a_cluster_moves,
        "what another vCenter claimed is deleted",
    ),
    Protection(
        "observe",
        lambda patch: patch.setitem(policies.POLICIES, PolicyName.OBSERVE, policies.sync),
        scenes.a_vcenter_is_observed,
        "while observing",
    ),
    Protection(
        "upsert-only",
        lambda patch: patch.setitem(policies.POLICIES, PolicyName.UPSERT_ONLY, policies.sync),
        scenes.a_vcenter_is_upsert_only,
        "under upsert-only",
    ),
    Protection(
        "suspend",
        attribute(deciding, "suspend", lambda made: made),
        scenes.a_vcenter_is_suspended,
        "vCenter is suspended",
    ),
    Protection(
        "suspended templates",
        attribute(deciding, "suspend_templates", lambda made, _: made),
        scenes.a_template_is_suspended,
        "of a suspended template",
    ),
    Protection(
        "adoption waits for a word",
        attribute(deciding, "await_adoption", lambda made: made),
        scenes.the_deployed_operator_was_here,
        "before a person let it adopt",
    ),
    Protection("a plan applied twice is empty", no_digest(), scenes.nothing_happens, "applied already"),
    Protection(
        "edits by hand are put right",
        attribute(VCenterState, "observed", lambda self, _: {**self.others, **self.holdings.objects}),
        scenes.somebody_edits_by_hand,
        "is not as",
    ),
    Protection(
        "who takes an object over writes it",
        digest_handed_over(),
        scenes.somebody_edits_what_changes_hands_and_comes_back,
        "is not as",
    ),
    Protection("a dry run writes no record", overlay_writes_through(), scenes.a_dry_run, "a dry run wrote"),
]


@pytest.mark.parametrize("protection", PROTECTIONS, ids=lambda protection: protection.name)
def test_the_invariant_holds_and_is_broken_without_its_protection(
    protection: Protection, monkeypatch: MonkeyPatch
) -> None:
    with structlog.testing.capture_logs():
        protection.history()
        protection.taken_out(monkeypatch)
        with pytest.raises(Violation, match=protection.violated):
            protection.history()
