"""The folder as a cluster: only exactly what was looked at is written or removed, and what is not ours stays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.applier.given import HOST, NOVA, OTHER, OWN, cluster, deployment, manifest
from vcenter_operator.applier.adapters.embedded import DryRunFolder, FileFreeze, FolderCluster
from vcenter_operator.applier.core.observed import Claim, Observed
from vcenter_operator.applier.ports import Changed, Frozen
from vcenter_operator.common.errors import TransientError

A = deployment("a")


def guard() -> None:
    """Nothing forbids a write."""


def refuse() -> None:
    raise Frozen("audit")


@pytest.fixture
async def folder(tmp_path: Path) -> FolderCluster:
    made = FolderCluster(tmp_path, OWN)
    await made.apply(HOST, A, manifest(A), None, guard)
    return made


@pytest.fixture
def file(tmp_path: Path, folder: FolderCluster) -> Path:
    return tmp_path / OWN / "deployment-a.yaml"


def text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def edit(path: Path) -> str:
    by_hand = path.read_text() + "# by hand\n"
    path.write_text(by_hand)
    return by_hand


async def seen(folder: FolderCluster) -> Observed:
    return (await folder.owned(HOST, [])).objects[A]


async def test_what_is_written_is_found_again(folder: FolderCluster, tmp_path: Path) -> None:
    one = await seen(FolderCluster(tmp_path, OWN))

    assert (one.host, one.template, one.unit, one.terminating) == (HOST, NOVA, cluster(1), False)
    assert (await folder.owned(OTHER, [])).objects == {}
    assert (await FolderCluster(tmp_path, "other-operator").owned(HOST, [])).objects == {}


async def test_a_file_that_was_changed_since_it_was_looked_at_is_left(folder: FolderCluster, file: Path) -> None:
    one = await seen(folder)
    by_hand = edit(file)

    for attempt in (
        folder.apply(HOST, A, manifest(A, spec={"x": 1}), one, guard),
        folder.apply(HOST, A, manifest(A, spec={"x": 1}), None, guard),
        folder.delete(one, guard),
        folder.claim(one, Claim(OTHER, NOVA, cluster(1)), guard),
    ):
        with pytest.raises(Changed):
            await attempt
    assert text(file) == by_hand
    await folder.delete(await seen(folder), guard)
    assert text(file) is None
    await folder.delete(one, guard)


async def test_a_copy_of_ours_under_another_name_is_not_ours(folder: FolderCluster, file: Path) -> None:
    one = await seen(folder)
    edit(Path(shutil.copy(file, file.with_name("zbackup.yaml"))))
    shutil.copy(file, file.with_name("deployment-b.yaml"))
    (file.parent / "notes.yaml").write_text("{ no yaml")
    (file.parent / "list.yaml").write_text("- 1\n- metadata: []\n")

    assert (await folder.owned(HOST, [])).objects == {A: one}
    assert (await folder.occupants(HOST, [deployment("b")]))[deployment("b")].host is None


async def test_every_write_asks_the_guard_and_a_dry_run_writes_nothing(
    folder: FolderCluster, file: Path, tmp_path: Path
) -> None:
    one, before = await seen(folder), loaded(file)
    claimed = await claimed_by_other(tmp_path, folder)
    for cluster_, guarded in ((folder, refuse), (DryRunFolder(tmp_path, OWN), guard)):
        for attempt in (
            cluster_.apply(HOST, A, manifest(A, spec={"x": 1}), claimed, guarded),
            cluster_.apply(HOST, deployment("new"), manifest(deployment("new")), None, guarded),
            cluster_.delete(claimed, guarded),
            cluster_.claim(claimed, Claim(OTHER, NOVA, cluster(2)), guarded),
            cluster_.hand_over(claimed, guarded),
        ):
            if guarded is refuse:
                with pytest.raises(Frozen):
                    await attempt
            else:
                await attempt
    after = loaded(file)
    assert after["metadata"]["annotations"].items() >= before["metadata"]["annotations"].items()
    assert (await seen(folder)).version == claimed.version != one.version
    assert [path.name for path in file.parent.iterdir()] == [file.name]


async def test_what_is_handed_over_shows_no_digest_so_that_its_new_owner_writes_it(
    folder: FolderCluster, tmp_path: Path
) -> None:
    handed = await claimed_by_other(tmp_path, folder)
    await folder.hand_over(handed, guard)
    one = (await folder.owned(OTHER, [])).objects[A]
    assert (one.digest, one.template, one.claim) == (None, NOVA, None)


async def claimed_by_other(folder: Path, cluster_: FolderCluster) -> Observed:
    await cluster_.claim(await seen(cluster_), Claim(OTHER, NOVA, cluster(1)), guard)
    return await seen(FolderCluster(folder, OWN))


async def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / OWN).write_text("a file where the folder should be")

    with pytest.raises(TransientError):
        await FolderCluster(tmp_path, OWN).apply(HOST, A, manifest(A), None, guard)


def test_the_freeze_is_a_file(tmp_path: Path) -> None:
    freeze = FileFreeze(tmp_path)
    freeze.check()
    (tmp_path / "freeze").write_text("")
    with pytest.raises(Frozen, match="exists"):
        freeze.check()
    (tmp_path / "freeze").write_text("audit\n")
    with pytest.raises(Frozen, match=r"^frozen: audit$"):
        freeze.check()
