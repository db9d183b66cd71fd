"""The collector with real vCenters (vcsim over TLS, with credentials): the incidents that concern it, as Inventories.

The bus, the record and the Secret are in memory; the vCenters, their certificates and passwords are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.stack import Stack
from tests.stack.vcsim import Vcsim
from tests.unit.collector.scene import HOST, OTHER, Scene, becomes, present
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.collector.wiring import real_vcenters
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import DnsChange

SOON = 20.0

pytestmark = pytest.mark.needs("vcsim", control=True)


@pytest.fixture
async def scene(stack: Stack) -> AsyncIterator[Scene]:
    made = Scene()
    made.settings = CollectorSettings(
        vcenter_port=stack.vcenter_port,
        vcenter_ca=stack.ca.certificate,
        vcenter_connect_timeout=1,
        vcenter_read_timeout=2,
        vcenter_wait=1,
        retry_longest=0.2,
        login_retry=0.2,
        login_pause=3600,
        snapshot_every=3600,
    )
    made.vcenters = real_vcenters(made.settings)
    async with made.neighbours():
        yield made


@pytest.fixture
def vcsim(scene: Scene, vcsim_factory: Callable[..., Vcsim]) -> Vcsim:
    return with_two_clusters(HOST, scene, vcsim_factory)


@pytest.fixture
def other(scene: Scene, vcsim_factory: Callable[..., Vcsim]) -> Vcsim:
    return with_two_clusters(OTHER, scene, vcsim_factory)


def with_two_clusters(host: str, scene: Scene, vcsim_factory: Callable[..., Vcsim]) -> Vcsim:
    password = scene.secret.configuration.password_for(host)
    server = vcsim_factory(host, password=password, username=scene.secret.configuration.username)
    server.add_datacenter("QA-DE-1A")
    server.add_cluster("QA-DE-1A", "productionbb001", ["eph-1_hga", "eph-1_hgb"], ["br-One"])
    server.add_cluster("QA-DE-1A", "storagebb002", ["vvol-2"], ["br-two"])
    return server


def there(vcsim: Vcsim, revision: Revision | None = None) -> DnsChange:
    return present(vcsim.fqdn, revision or Revision(1, 1), addresses=(vcsim.address,))


async def test_everything_the_templates_need_is_stated(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
    production, storage = scene.last().clusters
    assert production.model_dump(mode="json") == {
        "moid": production.moid,
        "role": "cluster",
        "cluster_name": "productionbb001",
        "name": "bb1",
        "availability_zone": "qa-de-1a",
        "datastore_regex": "^eph-1_hg.*",
        "datastore_hagroup_regex": r".*_hg(?P<hagroup>[ab])$",
        "bridge": "br-one",
        "physical": "one",
    }
    assert (storage.role.value, storage.name, storage.datastore_regex) == ("storage", "bb002", "^.*")
    assert vcsim.calls()["Logout"] == 1


async def test_clusters_that_come_go_and_change_their_name_are_stated_at_once(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        await asyncio.to_thread(vcsim.add_cluster, "QA-DE-1A", "productionbb003", ["eph-3"], ["br-three"])
        await becomes(lambda: "productionbb003" in scene.known() and not scene.unknown(), "added", SOON)
        await asyncio.to_thread(vcsim.rename_cluster, "productionbb003", "retired")
        await becomes(lambda: scene.known() == ["productionbb001", "storagebb002"], "renamed out", SOON)
        assert not scene.unknown()
        await asyncio.to_thread(vcsim.rename_cluster, "retired", "productionbb004")
        await becomes(lambda: "productionbb004" in scene.known(), "renamed in", SOON)
    revisions = [inventory.revision for inventory in scene.inventories()]
    assert revisions == sorted(set(revisions)), "each statement says something new"


async def test_what_reports_is_made_anew_though_there_is_always_something_to_report(scene: Scene, vcsim: Vcsim) -> None:
    """An account whose rights were widened sees more in a new view; a busy vCenter's was kept for ever."""
    scene.settings = scene.settings.model_copy(update={"snapshot_every": 1.0})
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        name, number, deadline = "productionbb001", 1, asyncio.get_running_loop().time() + SOON
        while vcsim.calls()["CreateContainerView"] < 3:
            assert asyncio.get_running_loop().time() < deadline, "the view is the first one still"
            number += 1
            await asyncio.to_thread(vcsim.rename_cluster, name, f"productionbb{number:03}")
            name = f"productionbb{number:03}"
            await becomes(lambda: name in scene.known(), "stated", SOON)  # noqa: B023 - at once
    calls = vcsim.calls()
    assert calls["CreatePropertyCollector"] == 1, "all in one session"
    assert calls["DestroyView"] >= 1, "none is left but the last, which goes with the session"


async def test_a_vcenter_that_hangs_blocks_no_other_and_is_taken_up_again(
    scene: Scene, vcsim: Vcsim, other: Vcsim
) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await scene.say(there(other))
        await becomes(lambda: scene.known() and scene.known(OTHER), "both stated", SOON)
        with vcsim.paused():
            await becomes(lambda: scene.shown("Connected")[0] == "NotAnswering", "shown", SOON)
            await asyncio.to_thread(other.rename_cluster, "storagebb002", "storagebb009")
            await becomes(lambda: "storagebb009" in scene.known(OTHER), "the other goes on", 5)
            stated = len(scene.inventories())
        await becomes(lambda: scene.shown("Connected")[0] == "LoggedOn", "taken up again", SOON)
        await asyncio.to_thread(vcsim.rename_cluster, "storagebb002", "storagebb008")
        await becomes(lambda: "storagebb008" in scene.known(), "its change stated", SOON)
    assert len(scene.inventories()) == stated + 1, "that it hung changed nothing"


async def test_a_vcenter_that_is_down_at_first_is_not_forgotten(scene: Scene, vcsim: Vcsim, other: Vcsim) -> None:
    await asyncio.to_thread(vcsim.kill)
    async with scene.collector():
        await scene.say(there(vcsim))
        await scene.say(there(other))
        await becomes(lambda: scene.known(OTHER), "the other stated", SOON)
        await becomes(lambda: scene.shown("Connected") == ("Unreachable", "Connection refused"), "shown", SOON)
        assert not scene.inventories()
        await asyncio.to_thread(vcsim.start)
        await becomes(scene.known, "stated", SOON)


async def test_a_restart_of_the_vcenter_changes_nothing(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        await asyncio.to_thread(vcsim.kill)
        await becomes(lambda: scene.shown("Connected")[0] == "Unreachable", "shown", SOON)
        await asyncio.to_thread(vcsim.start)
        await becomes(lambda: scene.shown("Connected")[0] == "LoggedOn", "logged on again", SOON)
        vcsim.expire_sessions()
        await asyncio.to_thread(vcsim.rename_cluster, "storagebb002", "storagebb008")
        await becomes(lambda: "storagebb008" in scene.known(), "a later change stated", SOON)
    assert [inventory.revision.sequence for inventory in scene.inventories()] == [1, 2]


async def test_a_refused_password_locks_no_account_and_a_new_one_is_used_at_once(scene: Scene, vcsim: Vcsim) -> None:
    vcsim.set_password("somebody changed it")
    logins = vcsim.calls()["Login"]
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: "3 times in a row" in scene.shown("Connected")[1], "shown", SOON)
        assert vcsim.calls()["Login"] == logins + 3
        scene.secret.set("changed")
        vcsim.set_password(scene.secret.configuration.password_for(HOST))
        await becomes(scene.known, "stated", SOON)


async def test_an_account_that_loses_its_rights_deletes_nothing(scene: Scene, vcsim: Vcsim) -> None:
    scene.settings = scene.settings.model_copy(update={"snapshot_every": 0.3})
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        vcsim.hide("*")
        await becomes(lambda: scene.unknown() == ["productionbb001", "storagebb002"], "unknown", SOON)
        assert not scene.known()
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: scene.last().revision.epoch == 2, "stated anew by the next owner", SOON)
        assert scene.unknown() == ["productionbb001", "storagebb002"]
        await asyncio.to_thread(vcsim.remove_cluster, "storagebb002")
        await becomes(lambda: scene.unknown() == ["productionbb001"], "gone, with evidence", SOON)
        vcsim.hide()
        await becomes(lambda: scene.known() == ["productionbb001"], "known again", SOON)


async def test_half_a_list_of_datastores_gives_no_wrong_pattern(scene: Scene, vcsim: Vcsim) -> None:
    scene.settings = scene.settings.model_copy(update={"snapshot_every": 0.3})
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        for hidden, unreadable in (
            (("eph-1_hgb",), {}),
            ((), {"eph-1_hgb": ["name"]}),
            ((), {"productionbb001": ["datastore"]}),
        ):
            vcsim.hide(*hidden)
            vcsim.make_unreadable(unreadable)
            await becomes(lambda: scene.unknown() == ["productionbb001"], "unknown", SOON)
            assert scene.known() == ["storagebb002"]
            vcsim.hide()
            vcsim.make_unreadable({})
            await becomes(lambda: "productionbb001" in scene.known(), "known again", SOON)
        await asyncio.to_thread(vcsim.remove_datastore, "eph-1_hgb")
        await becomes(lambda: scene.last().clusters[0].datastore_regex == "^eph-1_hga.*", "removed for good", SOON)


async def test_a_port_group_that_is_deleted_while_it_is_read_costs_nothing_else(scene: Scene, vcsim: Vcsim) -> None:
    await asyncio.to_thread(vcsim.add_portgroup, "productionbb001", "br-later")
    await asyncio.to_thread(vcsim.remove_portgroup, "productionbb001", "br-One", dangling=True)
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
    assert not scene.unknown()
    assert scene.last().clusters[0].bridge == "br-later"


async def test_a_vcenter_that_leaves_the_zone_is_logged_out_of(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        await scene.say(present(vcsim.fqdn, Revision(1, 2), present=False))
        await becomes(lambda: not scene.last().present, "stated gone", SOON)
        assert vcsim.calls()["Logout"] == 1
