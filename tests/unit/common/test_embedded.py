"""The embedded adapters on real files: what editors do to them, what survives a restart, and what errors say."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from shutil import move
from typing import Any, TypeVar

import pytest
import yaml
from structlog.testing import capture_logs

from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.embedded.epochs import FolderEpochs
from vcenter_operator.common.embedded.files import changed, replace_file
from vcenter_operator.common.embedded.manifests import Manifests
from vcenter_operator.common.embedded.platform import open_platform
from vcenter_operator.common.embedded.record import FolderStore
from vcenter_operator.common.embedded.site import Site, read_site
from vcenter_operator.common.errors import (
    ConfigurationError,
    OwnershipLost,
    PermanentError,
    StaleRecord,
    TransientError,
)
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.labels import GROUP
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.record.overlay import Overlay
from vcenter_operator.common.record.port import Collected, Condition, Discovered
from vcenter_operator.common.settings import Settings
from vcenter_operator.common.watching import Snapshot

T = TypeVar("T")

HOST = "vc-a-0.cc.example"
SITE = """\
region: qa-de-1
domain: CC.example.
namespace: monsoon3
vcenters:
  vc-a-0:
    datacenters:
      AZ-A:
        clusters:
          productionbb001: {datastores: [eph_1], networks: [br-x]}
          productionbb002:
  VC-b-0.cc.example: {unreachable: true}
"""
SECRET = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: vcenter-operator}}
stringData:
  username: u
  password: p
  bus_key: {base64.b64encode(bytes(16)).decode()}
"""


def template(name: str, text: str, **labels: str) -> str:
    manifest = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "VCenterTemplate",
        "metadata": {"name": name, "labels": labels},
        "options": {"scope": "cluster"},
        "template": text,
    }
    return yaml.safe_dump(manifest, explicit_start=True)


async def next_of(changes: AsyncIterator[T], within: float = 10.0) -> T:
    return await asyncio.wait_for(anext(changes), within)


async def until(condition: Callable[[], bool | Awaitable[bool]], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.02)


def names(snapshot: Snapshot) -> list[str]:
    return sorted(name for _, name in snapshot.items)


# --- the site file


def test_a_site_is_completed_where_the_file_is_brief(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE + "zone: zones/cc.zone\n")
    site = read_site(tmp_path / "site.yaml")
    assert list(site.vcenters) == [HOST, "vc-b-0.cc.example"]
    clusters = site.vcenters[HOST].datacenters["AZ-A"].clusters
    assert clusters["productionbb002"].datastores == ()
    assert clusters["productionbb001"].moid != clusters["productionbb002"].moid
    assert site == read_site(tmp_path / "site.yaml"), "moids are the same at every reading"
    assert site.zone == tmp_path / "zones/cc.zone"
    assert site.domain == "cc.example"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SITE.replace("datastores: [eph_1]", "datastore: [eph_1]"),
         "site.yaml:9: vcenters.vc-a-0.datacenters.AZ-A.clusters.productionbb001.datastore: is no known key"),
        (SITE.replace("[eph_1]", "eph_1"), "site.yaml:9: .*productionbb001.datastores: "),
        (SITE.replace("region: qa-de-1\n", ""), "site.yaml:1: region: Field required"),
        (SITE.replace("productionbb002:", "productionbb001:"), "site.yaml:10: the key 'productionbb001' stands twice"),
        (SITE.replace("VC-b-0", "vc-a-0"), "vc-a-0.cc.example stands there twice"),
        (SITE.replace("VC-b-0", "vc b/0"), "'vc b/0.cc.example' is no DNS name"),
        (SITE.replace("[br-x]", "[br-x"), "site.yaml:(9|10|11): "),
        (SITE.replace("[eph_1]", "[], moid: m").replace("bb002:", "bb002: {moid: m}"), "bb002: moid m is not unique"),
        ("- a\n", "site.yaml:1: site: "),
        ("", "exactly one YAML document"),
    ],
)  # fmt: skip
def test_a_wrong_site_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_site(tmp_path / "site.yaml")


async def test_a_site_follows_its_file_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    async with Site(path) as site:
        changes = site.changes()
        assert len((await next_of(changes)).vcenters) == 2
        replace_file(path, SITE + "  vc-c-0: {}\n")
        assert len((await next_of(changes)).vcenters) == 3
        with capture_logs() as logs:
            path.write_text("vcenters: [\n")
            await until(lambda: any("last good state stays" in entry["event"] for entry in logs))
            path.write_text(SITE.replace("qa-de-1", "qa-de-2"))
            await until(lambda: any("cannot change while it runs" in entry["event"] for entry in logs))
        assert len(site.current.vcenters) == 3
        path.unlink()
        path.write_text(SITE + "  vc-c-0:\n  vc-d-0:\n")
        assert len((await next_of(changes)).vcenters) == 4


# --- the folder of manifests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manifests"
    (made / "deep").mkdir(parents=True)
    (made / "secret.yaml").write_text(SECRET)
    (made / "deep" / "templates.yml").write_text(template("a", "A") + template("b", "B", tier="x"))
    (made / ".hidden.yaml").write_text("[")
    (made / "notes.txt").write_text("[")
    return made


def opened(folder: Path, **options: Any) -> Manifests:
    return Manifests(folder, namespace="monsoon3", **options)


def templates_of(manifests: Manifests, selector: str | None = None) -> Any:
    return manifests.watched(GROUP, "VCenterTemplate", label_selector=selector)


async def test_manifests_are_found_by_kind_and_label_with_what_a_server_would_add(folder: Path) -> None:
    async with opened(folder) as manifests:
        found = await templates_of(manifests).fresh()
        assert list(found.items) == [("monsoon3", "a"), ("monsoon3", "b")]
        assert found.items["monsoon3", "a"]["metadata"]["resourceVersion"] == "1"
        assert names(await templates_of(manifests, "tier=x").fresh()) == ["b"]
        assert names(await manifests.watched("", "Secret").fresh()) == ["vcenter-operator"]


async def test_a_change_is_told_once_and_only_to_whom_it_concerns(folder: Path) -> None:
    async with opened(folder) as manifests:
        changes, secrets = templates_of(manifests).changes(), manifests.watched("", "Secret").changes()
        before = await next_of(changes)
        await next_of(secrets)
        for number in range(20):
            (folder / f"burst{number}.yaml").write_text(template(f"c{number}", "C"))
        seen = await next_of(changes)
        while len(seen.items) < 22:
            seen = await next_of(changes)
        assert seen.position <= before.position + 5, "twenty files written at once are a burst, not twenty changes"
        unchanged = seen.items["monsoon3", "a"]["metadata"]["resourceVersion"]
        assert unchanged == before.items["monsoon3", "a"]["metadata"]["resourceVersion"]
        with pytest.raises(TimeoutError):
            await next_of(secrets, 0.3)


@pytest.mark.parametrize(
    "disturb",
    [
        lambda path, text: path.unlink(),
        lambda path, text: path.write_text(""),
        lambda path, text: path.write_text(text[: len(text) // 2]),
        lambda path, text: path.write_text(text + "["),
    ],
    ids=["removed", "truncated", "half written", "invalid"],
)
async def test_an_editor_that_writes_in_several_steps_deletes_nothing(
    folder: Path, disturb: Callable[[Path, str], object]
) -> None:
    path = folder / "deep" / "templates.yml"
    text = path.read_text()
    async with opened(folder) as manifests:
        collection = templates_of(manifests)
        shown: list[list[str]] = []

        async def follow() -> None:
            async for snapshot in collection.changes():
                shown.append(names(snapshot))  # noqa: PERF401 - seen one by one, as they come

        following = asyncio.create_task(follow())
        await until(lambda: bool(shown))
        with capture_logs() as logs:
            disturb(path, text)
            await asyncio.sleep(0.12)  # longer than a burst is gathered for, shorter than the second look
            path.write_text(text + template("c", "C"))
            await until(lambda: shown[-1] == ["a", "b", "c"])
        assert not logs
        path.write_text(template("a", "A"))
        await until(lambda: shown[-1] == ["a"])
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert shown == [["a", "b"], ["a", "b", "c"], ["a"]]


async def test_an_invalid_file_keeps_what_it_held_and_says_where_it_is_wrong(folder: Path) -> None:
    path = folder / "deep" / "templates.yml"
    async with opened(folder) as manifests:
        collection = templates_of(manifests)
        with capture_logs() as logs:
            path.write_text(template("a", "A") + "---\nkind: VCenterTemplate\nmetadata: {name: b}\n")
            (folder / "more.yaml").write_text(template("c", "C"))
            assert names(await collection.fresh()) == ["a", "b", "c"]
        (wrong,) = {entry["error"] for entry in logs if entry["log_level"] == "error"}
        assert "templates.yml:11: a manifest needs apiVersion" in wrong


async def test_keys_that_are_no_text_are_what_json_makes_of_them(folder: Path) -> None:
    data = "{on: a, b: c, 2: d, 1.5: e, ~: f, 2026-01-02: g}"
    (folder / "more.yaml").write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: odd}}\ndata: {data}\n")
    async with opened(folder) as manifests:
        [odd] = (await manifests.watched("", "ConfigMap").fresh()).items.values()
    assert odd["data"] == {"true": "a", "b": "c", "2": "d", "1.5": "e", "null": "f", "2026-01-02": "g"}


@pytest.mark.parametrize("value", ["!!timestamp soon", "!!bool perhaps", "!!int x", "&a [*a]"])
async def test_a_value_that_is_none_is_an_error_of_its_file(folder: Path, value: str) -> None:
    (folder / "odd.yaml").write_text(f"apiVersion: v1\nkind: X\nmetadata: {{name: x}}\nspec: {value}\n")
    with pytest.raises(ConfigurationError, match=r"odd\.yaml"):
        async with opened(folder):
            pass


async def test_an_invalid_file_at_the_start_is_refused_since_nothing_is_known_of_what_it_held(folder: Path) -> None:
    (folder / "broken.yaml").write_text("a: 1\nb: [\n")
    with pytest.raises(ConfigurationError, match=r"broken.yaml:3: "):
        async with opened(folder):
            pass


async def test_a_folder_that_is_gone_keeps_its_state_and_is_found_again(folder: Path, tmp_path: Path) -> None:
    async with opened(folder) as manifests:
        collection = templates_of(manifests)
        move(folder, tmp_path / "away")
        with pytest.raises(TransientError, match="is gone"):
            await collection.fresh()
        assert names(collection.snapshot) == ["a", "b"]
        move(tmp_path / "away", folder)
        await asyncio.sleep(0)
        (folder / "more.yaml").write_text(template("c", "C"))
        await until(lambda: names(collection.snapshot) == ["a", "b", "c"])


async def test_positions_only_grow_over_restarts_and_stay_where_nothing_changed(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "positions.json"

    async def look(**options: Any) -> Snapshot:
        async with opened(folder, state=state, **options) as manifests:
            seen: Snapshot = await templates_of(manifests).fresh()
            return seen

    first, again = await look(), await look()
    assert (again.position, again.fingerprint) == (first.position, first.fingerprint)
    (folder / "deep" / "templates.yml").write_text(template("a", "edited") + template("b", "B", tier="x"))
    tried = await look(dry_run=True)
    later = await look()
    assert tried.position == later.position > first.position
    assert later.items["monsoon3", "b"] == first.items["monsoon3", "b"]
    assert later.items["monsoon3", "a"]["metadata"]["resourceVersion"] == str(later.position)
    (folder / "deep" / "templates.yml").unlink()
    assert (await look()).position > later.position, "a deletion too, made while nobody looked"


# --- state


def discovered(serial: int) -> Discovered:
    present = Condition(type="Present", status="True", reason="InZone")
    return Discovered(present=True, serial=serial, revision=Revision(1, serial), conditions=(present,))


async def test_records_are_written_by_compare_and_swap_and_only_when_they_change(tmp_path: Path) -> None:
    store, other = (FolderStore(tmp_path / "records", namespace="monsoon3") for _ in range(2))
    assert await store.list() == []
    assert await store.get(HOST) is None
    first = await store.write(HOST, discovered(1))
    second = await other.write(HOST, Collected(revision=Revision(9, 1)), version=first.version)
    with pytest.raises(StaleRecord):
        await store.write(HOST, discovered(2), version=first.version)
    assert await store.write(HOST, discovered(1), version=second.version) == second
    with pytest.raises(StaleRecord):
        await store.write("vc-never.cc.example", discovered(1), version="1")
    (seen,) = await FolderStore(tmp_path / "records", namespace="monsoon3").list()
    assert seen == second
    assert seen.discovered == discovered(1)


async def test_who_lost_the_partition_writes_no_record(tmp_path: Path) -> None:
    store, other = FolderStore(tmp_path, namespace="n"), Overlay()
    ownership = Ownership(Stage.DISCOVERY, 0, 1)
    for each in (store, other):
        await each.write(HOST, discovered(1), verify=ownership.verify)
    ownership.end()
    for each in (store, other):
        with pytest.raises(OwnershipLost):
            await each.write(HOST, discovered(2), verify=ownership.verify)
        record = await each.get(HOST)
        assert record is not None
        assert record.discovered == discovered(1)


async def test_of_many_writers_at_once_every_swap_holds_once(tmp_path: Path) -> None:
    stores = [FolderStore(tmp_path, namespace="n") for _ in range(4)]
    await stores[0].write(HOST, discovered(0))

    async def count(store: FolderStore) -> None:
        done = 0
        while done < 10:
            record = await store.get(HOST)
            assert record is not None
            assert record.discovered is not None
            try:
                await store.write(HOST, discovered(record.discovered.serial + 1), version=record.version)
            except StaleRecord:
                continue
            done += 1

    await asyncio.gather(*(count(store) for store in stores))
    record = await stores[0].get(HOST)
    assert record is not None
    assert record.discovered == discovered(40)


async def test_a_record_that_cannot_be_read_is_an_error_not_an_absence(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, namespace="n")
    await store.write(HOST, discovered(1))
    (tmp_path / f"{HOST}.yaml").write_text("kind: VCenter\n")
    with pytest.raises(PermanentError, match=HOST):
        await store.list()


async def test_epochs_are_never_given_out_twice(tmp_path: Path) -> None:
    epochs = [FolderEpochs(tmp_path) for _ in range(4)]
    given = await asyncio.gather(*(epochs[n % 4].raise_epoch("collector-3") for n in range(40)))
    assert sorted(given) == list(range(1, 41))
    assert await epochs[0].raise_epoch("renderer-3") == 1
    assert await epochs[0].raise_epoch("collector-4") == 41, "a vCenter may have been in another partition before"
    trying = FolderEpochs(tmp_path, dry_run=True)
    assert [await trying.raise_epoch("collector-3") for _ in range(2)] == [42, 43]
    assert await FolderEpochs(tmp_path).raise_epoch("collector-3") == 42
    (tmp_path / "collector-3").write_text("x")
    with pytest.raises(PermanentError, match="collector-3"):
        await epochs[0].raise_epoch("collector-3")


async def test_a_watched_file_that_is_replaced_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "zone"
    path.write_text("1")
    changes = changed(path)
    await next_of(changes)
    for text in ("2", "3"):
        replace_file(path, text)
        await next_of(changes)
        while path.read_text() != text:
            await next_of(changes)
    await changes.aclose()  # type: ignore[attr-defined]
    with pytest.raises(FileNotFoundError):
        await next_of(changed(tmp_path / "absent" / "zone"))


# --- the platform


async def test_the_platform_on_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    settings = Settings.load(bus="in-process")
    output = tmp_path / "output"
    async with open_platform(settings, site=tmp_path / "site.yaml", templates=folder, output=output) as platform:
        assert platform.surroundings.own_namespace == "monsoon3"
        assert platform.surroundings.domain == "cc.example"
        assert (await platform.configuration.current()).username == "u"
        await platform.store.write(HOST, discovered(1))
    resource = yaml.safe_load((output / ".state" / "records" / f"{HOST}.yaml").read_text())
    assert datetime.fromisoformat(resource["status"]["conditions"][0]["lastTransitionTime"]).tzinfo == UTC
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    (folder / "more.yaml").write_text(template("c", "C"))
    async with open_platform(
        settings, site=tmp_path / "site.yaml", templates=folder, output=output, dry_run=True
    ) as platform:
        await platform.store.write(HOST, discovered(2))
        assert len(await platform.store.list()) == 1
    assert before == {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "secret.yaml").unlink(), "Secret vcenter-operator: there is none"),
        (lambda folder: (folder / "secret.yaml").write_text(SECRET.replace("  username: u\n", "")), "key 'username'"),
        (lambda folder: (folder / "secret.yaml").write_text(SECRET.replace("d: p", "d: p: q")), "secret.yaml:6"),
    ],
)  # fmt: skip
async def test_a_platform_with_a_wrong_secret_does_not_open(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    spoil(folder)
    with pytest.raises(ConfigurationError, match=said):
        async with open_platform(Settings.load(bus="in-process"), site=tmp_path / "site.yaml", templates=folder):
            pass


async def test_output_among_the_manifests_would_be_read_as_templates(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    for output in (folder, folder / "out", folder.parent):
        with pytest.raises(ConfigurationError, match="neither may lie within the other"):
            async with open_platform(
                Settings.load(bus="in-process"), site=tmp_path / "site.yaml", templates=folder, output=output
            ):
                pass
