"""Sessions with a real vCenter (vcsim over TLS): one call reads everything, changes are pushed, and what fails is told
apart: unreachable, not answering, a wrong certificate, a refused password, a session that is over.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack
from tests.stack.certificates import CertificateAuthority
from tests.stack.vcsim import Vcsim
from vcenter_operator.collector.adapters.connection import tls_context
from vcenter_operator.collector.adapters.vcenter import PyVmomiVCenter, PyVmomiVCenters, Timeouts
from vcenter_operator.collector.core.model import ABSENT, Member, Members, SeenCluster, Unreadable, cluster_reference
from vcenter_operator.collector.ports import (
    CertificateRefused,
    Credentials,
    Endpoint,
    LoginRefused,
    NotAnswering,
    SessionEnded,
    Unreachable,
    VCenterError,
)
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.collector.wiring import real_vcenters
from vcenter_operator.common.errors import ConfigurationError

FQDN = "vc-a-0.cc.qa-de-1.cloud.sap"
QUICK = Timeouts(connect=1.0, read=2.0, wait=1)

pytestmark = pytest.mark.needs("vcsim", control=True)


@pytest.fixture
def vcsim(vcsim_factory: Callable[..., Vcsim]) -> Vcsim:
    server = vcsim_factory(FQDN, password="a password")
    server.add_datacenter("QA-DE-1A", folder="region/site")
    return server


@asynccontextmanager
async def session(vcsim: Vcsim, timeouts: Timeouts = QUICK, **more: Any) -> AsyncIterator[PyVmomiVCenter]:
    vcenters = PyVmomiVCenters(tls_context(str(vcsim.ca)), port=vcsim.port, timeouts=timeouts, **more)
    opened = await vcenters.log_on(endpoint(vcsim), credentials(vcsim))
    try:
        yield opened
    finally:
        await opened.close()


def endpoint(vcsim: Vcsim) -> Endpoint:
    return Endpoint(vcsim.fqdn, (vcsim.address,))


def credentials(vcsim: Vcsim, password: str | None = None) -> Credentials:
    return Credentials(vcsim.username, password or vcsim.password)


def names(members: Members) -> list[str | Unreadable]:
    assert not isinstance(members, Unreadable), members
    return [member.name for member in members]


async def read(opened: PyVmomiVCenter) -> dict[str, SeenCluster]:
    return {str(cluster.name): cluster for cluster in (await opened.snapshot()).clusters}


async def test_twenty_clusters_are_read_in_one_call(vcsim: Vcsim) -> None:
    for i in range(20):
        eph = [f"eph-bb{i:03}-{j}" for j in range(6)]
        vcsim.add_cluster("QA-DE-1A", f"productionbb{i:03}", datastores=eph, portgroups=["br-a"])
    async with session(vcsim) as opened:
        before = vcsim.calls()
        clusters = await read(opened)
        made = {name: count - before.get(name, 0) for name, count in vcsim.calls().items()}
        assert {name: count for name, count in made.items() if count} == {"RetrievePropertiesEx": 1}
        # The first report came in several pieces (more than 100 objects): none of them is left over as a change.
        assert not await opened.wait_for_change(0.5)
    assert sorted(clusters) == sorted(vcsim.clusters().values())
    assert {cluster.moid: cluster.name for cluster in clusters.values()} == vcsim.clusters()
    assert names(clusters["productionbb007"].datastores) == [f"eph-bb007-{j}" for j in range(6)]
    assert all(cluster.datacenter == "QA-DE-1A" for cluster in clusters.values())


async def test_a_reading_says_which_vcenter_it_is_of(vcsim: Vcsim) -> None:
    async with session(vcsim) as opened:
        instance = (await opened.snapshot()).instance
    assert instance
    vcsim.kill()
    vcsim.start()
    async with session(vcsim) as opened:
        assert (await opened.snapshot()).instance == instance, "a restart makes it no other"


async def test_an_answer_in_pages_is_followed_to_its_end(vcsim: Vcsim) -> None:
    for i in range(4):
        vcsim.add_cluster("QA-DE-1A", f"productionbb{i:03}", datastores=[f"eph-{i}"], portgroups=[f"br-{i}"])
    async with session(vcsim) as whole, session(vcsim, page_size=3) as paged:
        assert await paged.snapshot() == await whole.snapshot()
    assert vcsim.calls()["ContinueRetrievePropertiesEx"] > 3


async def test_hundreds_are_asked_for_their_names_in_one_call_and_only_what_is_gone_alone(vcsim: Vcsim) -> None:
    names = [f"eph-{number:03}" for number in range(120)]
    cluster = vcsim.add_cluster("QA-DE-1A", "productionbb001", names, ["br-a"])
    hidden = vcsim.add_cluster("QA-DE-1A", "productionbb002")
    async with session(vcsim, page_size=50) as opened:
        members = (await read(opened))["productionbb001"].datastores
        assert not isinstance(members, Unreadable)
        wanted = [member.reference for member in members]
        vcsim.hide("productionbb002", *names[:40])
        for gone in names[60:63]:
            vcsim.remove_datastore(gone)
        before = vcsim.calls()
        answers = await opened.ask([cluster_reference(hidden), *wanted, cluster_reference(cluster)])
        made = {name: count - before.get(name, 0) for name, count in vcsim.calls().items()}
    assert {name: count for name, count in made.items() if count} == {
        "RetrievePropertiesEx": 1 + 3,
        "ContinueRetrievePropertiesEx": 2,
    }
    by_name = {member.name: answers[member.reference] for member in members}
    assert all(isinstance(by_name[name], Unreadable) for name in names[:40])
    assert [by_name[name] for name in names[60:63]] == [ABSENT] * 3
    assert [by_name[name] for name in (*names[40:60], *names[63:])] == [*names[40:60], *names[63:]]
    assert answers[cluster_reference(cluster)] == "productionbb001"
    assert isinstance(answers[cluster_reference(hidden)], Unreadable)


async def test_whoever_is_logged_on_to_does_not_wait_for_the_logins_of_those_that_hang(
    vcsim: Vcsim, vcsim_factory: Callable[..., Vcsim]
) -> None:
    vcsim.add_cluster("QA-DE-1A", "productionbb001")
    other = vcsim_factory("vc-b-0.cc.qa-de-1.cloud.sap", password="a password")
    slow = Timeouts(connect=60, read=60, wait=1)
    vcenters = PyVmomiVCenters(tls_context(str(vcsim.ca)), port=vcsim.port, timeouts=slow)
    opened = await vcenters.log_on(endpoint(vcsim), credentials(vcsim))
    with other.paused():
        hung = [asyncio.create_task(vcenters.log_on(endpoint(other), credentials(other))) for _ in range(80)]
        try:
            await asyncio.sleep(0)
            async with asyncio.timeout(10):  # twenty rounds of four that are waited for a second each
                assert "productionbb001" in await read(opened)
        finally:
            for task in hung:
                task.cancel()
            await asyncio.wait(hung)
            await opened.close()


async def test_networks_keep_the_clusters_order_and_folders_may_lie_between(vcsim: Vcsim) -> None:
    vcsim.add_datacenter("Other")
    vcsim.add_cluster("QA-DE-1A", "productionbb001", portgroups=["br-z", "br-a", "br-m"], folder="a/b/c")
    vcsim.add_cluster("Other", "storage%2fx")
    async with session(vcsim) as opened:
        clusters = await read(opened)
    assert names(clusters["productionbb001"].networks) == vcsim.networks("productionbb001")
    assert names(clusters["productionbb001"].networks)[-3:] == ["br-z", "br-a", "br-m"]
    assert clusters["productionbb001"].datacenter == "QA-DE-1A"
    assert clusters["storage%2fx"].datacenter == "Other"
    assert names(clusters["storage%2fx"].datastores) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda vcsim: vcsim.add_cluster("QA-DE-1A", "productionbb002"),
        lambda vcsim: vcsim.rename_cluster("productionbb001", "retired"),
        lambda vcsim: vcsim.rename_portgroup("productionbb001", "br-a", "br-b"),
        lambda vcsim: vcsim.rename_datacenter("QA-DE-1A", "QA-DE-1B"),
    ],
    ids=["cluster added", "cluster renamed", "port group renamed", "datacenter renamed"],
)
async def test_a_change_is_pushed(vcsim: Vcsim, change: Callable[[Vcsim], object]) -> None:
    vcsim.add_cluster("QA-DE-1A", "productionbb001", portgroups=["br-a"])
    async with session(vcsim) as opened:
        before = await opened.snapshot()
        waiting = asyncio.create_task(opened.wait_for_change(30))
        await asyncio.to_thread(change, vcsim)
        assert await waiting
        assert await opened.snapshot() != before


async def test_a_port_group_deleted_after_it_was_listed_is_just_not_there(vcsim: Vcsim) -> None:
    vcsim.add_cluster("QA-DE-1A", "productionbb001", datastores=["eph-1"], portgroups=["br-a", "br-b"])
    vcsim.remove_portgroup("productionbb001", "br-a", dangling=True)
    async with session(vcsim) as opened:
        (cluster,) = (await opened.snapshot()).clusters
    assert "br-b" in names(cluster.networks)
    assert "br-a" not in names(cluster.networks)
    assert names(cluster.datastores) == ["eph-1"]


async def test_what_may_not_be_read_is_unreadable_and_the_rest_is_read(vcsim: Vcsim) -> None:
    for i in range(4):
        vcsim.add_cluster("QA-DE-1A", f"productionbb00{i}", datastores=[f"eph-{i}", f"nfs-{i}"], folder=f"folder-{i}")
    vcsim.make_unreadable({
        "productionbb001": ["datastore"], "nfs-2": ["name"], "productionbb003": ["network"], "folder-3": ["parent"],
    })  # fmt: skip
    async with session(vcsim) as opened:
        clusters = await read(opened)
    assert names(clusters["productionbb000"].datastores) == ["eph-0", "nfs-0"]
    faulty = clusters["productionbb001"]
    assert isinstance(faulty.datastores, Unreadable)
    assert "NoPermission" in faulty.datastores.reason
    readable, withheld = _members(clusters["productionbb002"].datastores)
    assert readable.name == "eph-2"
    assert isinstance(withheld.name, Unreadable)
    assert isinstance(clusters["productionbb003"].networks, Unreadable)
    assert isinstance(clusters["productionbb003"].datacenter, Unreadable)


def _members(members: Members) -> tuple[Member, ...]:
    assert not isinstance(members, Unreadable)
    return members


async def test_a_cluster_that_is_not_listed_tells_by_its_own_word_what_became_of_it(vcsim: Vcsim) -> None:
    moids = {name: vcsim.add_cluster("QA-DE-1A", name) for name in ("productiona", "productionb", "productionc")}
    vcsim.remove_cluster("productiona")
    vcsim.rename_cluster("productionb", "retired")
    vcsim.hide("productionc")
    gone, renamed, hidden = (cluster_reference(moids[name]) for name in ("productiona", "productionb", "productionc"))
    async with session(vcsim) as opened:
        assert sorted(await read(opened)) == ["retired"]
        answers = await opened.ask([gone, renamed, hidden])
    assert answers[gone] is ABSENT
    assert answers[renamed] == "retired"
    said = answers[hidden]
    assert isinstance(said, Unreadable)
    assert "NoPermission" in said.reason


async def test_an_account_without_rights_sees_nothing(vcsim: Vcsim) -> None:
    vcsim.add_cluster("QA-DE-1A", "productionbb001")
    vcsim.hide("*")
    async with session(vcsim) as opened:
        assert (await opened.snapshot()).clusters == ()
        vcsim.hide()
        assert len((await opened.snapshot()).clusters) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda opened: opened.snapshot(),
        lambda opened: opened.ask([cluster_reference("domain-c1")]),
        lambda opened: opened.wait_for_change(1),
    ],
    ids=["snapshot", "ask", "wait"],
)
async def test_a_session_that_was_ended_is_told_from_an_object_that_is_gone(
    vcsim: Vcsim, call: Callable[[PyVmomiVCenter], Any]
) -> None:
    async with session(vcsim) as opened:
        vcsim.expire_sessions()
        with pytest.raises(SessionEnded):
            await call(opened)


async def test_a_restarted_vcenter_knows_the_session_no_more(vcsim: Vcsim) -> None:
    moid = vcsim.add_cluster("QA-DE-1A", "productionbb001")
    async with session(vcsim) as opened:
        await asyncio.to_thread(vcsim.kill)
        await asyncio.to_thread(vcsim.start)
        with pytest.raises(VCenterError):
            await opened.snapshot()
        # Its objects are those of before: nothing of what the dead session says may count as evidence.
        with pytest.raises(VCenterError):
            await opened.ask([cluster_reference(moid)])
    async with session(vcsim) as opened:
        assert [cluster.moid for cluster in (await opened.snapshot()).clusters] == [moid]


async def test_a_vcenter_that_is_down_is_unreachable(vcsim: Vcsim) -> None:
    async with session(vcsim) as opened:
        await asyncio.to_thread(vcsim.kill)
        with pytest.raises(Unreachable):
            await opened.snapshot()
    with pytest.raises(Unreachable, match="refused"):
        async with session(vcsim):
            pass


async def test_a_vcenter_that_hangs_is_given_up_in_time(vcsim: Vcsim) -> None:
    async with session(vcsim) as opened:
        with vcsim.paused():
            for call in (opened.snapshot, lambda: opened.wait_for_change(60)):
                began = time.monotonic()
                with pytest.raises(NotAnswering):
                    await call()
                assert time.monotonic() - began < 10
            began = time.monotonic()
            await opened.close()
            assert time.monotonic() - began < 6
            with pytest.raises(NotAnswering):
                async with session(vcsim):
                    pass


async def test_a_call_that_is_cancelled_ends_at_once_and_logs_out(vcsim: Vcsim) -> None:
    async with session(vcsim, Timeouts(connect=60, read=60, wait=60)) as opened:
        waiting = asyncio.create_task(opened.wait_for_change(60))
        async with asyncio.timeout(10):
            while vcsim.calls()["WaitForUpdatesEx"] < 2:
                await asyncio.sleep(0.01)
        began = time.monotonic()
        waiting.cancel()
        await asyncio.wait([waiting])
        await opened.close()
        assert time.monotonic() - began < 1.9, "it had to be given up, rather than cut off"
    assert vcsim.calls()["Logout"] == 1


async def test_a_call_that_is_cancelled_just_as_it_ends_logs_out_too(vcsim: Vcsim) -> None:
    async with session(vcsim) as opened:
        reading = asyncio.create_task(opened.snapshot())
        await asyncio.sleep(0)
        time.sleep(1)  # noqa: ASYNC251 - the thread gets its answer, and the loop does not hear of it yet
        reading.cancel()
        await asyncio.wait([reading])
    assert vcsim.calls()["Logout"] == 1


async def test_an_answer_that_takes_too_long_is_not_waited_for(vcsim: Vcsim) -> None:
    async with session(vcsim) as opened:
        vcsim.delay({"RetrievePropertiesEx": 60_000})
        with pytest.raises(NotAnswering):
            await opened.snapshot()


async def test_an_answer_that_trickles_is_given_up_too(stack: Stack) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)

    pair = stack.ca.server("trickle.cc.qa-de-1.cloud.sap")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    async with await asyncio.start_server(trickle, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        timeouts = Timeouts(connect=0.2, read=0.2, wait=1)
        vcenters = PyVmomiVCenters(tls_context(str(stack.ca.certificate)), port=port, timeouts=timeouts)
        async with asyncio.timeout(10):
            with pytest.raises(NotAnswering):
                await vcenters.log_on(Endpoint("trickle.cc.qa-de-1.cloud.sap", ("127.0.0.1",)), Credentials("a", "b"))


HANGING = """
import asyncio, socket, time
from vcenter_operator.collector.adapters.connection import tls_context
from vcenter_operator.collector.adapters.vcenter import PyVmomiVCenters, Timeouts
from vcenter_operator.collector.ports import Credentials, Endpoint

{before}

async def main():
    vcenters = PyVmomiVCenters(tls_context(None), port={port}, timeouts=Timeouts(60, 60, 60))
    connecting = asyncio.create_task(vcenters.log_on(Endpoint("vc-a-0", ({address})), Credentials("a", "b")))
    await asyncio.wait([connecting], timeout=0.5)
    assert not connecting.done()
    print("hung", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("hung", ["vCenter", "resolver"])
def test_what_hangs_does_not_keep_the_process_alive(vcsim: Vcsim, hung: str) -> None:
    before, address = ("", f"'{vcsim.address}',")
    if hung == "resolver":
        before, address = ("socket.getaddrinfo = lambda *_, **__: time.sleep(60)", "")
    script = HANGING.format(before=before, port=vcsim.port, address=address)
    with vcsim.paused():
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "hung"), done.stderr
    assert time.monotonic() - began < 20


async def test_a_wrong_password_is_refused_and_named_without_showing_it(vcsim: Vcsim) -> None:
    vcenters = PyVmomiVCenters(tls_context(str(vcsim.ca)), port=vcsim.port, timeouts=QUICK)
    with pytest.raises(LoginRefused, match=vcsim.username) as refused:
        await vcenters.log_on(endpoint(vcsim), credentials(vcsim, "a wrong one"))
    assert "a wrong one" not in str(refused.value)
    assert "a wrong one" not in repr(credentials(vcsim, "a wrong one"))


async def test_a_certificate_of_an_unknown_authority_is_refused(vcsim: Vcsim, tmp_path: Path) -> None:
    stranger = CertificateAuthority(tmp_path / "ca", "somebody else").certificate
    vcenters = real_vcenters(CollectorSettings(vcenter_ca=stranger, vcenter_port=vcsim.port))
    with pytest.raises(CertificateRefused, match="certificate"):
        await vcenters.log_on(endpoint(vcsim), credentials(vcsim))


async def test_a_certificate_for_another_name_is_refused_whatever_the_address(vcsim: Vcsim) -> None:
    vcenters = real_vcenters(CollectorSettings(vcenter_ca=vcsim.ca, vcenter_port=vcsim.port))
    with pytest.raises(CertificateRefused, match=r"(?i)hostname mismatch"):
        await vcenters.log_on(Endpoint("vc-b-0.cc.qa-de-1.cloud.sap", (vcsim.address,)), credentials(vcsim))


async def test_verification_can_be_turned_off_and_says_so(vcsim: Vcsim, capsys: pytest.CaptureFixture[str]) -> None:
    vcenters = real_vcenters(CollectorSettings(vcenter_insecure=True, vcenter_port=vcsim.port))
    assert "NOT VERIFIED" in capsys.readouterr().out
    assert tls_context(None, verify=False).cert_store_stats()["x509"] == 0, "no CAs are loaded for nothing"
    opened = await vcenters.log_on(endpoint(vcsim), credentials(vcsim))
    await opened.close()


def test_a_bundle_that_is_none_is_refused_by_the_name_of_its_variable(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigurationError, match="VCENTER_OPERATOR_VCENTER_CA"):
        real_vcenters(CollectorSettings(vcenter_ca=tmp_path / "ca.pem"))


async def test_every_address_is_tried_and_without_any_the_resolver_asked(
    vcsim: Vcsim, monkeypatch: pytest.MonkeyPatch
) -> None:
    vcenters = PyVmomiVCenters(tls_context(str(vcsim.ca)), port=vcsim.port, timeouts=QUICK)
    opened = await vcenters.log_on(Endpoint(FQDN, ("127.0.250.250", vcsim.address)), credentials(vcsim))
    await opened.close()
    resolve = socket.getaddrinfo

    def resolved(host: Any, *rest: Any, **more: Any) -> Any:
        return resolve(vcsim.address if host == FQDN else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    opened = await vcenters.log_on(Endpoint(FQDN), credentials(vcsim))
    await opened.close()


MADE = {"CreateContainerView": "DestroyView", "CreateFilter": "DestroyPropertyFilter"}


async def test_views_filters_and_sessions_are_not_left_behind(vcsim: Vcsim) -> None:
    vcsim.add_cluster("QA-DE-1A", "productionbb001")
    async with session(vcsim) as opened:
        for readings in (1, 2, 3):
            await opened.snapshot()
            await opened.watch_anew()
            assert not await opened.wait_for_change(0.1), "what there is when it is made is no change"
            calls = vcsim.calls()
            for make, destroy in MADE.items():
                assert (calls[make], calls[destroy]) == (readings + 1, readings), "one is in use, made anew each time"
    assert vcsim.calls()["CreatePropertyCollector"] == 1
    assert vcsim.calls()["Logout"] == 1, "which ends all that was made in the session"
    assert not vcsim.sessions()


async def test_what_the_session_keeps_shows_every_change_as_a_new_session_would(vcsim: Vcsim) -> None:
    vcsim.add_datacenter("QA-DE-1B")
    vcsim.add_cluster("QA-DE-1A", "productionbb001", ["eph-1"], ["br-a"])
    changes: list[Callable[[], object]] = [
        lambda: vcsim.add_cluster("QA-DE-1B", "productionbb002", ["eph-2"], ["br-b"], folder="deep/down"),
        lambda: vcsim.add_datastore("productionbb001", "eph-3"),
        lambda: vcsim.rename_cluster("productionbb002", "productionbb003"),
        lambda: vcsim.rename_datacenter("QA-DE-1B", "QA-DE-1D"),
        lambda: vcsim.remove_datastore("eph-1"),
        lambda: vcsim.hide("productionbb001"),
        vcsim.hide,
        lambda: vcsim.remove_cluster("productionbb003"),
        lambda: vcsim.add_cluster("QA-DE-1A", "productionbb004", [], ["br-c"]),
    ]
    async with session(vcsim) as kept:
        for change in changes:
            before = await read(kept)
            await asyncio.to_thread(change)
            async with session(vcsim) as fresh:
                assert (after := await read(kept)) == await read(fresh)
            assert after != before
