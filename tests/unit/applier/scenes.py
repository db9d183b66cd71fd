"""Histories that are each as short as they can be: one needs one protection, see `test_protections`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.unit.applier.given import HOST, OTHER, OWN, deployment
from tests.unit.applier.history import Region
from tests.unit.applier.judging import THEIRS
from tests.unit.applier.truth import CLUSTERS, HOSTS, NINE, Truth, unit_of
from vcenter_operator.common import labels
from vcenter_operator.common.messages import Unknown
from vcenter_operator.common.record.orders import PolicyName, WhenGone

NOVA = f"{OWN}/nova"


def applied(truth: Truth | None = None) -> Region:
    """Both vCenters were applied: HOST has four clusters in two zones, OTHER one."""
    region = Region(truth)
    for host in HOSTS:
        says(region, host)
    return region


def of_nine() -> Region:
    """See `Truth.of_nine`."""
    return applied(Truth.of_nine())


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


def somebody_edits_what_changes_hands_and_comes_back() -> None:
    """The other vCenter never wrote it, and its own one shows by its digest that it is as it was written."""
    region = applied()
    one = deployment(f"nova-{CLUSTERS[0]}")
    region.truth.vcenters[OTHER].clusters[CLUSTERS[0]] = 0
    says(region, OTHER)
    loses(region, CLUSTERS[0])
    region.edit_by_hand(one)
    region.truth.vcenters[HOST].clusters[CLUSTERS[0]] = 0
    says(region)
    loses(region, CLUSTERS[0], host=OTHER)
    says(region)
    region.judge.rest({host: region.truth.said(host) for host in HOSTS})
