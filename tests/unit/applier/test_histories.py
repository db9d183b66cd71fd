"""What must hold whatever happens: random histories of inventories, templates, failures, lost, repeated and reordered

messages, restarts and people's words, through the renderer's pure parts and the planner, in a simulated cluster.

A handful of each sort by default; `HISTORIES=10000` (as `make histories` has it) for so many of each. A history that
fails is made as short as it can be, and printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import timedelta

import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.applier.history import Region
from tests.unit.applier.judging import THEIRS
from tests.unit.applier.truth import CLUSTERS, HOSTS, NAMES, ZONES, Truth
from vcenter_operator.common import labels
from vcenter_operator.common.record.orders import PolicyName, WhenGone

Step = tuple[str, int, int, int]
Happening = Callable[[Region, str, int], None]


def cluster_comes_or_goes(region: Region, host: str, which: int) -> None:
    clusters = region.truth.vcenters[host].clusters
    name = CLUSTERS[which % len(CLUSTERS)]
    if clusters.pop(name, None) is None:
        clusters[name] = 0


def cluster_moves(region: Region, host: str, which: int) -> None:
    """It leaves one vCenter and is in the other from then on, perhaps in both for a while."""
    other = next(each for each in HOSTS if each != host)
    name = CLUSTERS[which % len(CLUSTERS)]
    if which % 2:
        region.truth.vcenters[host].clusters.pop(name, None)
    region.truth.vcenters[other].clusters.setdefault(name, 0)


def cluster_is_unreadable(region: Region, host: str, which: int) -> None:
    region.truth.vcenters[host].unreadable ^= {CLUSTERS[which % len(CLUSTERS)]}


def cluster_changes(region: Region, host: str, which: int) -> None:
    clusters = region.truth.vcenters[host].clusters
    if (name := CLUSTERS[which % len(CLUSTERS)]) in clusters:
        clusters[name] += 1


def inventory_reads_empty(region: Region, host: str, which: int) -> None:
    clusters = region.truth.vcenters[host].clusters
    if clusters:
        clusters.clear()
    else:
        clusters |= dict.fromkeys(CLUSTERS[: 2 + which % 3], 0)


def vcenter_comes_or_goes(region: Region, host: str, which: int) -> None:
    del which
    region.zone_changes(host, present=not region.truth.vcenters[host].present)


def vcenter_is_given_up(region: Region, host: str, which: int) -> None:
    """It goes, and its objects are to go with it."""
    if region.truth.vcenters[host].present:
        region.zone_changes(host, present=False)
    region.say(host, when_gone=WhenGone.DELETE)
    region.state(host)
    region.deliver(host, -1)
    region.now += timedelta(hours=12 * (which % 4))


def template_is_edited(region: Region, host: str, which: int) -> None:
    del host
    region.truth.edited()
    template = region.truth.templates[NAMES[which % 3]]
    template.shape, template.generation = which % 4, template.generation + 1


def template_fails(region: Region, host: str, which: int) -> None:
    del host
    region.truth.edited()
    template = region.truth.templates[NAMES[which % 3]]
    template.failing ^= {(*CLUSTERS, *ZONES)[which % 7]}
    template.generation += 1


def template_is_unusable(region: Region, host: str, which: int) -> None:
    del host
    region.truth.edited()
    template = region.truth.templates[NAMES[which % 3]]
    template.unusable, template.generation = not template.unusable, template.generation + 1


def template_comes_or_goes(region: Region, host: str, which: int) -> None:
    del host
    region.truth.edited()
    template = region.truth.templates[NAMES[which % 3]]
    template.exists = not template.exists


def template_is_suspended(region: Region, host: str, which: int) -> None:
    del host
    region.truth.edited()
    template = region.truth.templates[NAMES[which % 3]]
    template.suspended = not template.suspended


def inputs_change(region: Region, host: str, which: int) -> None:
    del host, which
    region.truth.inputs += 1


def a_person_orders(region: Region, host: str, which: int) -> None:
    name, value = [
        ("policy", PolicyName.OBSERVE),
        ("policy", PolicyName.UPSERT_ONLY),
        ("policy", None),
        ("suspended", True),
        ("suspended", False),
        ("when_gone", WhenGone.DELETE),
        ("when_gone", None),
        ("adopt", True),
        ("adopt", None),
    ][which % 9]
    region.say(host, **{name: value})


def a_person_approves(region: Region, host: str, which: int) -> None:
    region.approve(host)
    if which % 3:
        region.look(host)


def a_person_repeats_an_old_word(region: Region, host: str, which: int) -> None:
    """It was shown once, and is said although something else is held now, or nothing, or the same again."""
    if digests := region.digests[host]:
        region.say(host, approve=digests[which % len(digests)])
        region.approve(host, digests[which % len(digests)])
        region.look(host)


def a_stranger_makes_or_removes_an_object(region: Region, host: str, which: int) -> None:
    del host
    name = CLUSTERS[which % len(CLUSTERS)]
    object_id = region.truth.templates["nova"].yields("nova", name)[0]
    standing = region.cluster.objects.get(object_id)
    if standing is None:
        region.cluster.put(object_id, {"name": object_id.name, "labels": {"app": THEIRS}})
    elif standing.host is None:
        region.cluster.remove(object_id)


def the_deployed_operator_applies_an_object(region: Region, host: str, which: int) -> None:
    """One of ours, which is as its own again by that, or one that is not there: wanted now, later or never."""
    name = CLUSTERS[which % len(CLUSTERS)]
    mine = [one for one in region.cluster.objects.values() if one.host == host and not one.terminating]
    object_id = (
        mine[which % len(mine)].id if mine and which % 2 else region.truth.templates["nova"].yields("nova", name)[0]
    )
    standing = region.cluster.objects.get(object_id)
    if standing is None or not standing.terminating:
        owner = {"apiVersion": labels.API_VERSION, "kind": labels.TEMPLATE_KIND, "name": "nova", "uid": "u"}
        entry = {"manager": labels.FIELD_MANAGER, "operation": "Apply"}
        region.cluster.put(object_id, {"name": name, "ownerReferences": [owner], "managedFields": [entry]})


def somebody_touches_an_object(region: Region, host: str, which: int) -> None:
    """Deletes it, makes it anew, gives it a finalizer, puts an annotation on, or edits a field of ours."""
    mine = [one for one in region.cluster.objects.values() if one.host == host and not one.terminating]
    if not mine:
        return
    one = mine[which % len(mine)]
    metadata = region.cluster.metadata[one.id]
    match which % 5:
        case 0:
            region.cluster.remove(one.id)
        case 1:
            region.cluster.put(one.id, metadata, anew=True)
        case 2:
            region.cluster.put(one.id, {**metadata, "finalizers": ["a/b"]}, fields=one.fields)
        case 3:
            region.cluster.put(
                one.id, {**metadata, "annotations": {**metadata["annotations"], "x": "y"}}, fields=one.fields
            )
        case 4:
            region.edit_by_hand(one.id)


def time_passes(region: Region, host: str, which: int) -> None:
    del host
    region.now += [timedelta(minutes=10), timedelta(hours=2), timedelta(days=2)][which % 3]
    region.cluster.finish()


def messages_are_lost(region: Region, host: str, which: int) -> None:
    del which
    region.network[host].clear()


def a_message_arrives(region: Region, host: str, which: int) -> None:
    region.deliver(host, which, again=which % 2 == 1)


def a_renderer_is_behind(region: Region, host: str, which: int) -> None:
    del which
    region.state(host, behind=True)


def the_server_fails(region: Region, host: str, which: int) -> None:
    del host
    region.fail_every = [0, 2, 3, 5][which % 4]


def a_process_will_die(region: Region, host: str, which: int) -> None:
    del host
    region.die_after = which % 6


def the_server_refuses_what_is_named_so(region: Region, host: str, which: int) -> None:
    """And takes it again later on."""
    del host
    region.refusing = None if region.refusing else (*NAMES, *CLUSTERS)[which % 8]


def manifests_are_not_sent(region: Region, host: str, which: int) -> None:
    """Until they are asked for; or are, as usual."""
    del host, which
    region.wordless = not region.wordless


def the_record_is_read_as_it_was(region: Region, host: str, which: int) -> None:
    del which
    if host in region.store.records:
        region.store.lagging[host] = region.store.records[host]


def somebody_makes_a_dry_run(region: Region, host: str, which: int) -> None:
    del which
    region.try_out(host)


def all_restart(region: Region, host: str, which: int) -> None:
    del host, which
    region.restart()


HAPPENINGS: dict[str, Happening] = {
    happening.__name__: happening
    for happening in (
        cluster_comes_or_goes,
        cluster_moves,
        cluster_is_unreadable,
        cluster_changes,
        inventory_reads_empty,
        vcenter_comes_or_goes,
        vcenter_is_given_up,
        template_is_edited,
        template_fails,
        template_is_unusable,
        template_comes_or_goes,
        template_is_suspended,
        inputs_change,
        a_person_orders,
        a_person_approves,
        a_person_repeats_an_old_word,
        a_stranger_makes_or_removes_an_object,
        the_deployed_operator_applies_an_object,
        somebody_touches_an_object,
        time_passes,
        messages_are_lost,
        a_message_arrives,
        a_renderer_is_behind,
        the_server_fails,
        a_process_will_die,
        the_server_refuses_what_is_named_so,
        manifests_are_not_sent,
        the_record_is_read_as_it_was,
        somebody_makes_a_dry_run,
        all_restart,
    )
}

_OFTEN = ("inventory_reads_empty", "inventory_reads_empty", "a_person_approves", "a_person_approves", "cluster_moves")
_LOSSES = (
    *("inventory_reads_empty", "cluster_comes_or_goes", "vcenter_is_given_up", "vcenter_comes_or_goes"),
    *("a_person_approves", "a_person_approves", "a_person_repeats_an_old_word", "a_person_orders"),
    *(
        "the_deployed_operator_applies_an_object",
        "somebody_touches_an_object",
        "time_passes",
        "the_server_fails",
        "a_process_will_die",
        "the_record_is_read_as_it_was",
        "all_restart",
    ),
)


def steps(happenings: Iterable[str]) -> st.SearchStrategy[list[Step]]:
    """Histories of these: what happens, to which vCenter, which of several, and what is said and arrives then."""
    then = st.sampled_from([0, 2, 2, 2, 3, 1])
    step = st.tuples(st.sampled_from(list(happenings)), st.integers(0, 1), st.integers(0, 11), then)
    return st.lists(step, min_size=8, max_size=40)


histories = settings(
    max_examples=int(os.environ.get("HISTORIES", "60")),
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


def lived(history: list[Step], truth: Truth) -> Region:
    """A region in which all vCenters were applied once, and these steps happened then."""
    region = Region(truth)
    for host in HOSTS:
        region.state(host)
        region.deliver(host, 0)
    for name, whose, which, then in history:
        host = HOSTS[whose]
        HAPPENINGS[name](region, host, which)
        if then >= 1:
            region.state(host)
        if then >= 2:
            region.deliver(host, len(region.network[host]) - 1)
        if then >= 3:
            region.look(HOSTS[1 - whose])
    return region


def check(history: list[Step], truth: Truth) -> None:
    """Every write is checked as it happens, see `history.Region`; then all is stated until it rests."""
    with structlog.testing.capture_logs():
        region = lived(history, truth)
        region.rest()


@histories
@given(steps([*HAPPENINGS, *_OFTEN]))
def test_whatever_happens_nothing_happens_that_must_not_and_the_last_statements_decide(history: list[Step]) -> None:
    check(history, Truth())


@histories
@given(steps(_LOSSES), st.builds(Truth) | st.builds(Truth.of_nine))
def test_whatever_is_lost_and_said_nothing_goes_without_a_word_on_exactly_that(
    history: list[Step], truth: Truth
) -> None:
    check(history, truth)
