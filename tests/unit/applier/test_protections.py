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

from tests.unit.applier.given import HOST, NOW, OTHER, OWN, deployment
from tests.unit.applier.history import Region
from tests.unit.applier.judging import THEIRS, Violation
from tests.unit.applier.truth import CLUSTERS, HOSTS, Truth, unit_of
from vcenter_operator.applier import reconciling
from vcenter_operator.applier.acting import Acting
from vcenter_operator.applier.carrying import Carrying
from vcenter_operator.applier.core import approval, deciding, observed, policies, settling
from vcenter_operator.applier.core import budget as budgeting
from vcenter_operator.applier.core import plan as planning
from vcenter_operator.applier.core.decisions import Memory, Plan
from vcenter_operator.applier.core.plan import _Sorting
from vcenter_operator.applier.reconciling import Reconciler
from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common import labels
from vcenter_operator.common.messages import Provenance, Unknown
from vcenter_operator.common.record.orders import PolicyName, WhenGone
from vcenter_operator.common.record.overlay import Overlay

MonkeyPatch = pytest.MonkeyPatch
Patch = Callable[[MonkeyPatch], None]
NINE = tuple(f"productionbb{number:03}" for number in range(1, 10))
NOVA = f"{OWN}/nova"


# Regions


def applied(truth: Truth | None = None) -> Region:
    """Both vCenters were applied: HOST has four clusters in two zones, OTHER one."""
    region = Region(truth)
    for host in HOSTS:
        says(region, host)
    return region


def of_nine() -> Region:
    """HOST has nine clusters, and an object in each: a loss of three is within the budget."""
    truth = Truth()
    truth.templates["cinder"].exists = truth.templates["sidecar"].exists = False
    truth.vcenters[HOST].clusters = dict.fromkeys(NINE, 0)
    truth.vcenters[OTHER].clusters = {}
    return applied(truth)


def says(region: Region, host: str = HOST) -> None:
    """What is so is stated, arrives, and is looked at again."""
    region.state(host)
    region.deliver(host, -1)
    region.look(host)


def loses(region: Region, *clusters: str, host: str = HOST) -> None:
    for name in clusters:
        del region.truth.vcenters[host].clusters[name]
    says(region, host)


def changes(region: Region, host: str = HOST, cluster: str = CLUSTERS[0]) -> None:
    """Another version of what a cluster is rendered into."""
    region.truth.vcenters[host].clusters[cluster] += 1
    says(region, host)


def edits(region: Region, template: str = "nova", **how: Any) -> None:
    region.truth.edited()
    true = region.truth.templates[template]
    for name, value in how.items():
        setattr(true, name, value)
    true.generation += 1


def goes(region: Region, host: str = OTHER, **orders: Any) -> None:
    """DNS has a vCenter no more. All that the other one has is of a single cluster: no budget stands before it."""
    region.say(host, **orders)
    region.zone_changes(host, present=False)
    says(region, host)


# Histories, each as short as it can be


def a_cluster_cannot_be_read() -> None:
    region = applied()
    region.truth.vcenters[HOST].unreadable.add(CLUSTERS[0])
    says(region)


def what_is_unknown_is_yielded_otherwise() -> None:
    """No renderer of ours says so: it leaves out what is unknown. Whatever it says, it is not touched."""
    region = applied()
    region.truth.vcenters[HOST].clusters[CLUSTERS[0]] += 1
    said = region.truth.said(HOST)
    unit = unit_of(CLUSTERS[0])
    unknown = Unknown(template=NOVA, unit=unit, reason="it fails")
    delta = said.delta.model_copy(update={"unknown": (unknown,)})
    region.hear(HOST, replace(said, delta=delta, unknown=frozenset({(NOVA, unit)})))


def a_vcenter_is_gone() -> None:
    region = applied()
    goes(region)
    region.now += timedelta(days=2)
    region.look(OTHER)


def a_vcenter_is_given_up() -> None:
    region = applied()
    goes(region, when_gone=WhenGone.DELETE)


def a_vcenter_comes_back_unread() -> None:
    """DNS has it again, but nothing can be read from it yet."""
    region = applied()
    goes(region, when_gone=WhenGone.DELETE)
    region.now += timedelta(days=2)
    region.zone_changes(OTHER, present=True)
    region.look(OTHER)


def a_vcenter_comes_back_unnoticed() -> None:
    """And the process has not heard of it."""
    region = applied()
    goes(region, when_gone=WhenGone.DELETE)
    region.now += timedelta(days=2)
    region.store.lagging[OTHER] = region.store.records[OTHER]
    region.zone_changes(OTHER, present=True)
    region.look(OTHER)


def an_order_is_unnoticed() -> None:
    region = applied()
    region.store.lagging[HOST] = region.store.records[HOST]
    region.say(HOST, policy=PolicyName.OBSERVE)
    changes(region)


def all_is_lost() -> None:
    region = applied()
    loses(region, *region.truth.vcenters[HOST].clusters)


def a_series_of_losses() -> None:
    region = of_nine()
    loses(region, *NINE[:2])
    loses(region, *NINE[2:4])


def a_series_of_losses_and_a_death() -> None:
    """The process dies when two objects are deleted, and nothing is recorded of it."""
    region = of_nine()
    region.die_after = 3
    loses(region, *NINE[:2])
    loses(region, *NINE[2:4])


def more_is_created_beside_what_is_held() -> None:
    region = of_nine()
    loses(region, *NINE[:4])
    edits(region, shape=2)
    says(region)
    says(region)


def a_word_is_late() -> None:
    """When it is heard of, what it was given for is wanted again, and then lost again."""
    region = applied()
    clusters = dict(region.truth.vcenters[HOST].clusters)
    loses(region, *clusters)
    region.truth.vcenters[HOST].clusters = dict(clusters)
    region.approve(HOST)
    says(region)
    loses(region, *clusters)


def a_wrong_word() -> None:
    region = applied()
    region.say(HOST, approve="0" * 16)
    loses(region, *region.truth.vcenters[HOST].clusters)


def a_word_for_what_is_made_anew() -> None:
    """It is accepted; before any of it goes the process dies, and somebody makes one of the objects anew."""
    region = applied()
    loses(region, *region.truth.vcenters[HOST].clusters)
    region.approve(HOST)
    region.die_after = 1
    region.look(HOST)
    assert region.applied(HOST).approved  # type: ignore[union-attr]
    one = deployment(f"nova-{CLUSTERS[0]}")
    region.cluster.put(one, region.cluster.metadata[one], anew=True)
    says(region)


def what_lingers_is_looked_at_again() -> None:
    region = applied()
    linger(region)
    loses(region, CLUSTERS[0])


def what_lingers_is_wanted_again() -> None:
    region = applied()
    linger(region)
    loses(region, CLUSTERS[0])
    region.truth.vcenters[HOST].clusters[CLUSTERS[0]] = 1
    says(region)


def what_lingers_is_wanted_by_another() -> None:
    region = applied()
    linger(region)
    loses(region, CLUSTERS[0])
    region.truth.vcenters[OTHER].clusters[CLUSTERS[0]] = 0
    says(region, OTHER)


def linger(region: Region) -> None:
    one = region.cluster.objects[deployment(f"nova-{CLUSTERS[0]}")]
    region.cluster.put(one.id, {**region.cluster.metadata[one.id], "finalizers": ["a/b"]}, fields=one.fields)


def a_stranger_stands_where_an_object_is_renamed_to() -> None:
    region = applied()
    region.cluster.put(deployment(f"nova-{CLUSTERS[0]}-x"), {"labels": {"app": THEIRS}})
    edits(region, shape=3)
    says(region)


def a_manifest_is_lacking_when_an_object_is_renamed() -> None:
    region = applied()
    region.wordless = True
    edits(region, shape=3)
    says(region)


def the_server_refuses_what_an_object_is_renamed_to() -> None:
    region = applied()
    region.refusing = "-x"
    edits(region, shape=3)
    says(region)


def an_edit_is_not_done_when_all_is_lost() -> None:
    """One object is refused, so that the edit is never carried out in full; then nothing is in the clusters."""
    region = of_nine()
    region.refusing = f"nova-{NINE[0]}"
    edits(region, shape=1)
    says(region)
    region.truth.vcenters[HOST].clusters = dict.fromkeys(NINE, -1)
    says(region)


def a_renderer_is_behind() -> None:
    region = applied()
    edits(region, shape=1)
    says(region)
    region.state(HOST, behind=True)
    region.deliver(HOST, -1)


def an_inventory_is_late() -> None:
    region = applied()
    region.state(HOST)
    region.truth.vcenters[HOST].clusters[CLUSTERS[0]] = 1
    says(region)
    region.network[HOST] = [said for said in region.network[HOST] if said is region.network[HOST][0]]
    region.deliver(HOST, 0)


def a_stranger_has_an_objects_name() -> None:
    region = applied()
    region.say(HOST, adopt=True)
    one = deployment(f"nova-{CLUSTERS[0]}")
    region.cluster.remove(one)
    region.cluster.put(one, {"labels": {"app": THEIRS}})
    changes(region)


def two_have_one_cluster() -> None:
    region = applied()
    region.truth.vcenters[OTHER].clusters[CLUSTERS[0]] = 0
    says(region, OTHER)


def a_cluster_moves() -> None:
    region = applied()
    region.truth.vcenters[OTHER].clusters[CLUSTERS[0]] = 0
    says(region, OTHER)
    loses(region, CLUSTERS[0])


def a_vcenter_is_observed() -> None:
    region = applied()
    region.say(HOST, policy=PolicyName.OBSERVE)
    changes(region)


def a_vcenter_is_upsert_only() -> None:
    region = applied()
    region.say(HOST, policy=PolicyName.UPSERT_ONLY)
    loses(region, CLUSTERS[0])


def a_vcenter_is_suspended() -> None:
    region = applied()
    region.say(HOST, suspended=True)
    changes(region)


def a_template_is_suspended() -> None:
    region = applied()
    region.truth.templates["nova"].suspended = True
    changes(region)


def the_deployed_operator_was_here() -> None:
    region = applied()
    one = deployment(f"nova-{CLUSTERS[0]}")
    owner = {"apiVersion": labels.API_VERSION, "kind": labels.TEMPLATE_KIND, "name": "nova", "uid": "u"}
    entry = {"manager": labels.FIELD_MANAGER, "operation": "Apply"}
    region.cluster.put(one, {"ownerReferences": [owner], "managedFields": [entry]})
    changes(region, cluster=CLUSTERS[1])


def nothing_happens() -> None:
    region = applied()
    region.look(HOST)


def somebody_edits_by_hand() -> None:
    region = applied()
    region.edit_by_hand(deployment(f"nova-{CLUSTERS[0]}"))
    region.look(HOST)
    region.rest()


def a_dry_run() -> None:
    region = applied()
    region.truth.vcenters[HOST].clusters[CLUSTERS[0]] += 1
    region.state(HOST)
    region.try_out(HOST)


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


def gone_whatever(**fields: Any) -> Patch:
    gone = planning._gone

    def anyway(owned: Any, delta: Any, memory: Memory, policy: Any, now: datetime) -> Plan:
        return gone(owned, delta, memory, replace(policy, **fields), now)

    return attribute(planning, "_gone", anyway)


def budget_whatever(**arguments: Any) -> Patch:
    exceeded = budgeting.exceeded
    return attribute(planning, "exceeded", lambda *args, **more: exceeded(*args, **{**more, **arguments}))


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
        a_cluster_cannot_be_read,
        "what is unknown is touched",
    ),
    Protection(
        "what is unknown is not updated",
        attribute(_Sorting, "_unknown", lambda *_: None),
        what_is_unknown_is_yielded_otherwise,
        "what is unknown is touched",
    ),
    Protection(
        "what is gone is retained",
        gone_whatever(when_gone=WhenGone.DELETE),
        a_vcenter_is_gone,
        "of a vCenter that is gone",
    ),
    Protection(
        "what is gone has a time of grace",
        gone_whatever(gone_after=timedelta(0)),
        a_vcenter_is_given_up,
        "before its time",
    ),
    Protection(
        "the record says since when DNS lacks it",
        attribute(VCenterState, "gone_since", property(lambda _: NOW)),
        a_vcenter_comes_back_unread,
        "DNS has it again",
    ),
    Protection(
        "the record is read again before anything goes",
        unprepared(),
        a_vcenter_comes_back_unnoticed,
        "DNS has it again",
    ),
    Protection("orders are read again before anything is written", unprepared(), an_order_is_unnoticed, "observing"),
    Protection("the budget", attribute(planning, "exceeded", lambda *_, **__: None), all_is_lost, "a person's word"),
    Protection("the budget's hour", budget_whatever(samples=()), a_series_of_losses, "without a person's word"),
    Protection(
        "samples are remembered",
        attribute(settling, "remembered", lambda *_, **__: ()),
        a_series_of_losses,
        "without a person's word",
    ),
    Protection(
        "losses are noted before they are made",
        attribute(reconciling, "foreseen", lambda section, *_, **__: section),
        a_series_of_losses_and_a_death,
        "without a person's word",
    ),
    Protection(
        "what was held waits for a word",
        budget_whatever(held_before=False),
        more_is_created_beside_what_is_held,
        "it was held",
    ),
    Protection(
        "a word is for one hold",
        attribute(planning, "digest_of", lambda _, held: approval.digest_of(0, held)),
        a_word_is_late,
        "a person's word|without a word",
    ),
    Protection("a word is for one plan", any_word(), a_wrong_word, "a person's word|without a word"),
    Protection("a word is for one object", any_uid(), a_word_for_what_is_made_anew, "a person's word|without a word"),
    Protection(
        "what terminates is not deleted",
        unwanted_whatever(terminating=False),
        what_lingers_is_looked_at_again,
        "is being deleted",
    ),
    Protection(
        "what terminates is not patched",
        wanted_whatever(terminating=False),
        what_lingers_is_wanted_again,
        "is being deleted",
    ),
    Protection(
        "what terminates is not claimed",
        others_whatever(terminating=False),
        what_lingers_is_wanted_by_another,
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
            a_stranger_stands_where_an_object_is_renamed_to,
            a_manifest_is_lacking_when_an_object_is_renamed,
        )
    ),
    Protection(
        "a deletion waits for what was refused just now",
        attribute(Acting, "_deletable", lambda self, plan: list(plan.deletes)),
        the_server_refuses_what_an_object_is_renamed_to,
        "before what may replace it",
    ),
    Protection(
        "an edit is noted though it is not done", settled_in_full_only(), an_edit_is_not_done_when_all_is_lost, "word"
    ),
    Protection(
        "what is older in any part is dropped",
        attribute(Provenance, "older_than", lambda self, other: self.inventory < other.inventory),
        a_renderer_is_behind,
        "older, in one part at least",
    ),
    Protection(
        "what is older is dropped",
        attribute(Provenance, "older_than", lambda self, other: self.templates < other.templates),
        an_inventory_is_late,
        "older, in one part at least",
    ),
    Protection(
        "what has no labels of ours is not touched",
        wanted_whatever(host=HOST),
        a_stranger_has_an_objects_name,
        "stranger",
    ),
    Protection(
        "only what the deployed operator made is adopted",
        attribute(
            observed, "is_of_deployed_operator", lambda metadata: labels.PART_OF not in metadata.get("labels", {})
        ),
        a_stranger_has_an_objects_name,
        "stranger",
    ),
    Protection(
        "another vCenter's object is claimed", taken_at_once(), two_have_one_cluster, "another vCenter's object"
    ),
    Protection(
        "what another vCenter claimed is handed over",
        unwanted_whatever(claim=None),
        a_cluster_moves,
        "what another vCenter claimed is deleted",
    ),
    Protection(
        "observe",
        lambda patch: patch.setitem(policies.POLICIES, PolicyName.OBSERVE, policies.sync),
        a_vcenter_is_observed,
        "while observing",
    ),
    Protection(
        "upsert-only",
        lambda patch: patch.setitem(policies.POLICIES, PolicyName.UPSERT_ONLY, policies.sync),
        a_vcenter_is_upsert_only,
        "under upsert-only",
    ),
    Protection(
        "suspend", attribute(deciding, "suspend", lambda made: made), a_vcenter_is_suspended, "vCenter is suspended"
    ),
    Protection(
        "suspended templates",
        attribute(deciding, "suspend_templates", lambda made, _: made),
        a_template_is_suspended,
        "of a suspended template",
    ),
    Protection(
        "adoption waits for a word",
        attribute(deciding, "await_adoption", lambda made: made),
        the_deployed_operator_was_here,
        "before a person let it adopt",
    ),
    Protection("a plan applied twice is empty", no_digest(), nothing_happens, "applied already"),
    Protection(
        "edits by hand are put right",
        attribute(VCenterState, "observed", lambda self, _: {**self.others, **self.holdings.objects}),
        somebody_edits_by_hand,
        "is not as",
    ),
    Protection("a dry run writes no record", overlay_writes_through(), a_dry_run, "a dry run wrote"),
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
