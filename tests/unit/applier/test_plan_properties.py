"""What must hold of every plan, over random clusters, deltas and memories."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.applier.given import CINDER, HOST, NOVA, NOW, OTHER, OWN, ZONED, cluster, delta, provenance, zone
from vcenter_operator.applier.core.budget import Budget, clusters
from vcenter_operator.applier.core.deciding import decide
from vcenter_operator.applier.core.decisions import Change, Memory, Plan, Policy, Refusal, Removal, Withheld
from vcenter_operator.applier.core.observed import Claim, Observed
from vcenter_operator.applier.core.plan import plan
from vcenter_operator.common.identity import ObjectId, Unit
from vcenter_operator.common.messages import IndexEntry, ManifestDelta, Unknown
from vcenter_operator.common.record.orders import Orders, PolicyName, WhenGone
from vcenter_operator.common.record.port import OwnedSample

KINDS = [("", "Secret"), ("", "ConfigMap"), ("apps", "Deployment"), ("batch", "Job")]
UNITS = [cluster(1), cluster(2), cluster(3), cluster(4, "qa-de-1b"), zone(), zone("qa-de-1b")]
OBJECTS = [ObjectId(*kind, OWN, f"o{number}") for kind in KINDS for number in range(4)]
OBJECTS.append(ObjectId("", "Namespace", "", "scoped"))

ids = st.sampled_from(OBJECTS)
units = st.sampled_from(UNITS)
templates = st.sampled_from([NOVA, CINDER, ZONED])
digests = st.sampled_from(["d1", "d2"])


@st.composite
def observed_objects(draw: st.DrawFn) -> dict[ObjectId, Observed]:
    found: dict[ObjectId, Observed] = {}
    for object_id in draw(st.sets(ids)):
        host = draw(st.sampled_from([HOST, HOST, HOST, OTHER, None, None]))
        claim = draw(st.sampled_from([None, None, Claim(OTHER, NOVA, UNITS[0]), Claim(HOST, NOVA, UNITS[0])]))
        found[object_id] = Observed(
            id=object_id,
            uid=str(object_id),
            version="1",
            host=host,
            digest=draw(digests) if host else None,
            template=draw(st.one_of(templates, st.none())) if host else None,
            unit=draw(st.one_of(units, st.none())) if host else None,
            terminating=draw(st.integers(0, 9)) == 0,
            claim=claim if host else None,
            adoptable=host is None and draw(st.integers(0, 2)) == 0,
        )
    return found


@st.composite
def deltas(draw: st.DrawFn) -> ManifestDelta:
    index = draw(
        st.dictionaries(ids, st.builds(IndexEntry, digest=digests, template=templates, unit=units), max_size=12)
    )
    unknown = draw(
        st.lists(
            st.builds(
                Unknown,
                template=st.one_of(templates, st.none()),
                unit=st.one_of(units, st.none()),
                reason=st.just("why"),
            ),
            max_size=2,
        )
    )
    made = delta(
        index,
        units=draw(st.lists(units, unique=True)),
        unknown=unknown,
        templates=draw(st.dictionaries(templates, st.integers(1, 2))),
        inputs=draw(st.sampled_from(["i1", "i2"])),
        made_from=provenance(),
    )
    here = draw(st.one_of(st.none(), st.sets(ids)))
    return made if here is None else made.model_copy(update={"manifests": {one: b"" for one in index if one in here}})


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    return Memory(
        settled_templates=draw(st.one_of(st.none(), st.dictionaries(templates, st.integers(1, 2)))),
        settled_inputs=draw(st.sampled_from(["i1", "i2"])),
        declared=frozenset(draw(st.sets(ids, max_size=4))),
        held=frozenset(draw(st.sets(ids, max_size=4))),
        hold=draw(st.integers(0, 2)),
        approved=frozenset((one, draw(st.sampled_from([str(one), "of before"]))) for one in draw(st.sets(ids))),
        gone_since=draw(st.sampled_from([None, NOW, NOW - timedelta(days=2)])),
        samples=tuple(draw(st.lists(st.builds(OwnedSample, at=st.just(NOW), owned=st.integers(0, 20)), max_size=2))),
        refused={one: Refusal(draw(digests), "refused") for one in draw(st.sets(ids, max_size=2))},
    )


few = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

policies = st.builds(
    Policy,
    when_gone=st.sampled_from(WhenGone),
    gone_after=st.just(timedelta(days=1)),
    budget=st.builds(Budget, share=st.sampled_from([1 / 3, 0.5, 1.0]), count=st.sampled_from([None, 2])),
    cluster_scoped=st.sampled_from([frozenset(), frozenset({"Namespace"})]),
    adopt=st.booleans(),
)
situations = st.tuples(observed_objects(), deltas(), memories(), policies)
Situation = tuple[dict[ObjectId, Observed], ManifestDelta, Memory, Policy]


def plan_of(situation: Situation) -> Plan:
    observed, stated, memory, policy = situation
    return plan(observed, stated, memory, policy, NOW)


def touched(made: Plan) -> list[Change | Removal]:
    """Everything that would be written or deleted, claims aside."""
    return [*made.creates, *made.updates, *made.deletes, *made.handovers]


@few
@given(situations)
def test_what_is_unknown_is_never_touched(situation: Situation) -> None:
    observed, stated, _, _ = situation

    for item in touched(plan_of(situation)):
        current = observed.get(item.id)
        for unknown in stated.unknown:
            assert item.template is not None
            assert item.unit is not None
            assert not unknown.covers(item.template, item.unit)
            if current is not None and current.host is not None:
                assert current.template is not None
                assert current.unit is not None
                assert not unknown.covers(current.template, current.unit)


@few
@given(situations)
def test_what_is_not_ours_is_never_touched(situation: Situation) -> None:
    observed, made = situation[0], plan_of(situation)

    for item in touched(made):
        assert item.id not in observed or observed[item.id].host == HOST or observed[item.id].adoptable
    for removal in (*made.deletes, *made.held, *made.handovers):
        assert observed[removal.id].host == HOST
    for taking in made.claims:
        assert observed[taking.id].host == OTHER


@few
@given(situations, st.sampled_from(PolicyName))
def test_nothing_is_written_while_the_deployed_operators_objects_wait_to_be_adopted(
    situation: Situation, name: PolicyName
) -> None:
    observed, stated, memory, policy = situation
    waits = any(observed[one].adoptable for one in stated.index if one in observed)

    made = decide(observed, stated, memory, replace(policy, name=name, adopt=False), Orders(), NOW)

    assert made.empty or not waits
    assert waits or not any(one.by is Withheld.ADOPTING for one in made.withheld)


@few
@given(situations)
def test_only_what_says_what_it_was_rendered_from_is_deleted(situation: Situation) -> None:
    made = plan_of(situation)

    assert all(removal.template and removal.unit for removal in (*made.deletes, *made.held, *made.deferred))


@few
@given(situations)
def test_what_terminates_is_never_touched(situation: Situation) -> None:
    made = plan_of(situation)

    assert not any(one.terminating for one in (situation[0].get(item.id) for item in touched(made)) if one)
    assert not any(taking.current.terminating for taking in made.claims)


@few
@given(situations)
def test_only_what_is_not_in_the_index_is_deleted(situation: Situation) -> None:
    made = plan_of(situation)

    assert not {item.id for item in (*made.deletes, *made.handovers, *made.held)} & situation[1].index.keys()


@few
@given(situations)
def test_a_vcenter_that_is_gone_keeps_all_until_its_time(situation: Situation) -> None:
    observed, stated, memory, policy = situation
    gone = stated.model_copy(update={"present": False})

    made = plan(observed, gone, memory, policy, NOW)
    since = memory.gone_since if policy.when_gone is WhenGone.DELETE else None
    over = since is not None and since + policy.gone_after <= NOW
    assert (made.creates, made.updates, made.claims) == ((), (), ())
    assert over or (made.deletes, made.held) == ((), ())
    assert all(item.current.claim and item.current.claim.host != gone.host for item in made.handovers)


@few
@given(situations)
def test_every_object_is_accounted_for_exactly_once(situation: Situation) -> None:
    observed, stated, _, _ = situation
    made = plan_of(situation)
    items = [
        item.id
        for items in (
            *(made.creates, made.updates, made.deletes, made.handovers, made.held, made.deferred),
            *(made.conflicts, made.unknown, made.lacking, made.waiting, made.refused),
        )
        for item in items
    ]
    leaving = {
        one.id
        for one in observed.values()
        if one.host == HOST and one.terminating and one.id not in stated.index and one.id not in items
    }
    ours = {one.id for one in observed.values() if one.host == HOST}

    assert len(items) == len(set(items))
    assert len(items) + made.unchanged + len(leaving) == len(ours | stated.index.keys())


@few
@given(situations)
def test_the_budget_holds_all_inferred_deletions_or_none(situation: Situation) -> None:
    observed, _, memory, policy = situation
    made = plan_of(situation)
    inferred = [removal for removal in made.deletes if removal.counted]
    owned = sum(one.host == HOST and not one.terminating for one in observed.values())
    most = max([owned, *(sample.owned for sample in memory.samples)])

    assert not (inferred and made.held)
    assert all(removal.inferred for removal in made.held)
    if len({removal.unit for removal in inferred if removal.unit and removal.unit.cluster}) > 1:
        assert policy.budget.allows(most - owned + len(inferred), most)


@few
@given(situations)
def test_a_word_releases_what_it_was_given_for_and_nothing_beside_it(situation: Situation) -> None:
    memory, made = situation[2], plan_of(situation)
    released = {removal.instance for removal in made.deletes if removal.approved}
    beyond = {removal.instance for removal in made.held}

    assert released <= made.approved <= memory.approved
    assert not (made.approved and beyond)


@few
@given(situations, st.sampled_from([unit for unit in UNITS if unit.cluster]))
def test_the_end_of_a_single_cluster_always_passes(situation: Situation, unit: Unit) -> None:
    observed, stated, memory, policy = situation
    alone = {
        one.id: replace(one, unit=unit, template=NOVA)
        for one in observed.values()
        if one.host == HOST and one.id not in stated.index
    }

    assert not plan(alone, stated.model_copy(update={"unknown": ()}), memory, policy, NOW).held


@few
@given(situations)
def test_a_plan_that_was_applied_is_empty(situation: Situation) -> None:
    observed, stated, memory, policy = situation
    made = plan_of(situation)

    remembered = replace(memory, held=held_by(made), hold=made.hold, approved=made.approved)
    again = plan(carried_out(observed, made), stated, remembered, policy, NOW)

    assert again.empty
    assert clusters([removal.unit for removal in again.held], units_left=True) == clusters(
        [removal.unit for removal in made.held], units_left=True
    )


@few
@given(observed_objects(), st.lists(deltas(), min_size=1, max_size=5), policies)
def test_whatever_came_before_the_last_statement_decides(
    observed: dict[ObjectId, Observed], history: list[ManifestDelta], policy: Policy
) -> None:
    """Without budget, unknowns and what is not ours, only the last delta shows in the end."""
    unlimited = replace(policy, budget=Budget(share=1.0))
    known = [
        one.model_copy(
            update={
                "unknown": (),
                "index": {object_id: entry for object_id, entry in one.index.items() if object_id.namespace},
                "manifests": dict.fromkeys(one.index, b""),
            }
        )
        for one in history
    ]
    state = {
        one.id: one
        for one in observed.values()
        if one.host == HOST and one.claim is None and one.id.namespace and one.template and one.unit
    }
    for stated in known:
        for _ in range(2):
            state = carried_out(state, plan(state, stated, Memory(), unlimited, NOW))
            state = {object_id: one for object_id, one in state.items() if not one.terminating}

    last = known[-1].index
    assert state.keys() == last.keys()
    assert all(state[object_id].digest == last[object_id].digest for object_id in last)


def held_by(made: Plan) -> frozenset[ObjectId]:
    return frozenset(removal.id for removal in made.held)


def carried_out(observed: dict[ObjectId, Observed], made: Plan) -> dict[ObjectId, Observed]:
    """The cluster after a plan was carried out."""
    after = dict(observed)
    for change in (*made.creates, *made.updates):
        after[change.id] = Observed(change.id, str(change.id), "2", HOST, change.digest, change.template, change.unit)
    for removal in made.deletes:
        del after[removal.id]
    for removal in made.handovers:
        claim = removal.current.claim
        assert claim is not None
        after[removal.id] = replace(
            removal.current, host=claim.host, template=claim.template, unit=claim.unit, claim=None
        )
    for taking in made.claims:
        after[taking.id] = replace(taking.current, claim=taking.claim)
    return after
