"""What the inventories of real vCenters (vcsim) come to: folders and moves, names of every kind, objects that vanish
while they are read, and accounts that see only part of what there is. The bus and the record are in memory.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Callable

import pytest

from tests.stack import Stack
from tests.stack.vcsim import Vcsim
from tests.unit.collector.scene import HOST, Scene, becomes, present
from vcenter_operator.collector.adapters.connection import tls_context
from vcenter_operator.collector.adapters.vcenter import PyVmomiVCenters, Timeouts
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.common.identity import Revision, Unit
from vcenter_operator.common.messages import DnsChange, Inventory

SOON = 30.0
A, B = "QA-DE-1A", "QA-DE-1B"
ONE, TWO, STORAGE = "productionbb001", "productionbb002", "storagebb003"

pytestmark = pytest.mark.needs("vcsim", control=True)


@pytest.fixture(params=[None, 2], ids=["whole answers", "pages of 2"])
def page_size(request: pytest.FixtureRequest) -> int | None:
    size: int | None = request.param
    return size


@pytest.fixture
async def scene(stack: Stack, page_size: int | None) -> AsyncIterator[Scene]:
    made = Scene()
    made.settings = CollectorSettings(retry_longest=0.2, snapshot_every=3600)
    timeouts = Timeouts(connect=5, read=20, wait=1)
    context = tls_context(str(stack.ca.certificate))
    made.vcenters = PyVmomiVCenters(context, port=stack.vcenter_port, timeouts=timeouts, page_size=page_size)
    async with made.neighbours():
        yield made


@pytest.fixture
def vcsim(scene: Scene, vcsim_factory: Callable[..., Vcsim]) -> Vcsim:
    """Two datacenters below folders, and three clusters in folders of the first."""
    secret = scene.secret.configuration
    server = vcsim_factory(HOST, password=secret.password_for(HOST), username=secret.username)
    server.add_datacenter(A, folder="region/site")
    server.add_datacenter(B, folder="region/other site/room")
    server.add_cluster(A, ONE, ["eph-1_hga", "eph-1_hgb", "nfs"], ["br-One", "br-more"], folder="hall/row/rack")
    server.add_cluster(A, TWO, ["eph-2"], ["br-two"], folder="hall/row")
    server.add_cluster(A, STORAGE, ["vvol"], folder="hall")
    return server


def there(vcsim: Vcsim) -> DnsChange:
    return present(vcsim.fqdn, Revision(1, 1), addresses=(vcsim.address,))


def looking_often(scene: Scene) -> None:
    """Rights that change are reported by no update."""
    scene.settings = scene.settings.model_copy(update={"snapshot_every": 0.3})


def units(inventory: Inventory) -> list[Unit]:
    """What is known."""
    return [cluster.unit for cluster in inventory.clusters]


def doubted(inventory: Inventory) -> list[Unit]:
    """What is unknown."""
    return [cluster.unit for cluster in inventory.unknown]


def production(zone: str, name: str) -> Unit:
    return Unit("cluster", zone, name)


async def doing(change: Callable[..., object], *args: object, **more: object) -> None:
    await asyncio.to_thread(change, *args, **more)


# -- folders and moves


async def test_folders_matter_neither_for_datacenters_nor_for_clusters(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        first = scene.last()
        assert units(first) == [
            production("qa-de-1a", ONE),
            production("qa-de-1a", TWO),
            Unit("storage", "qa-de-1a", STORAGE),
        ]
        await doing(vcsim.move_cluster, ONE, A)
        await doing(vcsim.move_cluster, TWO, A, "elsewhere/deep/down")
        await doing(vcsim.move_folder, "elsewhere", A, "hall")
        await doing(vcsim.rename_cluster, STORAGE, "storagebb004")
        await becomes(lambda: "storagebb004" in scene.known(), "the last change stated", SOON)
    assert len(scene.inventories()) == 2, "moves within a datacenter change nothing"
    assert scene.last().clusters[:2] == first.clusters[:2]


@pytest.mark.parametrize("restarted", [False, True], ids=["watched", "between two owners"])
async def test_a_cluster_that_changes_its_datacenter_leaves_one_unit_and_becomes_another_at_once(
    scene: Scene, vcsim: Vcsim, restarted: bool
) -> None:
    before, after = production("qa-de-1a", ONE), production("qa-de-1b", ONE)
    expected = {(ONE, "qa-de-1b"), (TWO, "qa-de-1a"), (STORAGE, "qa-de-1a")}

    def recorded() -> bool:
        return {(entry.cluster_name, entry.availability_zone) for entry in scene.collected().clusters} == expected

    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        if not restarted:
            await doing(vcsim.move_cluster, ONE, B, "new hall")
            await becomes(lambda: after in units(scene.last()), "moved", SOON)
            await becomes(recorded, "recorded", SOON)
    if restarted:
        await doing(vcsim.move_cluster, ONE, B, "new hall")
        async with scene.collector():
            await scene.say(there(vcsim))
            await becomes(lambda: after in units(scene.last()), "moved", SOON)
            await becomes(recorded, "recorded", SOON)
    for inventory in scene.inventories():
        assert [unit in units(inventory) for unit in (before, after)] in ([True, False], [False, True])
        assert not inventory.unknown


async def test_a_folder_that_goes_to_another_datacenter_takes_its_clusters_along(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        await doing(vcsim.move_folder, "row", B, "new hall")
        moved = [production("qa-de-1b", ONE), production("qa-de-1b", TWO), Unit("storage", "qa-de-1a", STORAGE)]
        await becomes(lambda: units(scene.last()) == moved, "moved", SOON)
        assert not scene.unknown()


async def test_a_datacenter_that_is_renamed_is_another_availability_zone(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        await doing(vcsim.rename_datacenter, A, "QA-DE-1C")
        await becomes(lambda: {unit.availability_zone for unit in units(scene.last())} == {"qa-de-1c"}, "moved", SOON)
        assert len(scene.known()) == 3
        assert not scene.unknown()


# -- names


async def test_clusters_of_one_name_are_told_apart_by_their_availability_zone(scene: Scene, vcsim: Vcsim) -> None:
    twin = await asyncio.to_thread(vcsim.add_cluster, B, ONE, ["eph-twin"], ["br-twin"])
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: len(scene.known()) == 4, "stated", SOON)
        by_unit = {cluster.unit: cluster for cluster in scene.last().clusters}
        assert by_unit[production("qa-de-1b", ONE)].moid == twin
        assert by_unit[production("qa-de-1b", ONE)].datastore_regex == "^eph-twin.*"
        assert by_unit[production("qa-de-1a", ONE)].bridge == "br-one"
        # In one availability zone nobody can say which is which: what there is stays, in both.
        await doing(vcsim.move_cluster, twin, A)
        await becomes(lambda: len(scene.last().unknown) == 2, "unknown", SOON)
        assert doubted(scene.last()) == [production("qa-de-1a", ONE), production("qa-de-1b", ONE)]
        assert all(twin in cluster.reason for cluster in scene.last().unknown)
        await doing(vcsim.rename_cluster, twin, "productionbb009")
        await becomes(lambda: not scene.unknown(), "known again", SOON)
    assert [unit.cluster for unit in units(scene.last())] == [ONE, TWO, "productionbb009", STORAGE]


async def test_datacenters_whose_names_differ_in_case_are_one_availability_zone(scene: Scene, vcsim: Vcsim) -> None:
    await doing(vcsim.add_datacenter, A.lower(), "region/site")
    await doing(vcsim.add_cluster, A.lower(), "productionbb004", ["eph-4"], ["br-four"])
    await doing(vcsim.add_cluster, A.lower(), ONE, ["eph-twin"], ["br-twin"])
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
    assert {unit.availability_zone for unit in units(scene.last())} == {"qa-de-1a"}
    assert (scene.known(), scene.unknown()) == ([TWO, "productionbb004", STORAGE], [ONE])


WRITTEN = {
    "escapes": "a%2fb%5cc%25d",
    "escapes in capitals": "a%2Fb%5Cc",
    "spaces and quotes": " b'\"<&>b ",
    "composed": unicodedata.normalize("NFC", "Z\u00fcrich-\u00c5"),
    "decomposed": unicodedata.normalize("NFD", "Z\u00fcrich-\u00c5"),
    "right to left": "\u05d0\u05d1-\u202e1\u202c",
    "emoji": "\U0001f680\U0001f468\u200d\U0001f469\u200d\U0001f467",
}


async def test_names_are_stated_as_the_vcenter_writes_them(scene: Scene, vcsim: Vcsim) -> None:
    for number, text in enumerate(WRITTEN.values()):
        await doing(vcsim.add_datacenter, f"DC-{text}", f"folder {text}")
        datastores = [f"eph-{text}-{number}{letter}" for letter in "xy"]
        await doing(vcsim.add_cluster, f"DC-{text}", f"production{text}", datastores, [f"br-{text}"], folder=text)
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: len(scene.known()) == 3 + len(WRITTEN), "stated", SOON)
    assert not scene.unknown()
    by_name = {cluster.cluster_name: cluster for cluster in scene.last().clusters}
    for number, text in enumerate(WRITTEN.values()):
        cluster = by_name[f"production{text}"]
        assert cluster.name == text
        assert cluster.availability_zone == f"dc-{text}".lower()
        assert cluster.datastore_regex == f"^eph-{text}-{number}.*"
        assert (cluster.bridge, cluster.physical) == (f"br-{text}".lower(), text.lower())


# -- size


@pytest.mark.parametrize("page_size", [None, 100], indirect=True)
async def test_a_large_cluster_is_stated_whole_and_its_record_is_small(scene: Scene, vcsim: Vcsim) -> None:
    datastores = [f"eph-large-{number:03}" for number in range(100)] + [f"vvol-{number:03}" for number in range(100)]
    networks = [f"segment-{number:03}" for number in range(297)] + ["br-Large", "br-second", "segment-last"]
    await doing(vcsim.add_cluster, B, "productionbb064", datastores, networks, hosts=64, mounting=1)
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: len(scene.known()) == 4, "stated", 60)
    assert not scene.unknown()
    (large,) = (cluster for cluster in scene.last().clusters if cluster.cluster_name == "productionbb064")
    assert (large.datastore_regex, large.bridge) == ("^eph-large-0.*", "br-large")
    (recorded,) = (entry for entry in scene.collected().clusters if entry.cluster_name == "productionbb064")
    assert len(recorded.members) == 101
    assert len(recorded.model_dump_json()) < 4096


# -- what vanishes while it is read


@pytest.mark.parametrize("reported", [False, True], ids=["left out", "reported"])
@pytest.mark.parametrize(
    ("vanishing", "regex", "bridge"),
    [
        (["eph-1_hgb"], "^eph-1_hga.*", "br-one"),
        (["nfs"], "^eph-1_hg.*", "br-one"),
        (["br-One"], "^eph-1_hg.*", "br-more"),
        (["eph-1_hga", "eph-1_hgb", "br-One", "br-more", "VM Network"], "^.*", None),
    ],
)
async def test_a_datastore_or_port_group_that_vanishes_while_it_is_read_costs_nothing_else(
    scene: Scene, vcsim: Vcsim, vanishing: list[str], regex: str, bridge: str | None, reported: bool
) -> None:
    vcsim.vanish(*vanishing, reported=reported)
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.inventories, "stated", SOON)
        await doing(vcsim.rename_cluster, STORAGE, "storagebb004")
        await becomes(lambda: "storagebb004" in scene.known(), "a later change stated", SOON)
    for inventory in scene.inventories():
        assert not inventory.unknown
        assert (inventory.clusters[0].cluster_name, inventory.clusters[0].datastore_regex) == (ONE, regex)
        assert inventory.clusters[0].bridge == bridge


async def test_a_datastore_that_vanishes_excuses_no_other_that_cannot_be_read(scene: Scene, vcsim: Vcsim) -> None:
    vcsim.make_unreadable({"eph-1_hga": ["name"]})
    vcsim.vanish("eph-1_hgb")
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.inventories, "stated", SOON)
        assert (scene.known(), scene.unknown()) == ([TWO, STORAGE], [ONE])


@pytest.mark.parametrize("reported", [False, True], ids=["left out", "reported"])
@pytest.mark.parametrize("recorded", [False, True], ids=["at the first reading", "after it was stated"])
async def test_a_cluster_that_vanishes_while_it_is_read_is_gone_and_no_other(
    scene: Scene, vcsim: Vcsim, recorded: bool, reported: bool
) -> None:
    if not recorded:
        vcsim.vanish(TWO, reported=reported)
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.inventories, "stated", SOON)
        if recorded:
            vcsim.vanish(TWO, reported=reported)
            await doing(vcsim.rename_cluster, STORAGE, "storagebb004")
        await becomes(lambda: TWO not in [*scene.known(), *scene.unknown()], "gone", SOON)
        await becomes(lambda: len(scene.collected().clusters) == 2, "forgotten", SOON)
    assert not scene.unknown()
    assert len(scene.last().clusters) == 2
    assert all(ONE in [cluster.cluster_name for cluster in inventory.clusters] for inventory in scene.inventories())


async def test_a_folder_that_vanishes_while_its_cluster_is_read_leaves_the_cluster_as_it_was(
    scene: Scene, vcsim: Vcsim
) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        before = scene.last()
        vcsim.vanish("rack")
        await doing(vcsim.rename_cluster, STORAGE, "storagebb004")
        await becomes(lambda: "storagebb004" in scene.known(), "stated", SOON)
        await becomes(lambda: len(scene.known()) == 3, "known again", SOON)
    for inventory in scene.inventories():
        assert before.clusters[0].unit in units(inventory) + doubted(inventory)
    assert scene.last().clusters[0] == before.clusters[0]


async def test_a_view_that_vanishes_is_made_anew(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        vcsim.vanish("eph-1_hgb", view=True)
        await doing(vcsim.rename_cluster, STORAGE, "storagebb004")
        await becomes(lambda: "storagebb004" in scene.known(), "stated", SOON)
    assert all(len(inventory.clusters) == 3 for inventory in scene.inventories())


# -- accounts that see only part of what there is


@pytest.mark.parametrize("watched", [True, False], ids=["while watched", "from the first look"])
async def test_an_account_that_sees_half_of_the_inventory_deletes_nothing_whoever_looks(
    scene: Scene, vcsim: Vcsim, watched: bool
) -> None:
    looking_often(scene)
    half = [moid for moid, name in vcsim.clusters().items() if name in (ONE, STORAGE)]
    async with scene.collector() as first:
        await scene.say(there(vcsim))
        await becomes(lambda: len(scene.known()) == 3, "stated", SOON)
        if watched:
            vcsim.hide(*half)
            await becomes(lambda: scene.unknown() == [ONE, STORAGE], "unknown", SOON)
            await doing(vcsim.rename_cluster, TWO, "productionbb005")
            await becomes(lambda: scene.known() == ["productionbb005"], "the other half goes on", SOON)
        # A fail-over: the next owner stands by already.
        async with scene.collector():
            if not watched:
                vcsim.hide(*half)
            await asyncio.to_thread(first.crash)
            await scene.say(there(vcsim))
            await becomes(lambda: scene.last().revision.epoch == 2, "the next owner states it", SOON)
            await becomes(lambda: scene.unknown() == [ONE, STORAGE], "unknown", SOON)
            # Renamed where nobody can see it: known under the new name once it can be seen, and not before.
            await doing(vcsim.rename_cluster, ONE, "productionbb006")
            await doing(vcsim.remove_cluster, STORAGE)
            await becomes(lambda: scene.unknown() == [ONE], "gone, with evidence", SOON)
            vcsim.hide()
            await becomes(lambda: not scene.unknown(), "known again", SOON)
    assert "productionbb006" in scene.known()
    assert ONE not in scene.known()
    for inventory in scene.inventories()[:-1]:
        assert production("qa-de-1a", ONE) in units(inventory) + doubted(inventory)


@pytest.mark.parametrize("hidden", ["eph-1_hgb", "br-One"])
async def test_a_list_that_was_cut_short_between_two_owners_is_told_from_one_that_shrank(
    scene: Scene, vcsim: Vcsim, hidden: str
) -> None:
    looking_often(scene)
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: len(scene.known()) == 3, "stated", SOON)
    before = scene.last().clusters[0]
    vcsim.hide(hidden)
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: scene.unknown() == [ONE], "unknown", SOON)
        assert hidden.startswith("eph") == ("Datastore" in scene.last().unknown[0].reason)
        vcsim.hide()
        await becomes(lambda: not scene.unknown(), "known again", SOON)
        assert scene.last().clusters[0] == before
    if hidden.startswith("eph"):
        await doing(vcsim.remove_datastore, hidden)
    else:
        await doing(vcsim.remove_portgroup, ONE, hidden)
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: scene.last().revision.epoch == 3, "stated anew", SOON)
        assert not scene.unknown()
    assert all(
        inventory.clusters[0] == before for inventory in scene.inventories()[:-1] if len(inventory.clusters) == 3
    )
    assert scene.last().clusters[0] != before


async def test_a_name_that_was_taken_from_a_cluster_nobody_can_see_is_not_given_to_another(
    scene: Scene, vcsim: Vcsim
) -> None:
    looking_often(scene)
    moids = {name: moid for moid, name in vcsim.clusters().items()}
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: len(scene.known()) == 3, "stated", SOON)
        vcsim.hide(moids[ONE])
        await becomes(lambda: scene.unknown() == [ONE], "unknown", SOON)
        await doing(vcsim.rename_cluster, TWO, ONE)
        await becomes(lambda: scene.unknown() == [ONE, TWO], "both unknown", SOON)
        assert scene.known() == [STORAGE]
        await doing(vcsim.rename_cluster, moids[ONE], "productionbb007")
        vcsim.hide()
        await becomes(lambda: scene.known() == [ONE, "productionbb007", STORAGE], "known again", SOON)
    assert scene.last().clusters[0].moid == moids[TWO]
