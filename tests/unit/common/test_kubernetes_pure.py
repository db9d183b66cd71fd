"""What needs no API server: paths, what answers mean, the state under a watch, surroundings, records as documents."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.client.exceptions import ApiException

from tests.records import APPLIED, COLLECTED, DISCOVERED, HOST, LATER, NOW, SECTIONS
from vcenter_operator.common.configuration import SECRET_NAME
from vcenter_operator.common.errors import (
    ConfigurationError,
    OperatorError,
    PermanentError,
    StaleRecord,
    TransientError,
)
from vcenter_operator.common.kubernetes import client
from vcenter_operator.common.kubernetes.api import Api, Listing, Resource
from vcenter_operator.common.kubernetes.crds import definitions, definitions_yaml
from vcenter_operator.common.kubernetes.errors import (
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    Rejected,
    Unavailable,
    Unreachable,
    translated,
)
from vcenter_operator.common.kubernetes.watching import _State
from vcenter_operator.common.labels import applyset_id
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.record.document import (
    highest_epoch,
    record_of,
    section_status,
    states_already,
    status_with,
)
from vcenter_operator.common.record.overlay import Overlay
from vcenter_operator.common.record.port import (
    Section,
)
from vcenter_operator.common.secret import SecretConfiguration, values_of
from vcenter_operator.common.settings import Settings
from vcenter_operator.common.surroundings import Surroundings
from vcenter_operator.common.watching import Snapshot, version_of


def resource(status: dict[str, Any]) -> dict[str, Any]:
    # through JSON, as an API server would give it back
    stored: dict[str, Any] = json.loads(
        json.dumps({"metadata": {"name": HOST, "resourceVersion": "5", "uid": "u"}, "status": status})
    )
    return stored


def test_paths_of_collections_objects_and_subresources() -> None:
    assert Resource("", "v1", "secrets", namespace="a").path() == "/api/v1/namespaces/a/secrets"
    assert Resource("apps", "v1", "deployments").path() == "/apis/apps/v1/deployments"
    assert Resource("apps", "v1", "deployments").path("x", namespace="n") == "/apis/apps/v1/namespaces/n/deployments/x"
    assert Resource("g", "v1", "vcenters", "n").path("h", "status") == "/apis/g/v1/namespaces/n/vcenters/h/status"
    assert Resource("r", "v1", "clusterroles").path("system:a/b") == "/apis/r/v1/clusterroles/system%3Aa%2Fb"


def test_applyset_id_is_what_kubectl_computes() -> None:
    # printf 'vc-a-0.cc.example.monsoon3.VCenter.vcenter-operator.stable.sap.cc' | openssl dgst -sha256 -binary
    #   | basenc --base64url | tr -d =
    expected = "applyset-Db2zUtvzaq3ISP-WL2m3-HslNDKfWmJevY4ttuoYbeI-v1"
    assert applyset_id("vc-a-0.cc.example", "monsoon3") == expected


def answer(status: int, **body: Any) -> ApiException:
    error = ApiException(status=status, reason="phrase")
    vars(error)["body"] = json.dumps(body) if body else None
    return error


@pytest.mark.parametrize(
    ("raised", "kind", "transient"),
    [
        (answer(403, message="no", reason="Forbidden"), Forbidden, True),
        (answer(409, message="changed", reason="Conflict"), Conflict, True),
        (answer(410, reason="Expired"), Expired, True),
        (answer(429), Unavailable, True),
        (answer(500, message="etcdserver: leader changed"), Unavailable, True),
        (
            answer(500, message="failed to create typed patch object: .spec.x: field not declared in schema"),
            Rejected,
            False,
        ),
        (answer(500, message="failed to create typed patch object: .d: expected string, got &{x}"), Rejected, False),
        (answer(503), Unavailable, True),
        (answer(422, message="invalid", reason="Invalid"), Rejected, False),
        (answer(400, message="no JSON"), Rejected, False),
        (aiohttp.ServerDisconnectedError(), Unreachable, True),
        (ConnectionRefusedError(111, "refused"), Unreachable, True),
        (TimeoutError(), Unreachable, True),
    ],
)
def test_every_failure_has_one_meaning(raised: Exception, kind: type[ApiError], transient: bool) -> None:
    with pytest.raises(kind) as caught, translated("apply /some/path"):
        raise raised
    assert isinstance(caught.value, TransientError) is transient
    assert isinstance(caught.value, PermanentError) is not transient
    assert str(caught.value).startswith("apply /some/path: ")
    assert caught.value.status == getattr(raised, "status", 0)


def test_a_server_that_names_a_delay_gets_it() -> None:
    with pytest.raises(Unavailable) as caught, translated("get"):
        raise answer(429, details={"retryAfterSeconds": 7})
    assert caught.value.retry_after == 7


def test_an_error_about_a_secret_repeats_no_value() -> None:
    causes = [{"field": "data.password", "message": "Invalid value: hunter2"}]
    with pytest.raises(Rejected) as caught, translated("apply", secret=True):
        raise answer(422, message="data.password: Invalid value: hunter2", reason="Invalid", details={"causes": causes})
    assert "hunter2" not in str(caught.value)
    assert "data.password" in str(caught.value)


def item(name: str, version: int, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": name, "resourceVersion": str(version), **metadata}}


def test_a_list_that_was_overtaken_by_the_watch_does_not_bring_back_the_past() -> None:
    state = _State()
    assert state.listed(Listing([item("a", 3)], 10))
    assert state.happened("MODIFIED", item("a", 15))
    assert state.happened("DELETED", item("a", 16))
    assert not state.listed(Listing([item("a", 3)], 12)), "made before the deletion, it arrived after it"
    assert state.items == {}
    assert state.position == 16


def test_events_that_a_fresh_list_holds_already_are_passed_over() -> None:
    state = _State()
    state.listed(Listing([], 10))
    assert state.listed(Listing([item("a", 19)], 20))
    assert not state.happened("DELETED", item("a", 15)), "older than the list, which has a again"
    assert state.happened("DELETED", item("a", 21))
    assert state.items == {}


def test_the_position_never_goes_back_and_the_content_follows_a_server_that_was_set_back() -> None:
    state = _State()
    state.listed(Listing([item("a", 90)], 100))
    assert state.listed(Listing([item("b", 5)], 50), anyhow=True)
    assert [name for _, name in state.items] == ["b"]
    assert state.happened("MODIFIED", item("b", 51))
    assert state.position == 100


def test_a_status_changes_neither_version_nor_fingerprint_but_a_new_template_of_the_same_name_does() -> None:
    written, status_written = item("a", 3, uid="u", generation=1), item("a", 4, uid="u", generation=1)
    edited, made_anew = item("a", 5, uid="u", generation=2), item("a", 6, uid="v", generation=1)
    assert version_of(written) == version_of(status_written)
    assert len({version_of(written), version_of(edited), version_of(made_anew)}) == 3
    assert Snapshot({("n", "a"): written}, 1).fingerprint == Snapshot({("n", "a"): status_written}, 9).fingerprint
    assert Snapshot({("n", "a"): written}, 1).fingerprint != Snapshot({("n", "a"): edited}, 1).fingerprint
    assert Snapshot({("n", "a"): item("a", 3)}, 1).fingerprint != Snapshot({("n", "a"): item("a", 4)}, 1).fingerprint


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.stage)
def test_a_section_survives_being_stored(section: Section) -> None:
    status = section_status({}, section, NOW)
    record = record_of(resource(status))
    assert section in (record.discovered, record.collected, record.rendered, record.applied)
    assert record.version == "5"
    assert states_already(resource(status)["status"], section_status(status, section, LATER), section.stage)


def test_a_record_reads_well() -> None:
    status = section_status({}, APPLIED, NOW)
    assert status["applier"]["actedOn"]["zone"] == {"revision": "3.4", "serial": 2**32 - 1}
    assert status["applier"]["held"] == ["apps/Deployment/monsoon3/nova-compute-bb001"]
    assert status["applier"]["settledTemplates"] == {"monsoon3/some_template.with-dots": 2**47}
    assert section_status({}, COLLECTED, NOW)["collector"]["clusterCount"] == 1


def test_the_time_of_a_transition_stays_until_the_status_changes() -> None:
    def since(status: dict[str, Any]) -> dict[str, str]:
        return {condition["type"]: condition["lastTransitionTime"] for condition in status["conditions"]}

    at_first, later = "2030-01-02T03:04:05Z", "2030-01-02T04:00:00Z"
    first = status_with({}, APPLIED, NOW)
    reworded = APPLIED.conditions[1].model_copy(update={"message": "2 deletions are held"})
    second = status_with(first, APPLIED.model_copy(update={"conditions": (reworded,)}), LATER)
    assert since(second) == {"DeletionHeld": at_first, "Ready": at_first}
    released = reworded.model_copy(update={"status": "False"})
    third = status_with(second, APPLIED.model_copy(update={"conditions": (released,)}), LATER)
    assert since(third) == {"DeletionHeld": later, "Ready": later}


def test_a_stage_leaves_what_others_wrote() -> None:
    status = status_with(status_with(status_with({}, DISCOVERED, NOW), APPLIED, NOW), COLLECTED, NOW)
    without = status_with(status, APPLIED.model_copy(update={"conditions": ()}), LATER)
    record = record_of(resource(without))
    assert record.discovered == DISCOVERED
    assert record.collected == COLLECTED
    assert record.applied is not None
    assert record.applied.conditions == ()


def test_fields_of_a_later_version_are_passed_over_and_a_broken_section_is_named() -> None:
    status = section_status({}, DISCOVERED, NOW)
    status["discovery"]["ofALaterVersion"] = {"x": 1}
    assert record_of(resource(status)).discovered == DISCOVERED
    status["discovery"]["revision"] = "yesterday"
    status |= section_status({}, COLLECTED, NOW)
    damaged: list[Any] = [{"revision": "yesterday"}, [], {"revision": "1.1", "conditionTypes": 5}]
    for broken in damaged:
        record = record_of(resource({**status, "discovery": broken}))
        assert (record.discovered, record.collected) == (None, COLLECTED), "the other sections count"
        record.check(Stage.COLLECTOR)
        with pytest.raises(PermanentError, match=rf"VCenter {HOST}: status.discovery"):
            record.check(Stage.DISCOVERY)


def test_the_highest_epoch_of_a_record_is_found_whatever_else_is_in_it() -> None:
    status: dict[str, Any] = {}
    for section in SECTIONS:
        status |= section_status(status, section, NOW)
    assert highest_epoch(resource(status)) == 12
    assert highest_epoch(resource({"collector": {"revision": "a.b"}, "discovery": {"revision": "7.1"}})) == 7
    assert highest_epoch({"metadata": {}}) == 0


def _schema_misses(schema: dict[str, Any], value: Any, where: str) -> list[str]:
    if isinstance(value, dict):
        known = schema.get("properties", {})
        extra = schema.get("additionalProperties")
        missing = [f"{where}.{name}" for name in value if name not in known and not extra]
        for name, inner in value.items():
            missing += _schema_misses(known.get(name) or extra or {}, inner, f"{where}.{name}")
        return missing
    if isinstance(value, list):
        return [miss for inner in value for miss in _schema_misses(schema.get("items", {}), inner, where)]
    return []


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.stage)
def test_the_schema_knows_every_field_that_a_stage_writes(section: Section) -> None:
    """The API server drops what the schema does not name, in silence."""
    (crd,) = [crd for crd in definitions() if crd["spec"]["names"]["kind"] == "VCenter"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    unset = {name for name in type(section).model_fields if not getattr(section, name) and name != "conditions"}
    assert not unset, "the example has to set every field, or this test proves nothing"
    assert _schema_misses(schema, section_status({}, section, NOW), "status") == []


def test_definitions_are_yaml_that_can_be_applied_by_hand() -> None:
    text = definitions_yaml()
    assert text.count("kind: CustomResourceDefinition") == 3
    assert "&id" not in text


async def test_a_dry_run_sees_its_own_writes_and_nobody_else_does() -> None:
    below = Overlay()
    await below.write(HOST, DISCOVERED)
    above = Overlay(below)
    seen = await above.get(HOST)
    assert seen is not None
    written = await above.write(HOST, COLLECTED, version=seen.version)
    assert (written.discovered, written.collected) == (DISCOVERED, COLLECTED)
    assert (await above.write(HOST, COLLECTED, version=written.version)).version == written.version
    with pytest.raises(StaleRecord):
        await above.write(HOST, APPLIED, version=seen.version)
    other = await above.write("vc-b-0.cc.example", DISCOVERED)
    assert [record.host for record in await above.list()] == [HOST, other.host]
    assert [(record.host, record.collected) for record in await below.list()] == [(HOST, None)]


def test_search_domain_is_the_last_of_the_last_line() -> None:
    text = "search wrong.example\nnameserver 10.0.0.1\nsearch monsoon3.svc.kube cc.qa-de-1.cloud.sap\noptions ndots:5\n"
    assert client.search_domain(text) == "cc.qa-de-1.cloud.sap"
    assert client.search_domain("nameserver 10.0.0.1\n") is None


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a pod finds."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.delenv("SERVICE_DOMAIN", raising=False)
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("there")
    (tmp_path / "namespace").write_text("vcenter-operator\n")
    (tmp_path / "resolv.conf").write_text("search svc.cluster.local cc.qa-de-1.cloud.sap.\n")
    monkeypatch.setattr(client, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setattr(client, "RESOLV_CONF", tmp_path / "resolv.conf")
    return tmp_path


@pytest.mark.usefixtures("service_account")
def test_surroundings_in_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = Configuration()
    found = client._inside(configuration, Settings.load())
    assert found == Surroundings("vcenter-operator", "qa-de-1", "cc.qa-de-1.cloud.sap", incluster=True)
    assert configuration.host == "https://10.0.0.1:443"
    assert configuration.verify_ssl
    monkeypatch.setenv("SERVICE_DOMAIN", "vcenters.example")
    assert client._inside(Configuration(), Settings.load(namespace="mine")) == Surroundings(
        "mine", "qa-de-1", "vcenters.example", incluster=True
    )


def test_a_pod_without_a_search_domain_is_told_what_to_set(service_account: Path) -> None:
    (service_account / "resolv.conf").write_text("nameserver 10.0.0.1\n")
    with pytest.raises(ConfigurationError, match="SERVICE_DOMAIN"):
        client._inside(Configuration(), Settings.load())


def kubeconfig(path: Path, cluster: str, server: str = "https://api.example:6443", **user_has: str) -> str:
    entry = {"name": cluster, "cluster": {"server": server}}
    context = {"name": "c", "context": {"cluster": cluster, "user": "u"}}
    user = {"name": "u", "user": user_has or {"token": "t"}}
    config = {"current-context": "c", "clusters": [entry], "contexts": [context], "users": [user]}
    path.write_text(yaml.safe_dump(config))
    return str(path)


async def test_surroundings_outside_by_the_cluster_of_the_current_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("SERVICE_DOMAIN", raising=False)
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path / "good", "s-qa-de-1-admin"))
    async with client.connect(Settings.load()) as (_, found):
        assert found == Surroundings("monsoon3", "qa-de-1", "cc.qa-de-1.cloud.sap", incluster=False)
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path / "elsewhere", "minikube"))
    with pytest.raises(ConfigurationError, match="minikube"):
        async with client.connect(Settings.load()):
            pass
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match=r"absent.*KUBECONFIG"):
        async with client.connect(Settings.load()):
            pass


@asynccontextmanager
async def refusing() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that refuses whatever it is asked. Its port, and what came."""
    came: list[bytes] = []

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(noted, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], came


async def refusal() -> str:
    """What the server that KUBECONFIG names, or whoever is in front of it, says to a request."""
    async with client.connect(Settings.load()) as (made, _):
        with pytest.raises(OperatorError) as caught:
            await Api(made, timeout=5.0).get("/version")
    return str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "exempt", "asked"),
    [
        ("http://127.0.0.1:{port}", "elsewhere", True),
        ("127.0.0.1:{port}", "", True),
        ("http://127.0.0.1:{port}", "elsewhere,127.0.0.1", False),
        ("https://127.0.0.1:{port}", "", False),
    ],
)
async def test_the_proxy_that_the_environment_names_is_taken(
    proxy: str, exempt: str, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path / "config", "qa-de-1", "https://127.0.0.1:1"))
    async with refusing() as (port, came):
        monkeypatch.setenv("https_proxy", proxy.format(port=port))
        monkeypatch.setenv("no_proxy", exempt)
        await refusal()
    assert {each.splitlines()[0] for each in came} == ({b"CONNECT 127.0.0.1:1 HTTP/1.1"} if asked else set())


async def test_the_login_at_a_proxy_is_sent_and_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path / "config", "qa-de-1", "https://127.0.0.1:1"))
    monkeypatch.setenv("no_proxy", "")
    async with refusing() as (port, came):
        monkeypatch.setenv("https_proxy", f"http://somebody:hunter2@127.0.0.1:{port}")
        said = await refusal()
    assert any(b"Proxy-Authorization: Basic c29tZWJvZHk6aHVudGVyMg==" in each for each in came)
    assert "407" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("wrong", ["http://somebody:p#ss@proxy:3128", "http://some%3Abody:hunter2@proxy:3128"])
async def test_a_proxy_that_is_no_url_is_told_without_its_login(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path / "config", "qa-de-1"))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", wrong)
    with pytest.raises(ConfigurationError, match="proxy-url of the kubeconfig, or HTTPS_PROXY") as caught:
        async with client.connect(Settings.load()):
            pass
    assert "some" not in str(caught.value)


async def test_a_login_in_netrc_is_nothing_for_the_api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with refusing() as (port, came):
        config = kubeconfig(tmp_path / "config", "qa-de-1", f"http://127.0.0.1:{port}", **{"client-name": "nobody"})
        monkeypatch.setenv("KUBECONFIG", config)
        await refusal()
    assert came
    assert not any(b"authorization" in each.lower() for each in came)


def test_values_of_a_secret() -> None:
    secret = {"data": {"text": "aGVsbG8=", "bytes": "//8=", "rubbish": "!"}, "stringData": {"port": 53, "flag": True}}
    assert values_of(secret) == {"text": "hello", "port": "53", "flag": "true"}


async def test_a_wrong_secret_keeps_the_last_configuration_and_an_unreadable_value_is_left_out() -> None:
    def snapshot(position: int, **values: str) -> Snapshot:
        secret = {"metadata": {"resourceVersion": str(position)}, "stringData": values}
        return Snapshot({("n", SECRET_NAME): secret}, position)

    class Secrets:
        snapshot: Snapshot | None = None

        async def fresh(self) -> Snapshot:
            return snapshot(1, username="u", password="p")

        async def changes(self) -> AsyncIterator[Snapshot]:
            yield snapshot(1, username="u", password="p")
            yield snapshot(2, username="u")
            yield snapshot(3, username="u", password="p")
            yield Snapshot({}, 4)
            yield snapshot(5, username="u", password="q")

    source = SecretConfiguration(Secrets(), "n")
    assert (await source.current()).version == 1
    seen = [configuration async for configuration in source.changes()]
    assert [(one.version, one.values["password"]) for one in seen] == [(1, "p"), (5, "q")]
    secrets = Secrets()
    secrets.snapshot = snapshot(0, username="u", password="old")
    behind = SecretConfiguration(secrets, "n")
    assert ((await behind.current()).version, (await behind.fresh()).version) == (0, 1)
