"""What vCenters do wrong, on real ones (vcsim over TLS): how many logins, sessions and threads it costs, and what is
shown. A front answers the rubbish that vcsim cannot, and passes on everything else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.fakes.front import Front, Reply, endless, http_reply
from tests.stack import Stack
from tests.stack.certificates import CertificateAuthority
from tests.stack.vcsim import Vcsim
from tests.unit.collector.scene import HOST, OTHER, Scene, becomes, present
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.collector.wiring import real_vcenters
from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import DnsChange, Stage
from vcenter_operator.common.thumbprints import shown

SOON = 40.0
FRONT = "127.0.201.1"

pytestmark = pytest.mark.needs("vcsim", control=True)


@pytest.fixture
async def scene(stack: Stack) -> AsyncIterator[Scene]:
    made = Scene()
    configure(made, stack, vcenter_ca=stack.ca.certificate)
    async with made.neighbours():
        yield made


def configure(scene: Scene, stack: Stack, **settings: object) -> None:
    quick = CollectorSettings(
        vcenter_port=stack.vcenter_port,
        vcenter_connect_timeout=1,
        vcenter_read_timeout=3,
        vcenter_wait=1,
        retry_longest=0.4,
        login_retry=0.2,
        login_pause=3600,
        snapshot_every=3600,
    )
    scene.settings = quick.model_copy(update=settings)
    scene.vcenters = real_vcenters(scene.settings)


@pytest.fixture
def vcsim(scene: Scene, vcsim_factory: Callable[..., Vcsim]) -> Vcsim:
    return started(scene, vcsim_factory, HOST)


def started(scene: Scene, vcsim_factory: Callable[..., Vcsim], host: str) -> Vcsim:
    password = scene.secret.configuration.password_for(host)
    server = vcsim_factory(host, password=password, username=scene.secret.configuration.username)
    server.add_datacenter("QA-DE-1A")
    server.add_cluster("QA-DE-1A", "productionbb001", ["eph-1"], ["br-one"])
    return server


def there(vcsim: Vcsim, revision: Revision | None = None, address: str | None = None) -> DnsChange:
    return present(vcsim.fqdn, revision or Revision(1, 1), addresses=(address or vcsim.address,))


def is_shown(scene: Scene, reason: str, text: str = "", host: str = HOST) -> Callable[[], bool]:
    def check() -> bool:
        shown_reason, message = scene.shown("Connected", host)
        return shown_reason == reason and text in message

    return check


def made(vcsim: Vcsim, before: dict[str, int], *methods: str) -> tuple[int, ...]:
    after = vcsim.calls()
    return tuple(after.get(method, 0) - before.get(method, 0) for method in methods)


def threads(host: str = HOST) -> int:
    return sum(thread.name == f"vcenter {host}" for thread in threading.enumerate())


def made_front(stack: Stack, vcsim: Vcsim) -> Front:
    return Front(FRONT, vcsim.port, stack.ca.server(vcsim.fqdn), (vcsim.address, vcsim.port))


# -- hangs, restarts, sessions that end


async def test_one_that_hangs_is_only_probed_and_holds_one_thread_for_a_moment(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        before = vcsim.calls()
        with vcsim.paused():
            await becomes(is_shown(scene, "NotAnswering", "only probed"), "the circuit is open, and shown", SOON)
            idle = False
            for _ in range(300):
                assert threads() <= 1
                idle = idle or threads() == 0
                await asyncio.sleep(0.01)
            assert idle, "it holds a thread all the time"
        await becomes(is_shown(scene, "LoggedOn"), "taken up again", SOON)
        assert made(vcsim, before, "Login") == (1,)
        await asyncio.to_thread(vcsim.rename_cluster, "productionbb001", "productionbb002")
        await becomes(lambda: scene.known() == ["productionbb002"], "a later change stated", SOON)
    await becomes(lambda: threads() == 0, "its thread ended")


async def test_a_restart_costs_one_login_and_one_that_stays_away_none(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        await asyncio.to_thread(vcsim.kill)
        await becomes(is_shown(scene, "Unreachable", "only probed"), "the circuit is open, and shown", SOON)
        await asyncio.to_thread(vcsim.start)
        before = vcsim.calls()
        await becomes(is_shown(scene, "LoggedOn"), "logged on again", SOON)
        await becomes(lambda: vcsim.calls().get("WaitForUpdatesEx", 0) > 2, "watching", SOON)
        assert made(vcsim, before, "Login", "Logout") in ((1, 0), (0, 0))
    assert vcsim.calls()["Logout"] == 1
    assert len(scene.inventories()) == 1, "that it restarted changed nothing"


async def test_an_ended_session_is_replaced_by_one_other(scene: Scene, vcsim: Vcsim) -> None:
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        for _ in range(2):
            before = vcsim.calls()
            vcsim.expire_sessions()
            await becomes(lambda b=before: made(vcsim, b, "Login") == (1,), "logged on again", SOON)  # type: ignore[misc]
            await becomes(lambda b=before: made(vcsim, b, "WaitForUpdatesEx")[0] > 3, "watching", SOON)  # type: ignore[misc]
            assert made(vcsim, before, "Login") == (1,)


async def test_a_partition_that_is_lost_and_had_again_costs_no_login(scene: Scene, vcsim: Vcsim) -> None:
    """As when the broker restarts. The session goes on reporting changes."""
    before = vcsim.calls()
    service = scene.service(scene.outside)
    for epoch in (1, 2, 3):
        ownership = Ownership(Stage.COLLECTOR, 0, epoch)
        await service.take(ownership)
        await service.handle(there(vcsim), ownership)
        await becomes(lambda e=epoch: scene.known() and scene.last().revision.epoch == e, "stated", SOON)  # type: ignore[misc]
        new = f"productionbb00{epoch + 1}"
        await asyncio.to_thread(vcsim.rename_cluster, f"productionbb00{epoch}", new)
        await becomes(lambda n=new: scene.known() == [n], "its change stated", SOON)  # type: ignore[misc]
        if epoch < 3:
            ownership.end()
        await service.release(ownership)
    assert made(vcsim, before, "Login", "Logout") == (1, 1)
    assert not vcsim.sessions()


async def test_many_words_of_discovery_cost_one_login(scene: Scene, vcsim: Vcsim) -> None:
    before = vcsim.calls()
    async with scene.collector():
        for sequence in range(1, 20):
            await scene.say(there(vcsim, Revision(1, sequence)))
        await becomes(lambda: scene.known() and scene.last().zone.revision == Revision(1, 19), "stated", SOON)
        assert made(vcsim, before, "Login") == (1,)
    assert made(vcsim, before, "Login", "Logout") == (1, 1)


async def test_a_login_that_is_under_way_when_it_is_stopped_leaves_no_session(scene: Scene, vcsim: Vcsim) -> None:
    before = vcsim.calls()
    vcsim.delay({"Login": 1000})
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(lambda: made(vcsim, before, "Login") == (1,), "logging on", SOON)
        await scene.say(present(vcsim.fqdn, Revision(1, 2), present=False))
        await becomes(scene.inventories, "stated gone", SOON)
    assert made(vcsim, before, "Login", "Logout") == (1, 1)


# -- rubbish

HTML = b"<html><head><title>503</title></head><body>Please<br>wait</body></html>"
SOAP = b'<?xml version="1.0"?><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
STRANGE = SOAP + b'<RetrieveServiceContentResponse xmlns="urn:vim25"><returnval><x>1</x></returnval>'


async def slowly() -> AsyncIterator[bytes]:
    async for part in endless(SOAP, b"<x/>"):
        yield part
        await asyncio.sleep(0.2)


RUBBISH: dict[str, tuple[Callable[[], Reply], str]] = {
    "HTML": (lambda: http_reply(HTML, kind="text/html"), "Malformed"),
    "503": (lambda: http_reply(HTML, "503 Service Unavailable", "text/html"), "Unreachable"),
    "nothing": (lambda: http_reply(b""), "Malformed"),
    "no XML": (lambda: http_reply(b"\x00\xff\x16\x03rubbish"), "Malformed"),
    "SOAP cut off": (lambda: http_reply(SOAP), "Malformed"),
    "SOAP shorter than it claims": (lambda: http_reply(SOAP, length=9999), "Malformed"),
    "SOAP of something else": (
        lambda: http_reply(STRANGE + b"</RetrieveServiceContentResponse></e:Body></e:Envelope>"),
        "Malformed",
    ),
    "a fault nobody knows": (
        lambda: http_reply(SOAP + b"<e:Fault><x/></e:Fault></e:Body></e:Envelope>", "500 Internal Server Error"),
        "Failed",
    ),
    "no HTTP": (lambda: b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "Unreachable"),
    "without end": (lambda: endless(SOAP + b"<x>", b"y" * 2**20), "Unreachable"),
    "without end, slowly": (slowly, "NotAnswering"),
}


async def test_rubbish_in_the_middle_of_a_session_is_told_and_got_over(
    scene: Scene, stack: Stack, vcsim: Vcsim
) -> None:
    async with made_front(stack, vcsim).running() as before, scene.collector():
        await scene.say(there(vcsim, address=FRONT))
        await becomes(scene.known, "stated", SOON)
        for kind, (rubbish, reason) in RUBBISH.items():
            before.rubbish = rubbish()
            await becomes(lambda r=reason: scene.shown("Connected")[0] == r, f"{kind}: {reason} is shown", SOON)  # type: ignore[misc]
            before.rubbish = None
            await becomes(is_shown(scene, "LoggedOn"), f"{kind}: got over", SOON)
        assert len(scene.inventories()) == 1, "what was rubbish changed nothing"
        await asyncio.to_thread(vcsim.rename_cluster, "productionbb001", "productionbb002")
        await becomes(lambda: scene.known() == ["productionbb002"], "a later change stated", SOON)
    await becomes(lambda: threads() == 0, "no thread is left")


@pytest.mark.parametrize("plain", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 99, b""])
async def test_rubbish_in_the_place_of_tls_is_told_and_got_over(
    scene: Scene, stack: Stack, vcsim: Vcsim, plain: bytes
) -> None:
    before = made_front(stack, vcsim)
    async with scene.collector():
        async with before.running(plain):
            await scene.say(there(vcsim, address=FRONT))
            await becomes(is_shown(scene, "Unreachable", "only probed"), "shown", SOON)
        async with before.running():
            await becomes(scene.known, "stated", SOON)


async def test_one_that_breaks_after_each_login_is_logged_on_to_ever_more_rarely(
    scene: Scene, stack: Stack, vcsim: Vcsim
) -> None:
    """Its sessions are ended too: a vCenter has room for a limited number of them."""
    scene.settings = scene.settings.model_copy(update={"retry_longest": 60.0})
    before = vcsim.calls()
    async with scene.collector():
        vcsim.make_unreadable({})
        vcsim.delay({"CreateFilter": 60_000})
        await scene.say(there(vcsim))
        await becomes(lambda: made(vcsim, before, "Logout")[0] >= 2, "two sessions were given up, and ended", SOON)
        vcsim.delay({})
        await becomes(scene.known, "stated", SOON)
        logins, logouts = made(vcsim, before, "Login", "Logout")
        assert logins == logouts + 1
    assert made(vcsim, before, "Login") == made(vcsim, before, "Logout")


# -- passwords


async def test_a_changed_password_costs_one_login_and_leaves_no_session(scene: Scene, vcsim: Vcsim) -> None:
    before = vcsim.calls()
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        vcsim.set_password(scene.secret.configuration.password_for(HOST) + "?")
        scene.secret.put(password="another seed")
        vcsim.set_password(scene.secret.configuration.password_for(HOST))
        await becomes(lambda: made(vcsim, before, "Login") == (2,), "logged on with the new one", SOON)
        await becomes(lambda: made(vcsim, before, "CreateFilter") == (2,), "accepted", SOON)
        assert made(vcsim, before, "Login", "Logout") == (2, 1)
    assert made(vcsim, before, "Login", "Logout") == (2, 2)


async def test_refused_logins_are_counted_across_owners_and_interludes(scene: Scene, vcsim: Vcsim) -> None:
    vcsim.refuse_logins()
    before = vcsim.calls()
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(is_shown(scene, "LoginRefused", "3 times in a row"), "shown", SOON)
    for epoch in (2, 3):
        async with scene.collector():  # the next owner, at another address of the same vCenter
            await scene.say(there(vcsim, Revision(epoch, 1)))
            await scene.say(present(HOST, Revision(epoch, 2), addresses=(vcsim.address, "127.0.200.9")))
            await becomes(lambda e=epoch: scene.outside is not None and owner_knows(scene, e), "known", SOON)  # type: ignore[misc]
            await asyncio.sleep(1)  # in which one that counts anew would have tried
            assert made(vcsim, before, "Login") == (3,)
    # The pause is over, but the vCenter is away when it is; back again, it is refused once, and rests once more.
    scene.settings = scene.settings.model_copy(update={"login_pause": 0.1})
    await asyncio.to_thread(vcsim.kill)
    async with scene.collector():
        await scene.say(there(vcsim, Revision(5, 1)))
        await becomes(is_shown(scene, "Unreachable"), "the interlude", SOON)
    scene.settings = scene.settings.model_copy(update={"login_pause": 3600})
    vcsim.password = "nobody knows it"
    await asyncio.to_thread(vcsim.start)
    before = vcsim.calls()
    refused = scene.collected().refused
    assert refused is not None
    async with scene.collector():
        await scene.say(there(vcsim, Revision(6, 1)))
        await asyncio.sleep(1)
        assert made(vcsim, before, "Login") == (0,), "it goes on resting"
        scene.secret.put(password="yet another")
        await becomes(lambda: made(vcsim, before, "Login") == (3,), "another password is tried three times", SOON)


def owner_knows(scene: Scene, epoch: int) -> bool:
    return scene.epochs.epochs["collector-0"] >= epoch


# -- certificates


def thumbprint(stack: Stack, host: str) -> str:
    """As `openssl x509 -fingerprint -sha256` prints it, of the certificate that the stack made for the host."""
    pem = (stack.ca.certificate.parent / f"{host}.pem").read_text()
    return shown(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest())


async def test_a_pinned_certificate_needs_no_authority_and_no_other_is_taken(
    scene: Scene, stack: Stack, vcsim: Vcsim, vcsim_factory: Callable[..., Vcsim], tmp_path: Path
) -> None:
    stranger = CertificateAuthority(tmp_path / "ca", "somebody else").certificate
    configure(scene, stack, vcenter_ca=stranger)
    other = started(scene, vcsim_factory, OTHER)
    right, wrong = thumbprint(stack, HOST), ":".join(["AB"] * 32)
    scene.secret.put(vcenter_thumbprints=json.dumps({HOST: right}))
    before, others = vcsim.calls(), other.calls()
    async with scene.collector():
        await scene.say(there(vcsim))
        await scene.say(there(other))
        await becomes(scene.known, "stated", SOON)
        await becomes(is_shown(scene, "CertificateRefused", host=OTHER), "the authority counts for others", SOON)
        scene.secret.put(vcenter_thumbprints=json.dumps({HOST: wrong, OTHER: [wrong, thumbprint(stack, OTHER)]}))
        await becomes(lambda: scene.known(OTHER), "a thumbprint that was added counts at once", SOON)
        await becomes(is_shown(scene, "CertificateRefused", right), "what it has is shown", SOON)
        assert wrong in scene.shown("Connected")[1], "and what was expected"
        await becomes(lambda: made(vcsim, before, "Logout") == (1,), "its session was ended", SOON)
        assert made(vcsim, before, "Login") == (1,), "no password was sent to it"
        scene.secret.put(vcenter_thumbprints=json.dumps({HOST: [right.lower().replace(":", "")]}))
        await becomes(lambda: made(vcsim, before, "Login") == (2,), "logged on again without a restart", SOON)
        await becomes(is_shown(scene, "CertificateRefused", host=OTHER), "one that was taken out counts no more", SOON)
    assert made(other, others, "Login", "Logout") == (1, 1)


async def test_a_refused_certificate_is_looked_at_rarely(scene: Scene, stack: Stack, vcsim: Vcsim) -> None:
    scene.settings = scene.settings.model_copy(
        update={
            "vcenter_thumbprints": {HOST: frozenset({"ab" * 32})},
            "retry_longest": 3600.0,
            "vcenter_insecure": True,
        }
    )
    scene.vcenters = real_vcenters(scene.settings)
    async with made_front(stack, vcsim).running() as before, scene.collector():
        await scene.say(there(vcsim, address=FRONT))
        await becomes(is_shown(scene, "CertificateRefused", "is pinned"), "refused, insecure or not", SOON)
        await asyncio.sleep(3)
        assert (before.connections, before.calls) == (1, []), "tried again and again"


async def test_insecure_is_logged_once_however_often_it_matters(
    scene: Scene, stack: Stack, vcsim: Vcsim, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(scene, stack, vcenter_insecure=True)
    async with scene.collector():
        await scene.say(there(vcsim))
        await becomes(scene.known, "stated", SOON)
        before = vcsim.calls()
        vcsim.expire_sessions()
        await becomes(lambda: made(vcsim, before, "Login") == (1,), "logged on again", SOON)
    assert capsys.readouterr().out.count("NOT VERIFIED") == 1
