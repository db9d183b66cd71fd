"""A dry run writes nothing, to files nor to an API server; and does, where what stands in between is taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.applier.given import HOST, NOVA, OTHER, OWN, cluster, deployment, manifest
from vcenter_operator.applier.adapters.embedded import DryRunFolder, FolderCluster
from vcenter_operator.applier.adapters.kubernetes.cluster import DryRunCluster
from vcenter_operator.applier.adapters.kubernetes.writing import RealWrites
from vcenter_operator.applier.core.observed import Claim


@pytest.mark.parametrize("writes", [None, "_write", "_remove"])
async def test_a_dry_run_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: str | None) -> None:
    one = deployment("one")
    there = await FolderCluster(tmp_path, OWN).apply(HOST, one, manifest(one), None, lambda: None)
    before = files(tmp_path)
    if writes is not None:
        monkeypatch.setattr(DryRunFolder, writes, getattr(FolderCluster, writes))

    dry = DryRunFolder(tmp_path, OWN)
    await dry.apply(HOST, one, manifest(one, spec={"x": 1}), there, lambda: None)
    await dry.apply(HOST, deployment("two"), manifest(deployment("two")), None, lambda: None)
    if writes is None or writes == "_remove":
        await dry.claim(there, Claim(OTHER, NOVA, cluster(1)), lambda: None)
        await dry.delete(there, lambda: None)

    assert (files(tmp_path) == before) == (writes is None)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Asked:
    """An API server that keeps how it was asked."""

    def __init__(self) -> None:
        self.dry: list[bool] = []

    async def request(self, *_: Any, dry_run: bool = False, **__: Any) -> dict[str, Any]:
        self.dry.append(dry_run)
        return {}

    apply = replace = merge_patch = delete = request


@pytest.mark.parametrize("taken_out", [False, True])
async def test_every_write_of_a_dry_run_says_so(monkeypatch: pytest.MonkeyPatch, taken_out: bool) -> None:
    if taken_out:
        monkeypatch.setattr(DryRunCluster, "_writes_of", RealWrites)
    api = Asked()
    writes = DryRunCluster(api, OWN)._writes  # type: ignore[arg-type]

    await writes.apply(lambda: None, "/a", {}, force=True)
    await writes.apply_parent(lambda: None, "/a", {})
    await writes.replace(lambda: None, "/a", {})
    await writes.patch(lambda: None, "/a", {})
    await writes.delete(lambda: None, "/a", uid="u", version="1")

    assert api.dry == [not taken_out] * 5
