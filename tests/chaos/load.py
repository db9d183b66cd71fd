"""The load: changes to vCenters, zone and templates as they happen in a region, each to the model and for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.chaos.world import BRIDGE, Cluster, Template, World
from tests.e2e.region import Region

NUMBERS = range(10, 60)
MOST_CLUSTERS = 5


@dataclass(frozen=True)
class Change:
    """One change that the model has: what it is, and how the region gets it."""

    text: str
    make: Callable[[Region], Any]


Draw = Callable[[World, Random], Change | None]
"""Draws a change of one sort and makes it in the model; None where nothing can be changed in that way now."""


def draw(world: World, dice: Random) -> Change:
    """A change that can be made now."""
    sorts = list(SORTS)
    while True:
        (sort,) = dice.choices(sorts, [SORTS[each] for each in sorts])
        if (change := sort(world, dice)) is not None:
            return change
        sorts.remove(sort)


def closing(world: World) -> Iterator[Change]:
    """What makes the end determined: vCenters but the quiet ones are in the zone, and every template renders."""
    for name, vcenter in world.vcenters.items():
        if not vcenter.listed and not vcenter.quiet:
            yield _list(world, name)
    for name, template in world.templates.items():
        if template.broken:
            template.broken = False
            yield _store(name, template, "is repaired")


# -- vCenters


def cluster_comes(world: World, dice: Random) -> Change | None:
    names = [name for name in world.busy() if len(world.vcenters[name].clusters) < MOST_CLUSTERS]
    if not names:
        return None
    name, number = dice.choice(names), _free(world, dice)
    return Change(f"{name}: bb{number:03} comes", _build(world, name, number))


def cluster_goes(world: World, dice: Random) -> Change | None:
    found = _spare(world)
    if not found:
        return None
    name, number = dice.choice(found)
    return Change(f"{name}: bb{number:03} goes", _rename_away(world, name, number))


def cluster_is_renamed(world: World, dice: Random) -> Change | None:
    """To another building block: what was rendered for the old name goes."""
    found = sorted(world.clusters())
    if not found:
        return None
    (name, old), new = dice.choice(found), _free(world, dice)
    clusters = world.vcenters[name].clusters
    clusters[new] = clusters.pop(old)
    return Change(
        f"{name}: bb{old:03} becomes bb{new:03}",
        lambda region: region.vcenters[name].rename_cluster(_cluster(old), _cluster(new)),
    )


def cluster_moves(world: World, dice: Random) -> Change | None:
    """From one vCenter to another, under its name: the objects are handed over."""
    found = [(name, number) for name, number in _spare(world) if len(world.busy()) > 1]
    if not found:
        return None
    name, number = dice.choice(found)
    other = dice.choice([each for each in world.busy() if each != name])
    leave, arrive = _rename_away(world, name, number), _build(world, other, number)
    return Change(f"bb{number:03} moves from {name} to {other}", lambda region: (leave(region), arrive(region)))


def datastore_comes(world: World, dice: Random) -> Change | None:
    found = sorted(world.clusters())
    if not found:
        return None
    name, number = dice.choice(found)
    datastore = f"eph_bb{number:03}_x{world.serial()}"
    world.vcenters[name].clusters[number].datastores.append(datastore)
    return Change(
        f"{name}: bb{number:03} gets datastore {datastore}",
        lambda region: region.vcenters[name].add_datastore(_cluster(number), datastore),
    )


def datastore_goes(world: World, dice: Random) -> Change | None:
    found = [
        (at, store) for at in sorted(world.clusters()) for store in world.vcenters[at[0]].clusters[at[1]].datastores
    ]
    if not found:
        return None
    (name, number), datastore = dice.choice(found)
    for cluster in world.vcenters[name].clusters.values():
        if datastore in cluster.datastores:  # another may have been built with one of that name, and shares it
            cluster.datastores.remove(datastore)
    return Change(
        f"{name}: datastore {datastore} goes (bb{number:03})",
        lambda region: region.vcenters[name].remove_datastore(datastore),
    )


def portgroup_comes(world: World, dice: Random) -> Change | None:
    found = sorted(world.clusters())
    if not found:
        return None
    name, number = dice.choice(found)
    portgroup = f"{BRIDGE}bb{number:03}-x{world.serial()}"
    world.vcenters[name].clusters[number].networks.append(portgroup)
    return Change(
        f"{name}: bb{number:03} gets port group {portgroup}",
        lambda region: region.vcenters[name].add_portgroup(_cluster(number), portgroup),
    )


def portgroup_is_renamed(world: World, dice: Random) -> Change | None:
    if (found := _bridge(world, dice)) is None:
        return None
    name, number, old = found
    new = f"{BRIDGE}bb{number:03}-y{world.serial()}"
    networks = world.vcenters[name].clusters[number].networks
    networks[networks.index(old)] = new
    return Change(
        f"{name}: port group {old} of bb{number:03} becomes {new}",
        lambda region: region.vcenters[name].rename_portgroup(_cluster(number), old, new),
    )


def portgroup_goes(world: World, dice: Random) -> Change | None:
    if (found := _bridge(world, dice)) is None:
        return None
    name, number, portgroup = found
    world.vcenters[name].clusters[number].networks.remove(portgroup)
    return Change(
        f"{name}: port group {portgroup} of bb{number:03} goes",
        lambda region: region.vcenters[name].remove_portgroup(_cluster(number), portgroup),
    )


def _spare(world: World) -> list[tuple[str, int]]:
    """Clusters that may go: one stays in each vCenter."""
    return [at for at in sorted(world.clusters()) if len(world.vcenters[at[0]].clusters) > 1]


def _bridge(world: World, dice: Random) -> tuple[str, int, str] | None:
    """vCenter, cluster and name of a port group that may be a bridge."""
    found = [
        (name, number, network)
        for name, number in sorted(world.clusters())
        for network in world.vcenters[name].clusters[number].networks
        if network.startswith(BRIDGE)
    ]
    return dice.choice(found) if found else None


def _free(world: World, dice: Random) -> int:
    return dice.choice([number for number in NUMBERS if number not in world.numbers()])


def _cluster(number: int) -> str:
    return f"productionbb{number:03}"


def _build(world: World, name: str, number: int) -> Callable[[Region], Any]:
    vcenter = world.vcenters[name]
    vcenter.clusters[number] = Cluster.as_built(number)
    datacenter = vcenter.datacenter
    return lambda region: region.cluster(name, number, datacenter)


def _rename_away(world: World, name: str, number: int) -> Callable[[Region], Any]:
    """Out of the convention, since vcsim cannot destroy one for good: its object answers under another name."""
    del world.vcenters[name].clusters[number]
    away = f"decommissioned{world.serial()}"
    return lambda region: region.vcenters[name].rename_cluster(_cluster(number), away)


# -- zone


def vcenter_leaves_or_returns(world: World, dice: Random) -> Change | None:
    if "zone" in world.away:
        return None
    name = dice.choice(sorted(world.vcenters))
    return _unlist(world, name) if world.vcenters[name].listed else _list(world, name)


def _list(world: World, name: str) -> Change:
    world.vcenters[name].listed = True
    return Change(f"zone: {name} is added", lambda region: region.zone.add(name, "A", region.vcenters[name].address))


def _unlist(world: World, name: str) -> Change:
    world.vcenters[name].listed = False
    return Change(f"zone: {name} is removed", lambda region: region.zone.remove(name))


# -- templates


def template_is_edited(world: World, dice: Random) -> Change | None:
    return _template(world, dice, "is edited", lambda each: each.stored, _edit)


def template_breaks(world: World, dice: Random) -> Change | None:
    return _template(world, dice, "is broken", lambda each: each.stored and not each.broken, _break)


def template_is_repaired(world: World, dice: Random) -> Change | None:
    return _template(world, dice, "is repaired", lambda each: each.broken, _repair)


def template_is_made(world: World, dice: Random) -> Change | None:
    return _template(world, dice, "is made", lambda each: not each.stored, _make)


def template_is_deleted(world: World, dice: Random) -> Change | None:
    if "kubernetes" in world.away:
        return None
    found = [name for name, each in world.templates.items() if each.passing and each.stored]
    if not found:
        return None
    name = dice.choice(found)
    world.templates[name].stored = world.templates[name].broken = False
    return Change(f"template {name} is deleted", lambda region: region.delete("VCenterTemplate", name))


def _edit(template: Template, world: World) -> None:
    template.edition = world.serial()


def _break(template: Template, world: World) -> None:
    template.broken = True


def _repair(template: Template, world: World) -> None:
    template.broken = False


def _make(template: Template, world: World) -> None:
    template.stored, template.edition = True, world.serial()


def _template(
    world: World,
    dice: Random,
    what: str,
    chosen: Callable[[Template], bool],
    happens: Callable[[Template, World], None],
) -> Change | None:
    found = [name for name, each in world.templates.items() if chosen(each)]
    if not found or "kubernetes" in world.away:
        return None
    name = dice.choice(found)
    happens(world.templates[name], world)
    return _store(name, world.templates[name], what)


def _store(name: str, template: Template, what: str) -> Change:
    manifest = template.manifest(name, "")
    return Change(f"template {name} {what} (edition {template.edition})", lambda region: region.put(manifest))


SORTS: dict[Draw, float] = {
    cluster_comes: 3,
    cluster_goes: 2,
    cluster_is_renamed: 2,
    cluster_moves: 1,
    datastore_comes: 2,
    datastore_goes: 1,
    portgroup_comes: 1,
    portgroup_is_renamed: 2,
    portgroup_goes: 1,
    vcenter_leaves_or_returns: 2,
    template_is_edited: 3,
    template_breaks: 1,
    template_is_repaired: 2,
    template_is_made: 1,
    template_is_deleted: 1,
}
"""Every sort of change, and how often it is drawn."""
