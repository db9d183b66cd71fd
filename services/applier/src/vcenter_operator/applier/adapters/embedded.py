"""The cluster as a folder of manifests: `<output>/<namespace>/<kind>-<name>.yaml`.

Whose a manifest is stands in itself, as in the cluster: label and annotations. A file that has not our label, or is
not named as we would, is somebody else's and never touched. Secrets can be read by the owner of the folder alone. The
version of an object is the digest of its file, so that what a person edits is noticed.

The freeze is a file `freeze` in the folder: while it is there nothing is written; what is in it is shown as the reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, TypeVar

import yaml

from vcenter_operator.applier.adapters.manifestfile import is_named, manifest_path, manifest_text
from vcenter_operator.applier.core.observed import CLAIMED_BY, Claim, GroupKind, Observed, observe
from vcenter_operator.applier.ports import Changed, Frozen, Guard, Holdings, Known, OnAnswer, Place
from vcenter_operator.common import labels
from vcenter_operator.common.embedded.files import replace_file
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.identity import ObjectId

_T = TypeVar("_T")
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PRIVATE, _PUBLIC = 0o600, 0o644


class FolderCluster:
    """See `ports.Cluster`. `namespace` is the operator's own; without a folder nothing exists."""

    dry_run: ClassVar[bool] = False

    def __init__(self, folder: Path | None, namespace: str) -> None:
        self._folder = folder
        self._namespace = namespace
        self._lock = Lock()
        self._read: dict[Path, tuple[tuple[int, int, int], dict[str, Any], str]] = {}

    def listen(self, noticed: Callable[[str], None]) -> None:
        """See `Cluster.listen`: files are looked at now and then."""

    def known(self, host: str, places: Collection[Place], ids: Collection[ObjectId]) -> Known | None:  # noqa: ARG002
        """See `Cluster.known`: nothing."""
        return None

    def forget(self, host: str) -> None:
        """See `Cluster.forget`."""

    async def owned(
        self,
        host: str,
        places: Collection[Place],  # noqa: ARG002 - all is in one folder
        *,
        afresh: bool = True,  # noqa: ARG002
    ) -> Holdings:
        """See `Cluster.owned`."""
        found = await self._in_thread(lambda: self._all(host))
        kinds = frozenset(GroupKind.of(one.id) for one in found)
        return Holdings({one.id: one for one in found}, kinds, frozenset(one.id.namespace for one in found))

    async def occupants(
        self,
        host: str,
        ids: Collection[ObjectId],
        *,
        afresh: bool = True,  # noqa: ARG002
    ) -> dict[ObjectId, Observed]:
        """See `Cluster.occupants`."""

        def read() -> list[Observed | None]:
            with self._lock:
                return [self._at(object_id, host) for object_id in ids]

        found = await self._in_thread(read)
        return {one.id: one for one in found if one is not None}

    async def apply(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> Observed:
        """See `Cluster.apply`."""

        def write() -> Observed:
            with self._lock:
                self._unless_changed(object_id, host, current)
                return self._write(object_id, manifest, host, guard)

        return await self._in_thread(write)

    async def check(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> None:
        """See `Cluster.check`: the folder takes whatever can be a file."""
        await DryRunFolder(self._folder, self._namespace).apply(host, object_id, manifest, current, guard)

    async def deployments(
        self,
        host: str,  # noqa: ARG002
        namespaces: Collection[str],  # noqa: ARG002
    ) -> dict[ObjectId, Mapping[str, Any]]:
        """See `Cluster.deployments`: nothing runs here."""
        return {}

    async def delete(self, current: Observed, guard: Guard) -> None:
        """See `Cluster.delete`."""

        def remove() -> None:
            with self._lock:
                if self._at(current.id, current.host) is None:
                    return
                self._unless_changed(current.id, current.host, current)
                self._remove(current.id, guard)

        await self._in_thread(remove)

    async def claim(self, current: Observed, claim: Claim, guard: Guard) -> None:
        """See `Cluster.claim`."""
        await self._edit(current, {}, {CLAIMED_BY: str(claim)}, guard)

    async def hand_over(self, current: Observed, guard: Guard) -> None:
        """See `Cluster.hand_over`."""
        claim = current.claim
        assert claim is not None
        part_of = {labels.PART_OF: labels.applyset_id(claim.host, self._namespace)}
        annotations = {
            labels.VCENTER: claim.host,
            labels.TEMPLATE: claim.template,
            labels.UNIT: str(claim.unit),
            labels.DIGEST: None,
            CLAIMED_BY: None,
        }
        await self._edit(current, part_of, annotations, guard)

    async def contain(self, host: str, kinds: Collection[GroupKind], namespaces: Collection[str], guard: Guard) -> None:
        """See `Cluster.contain`: nothing to note, the folder is read as a whole."""

    def _write(self, object_id: ObjectId, manifest: Mapping[str, Any], host: str | None, guard: Guard) -> Observed:
        text = manifest_text(manifest)
        path = self._path(object_id)
        guard()
        replace_file(path, text, mode=_PRIVATE if manifest.get("kind") == "Secret" else _PUBLIC)
        return self._observed(object_id, _parsed(text.encode()), _version(text.encode()), host)

    def _remove(self, object_id: ObjectId, guard: Guard) -> None:
        path = self._path(object_id)
        guard()
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    async def _edit(
        self,
        current: Observed,
        new_labels: Mapping[str, str],
        annotations: Mapping[str, str | None],
        guard: Guard,
    ) -> None:
        def edit() -> None:
            with self._lock:
                self._unless_changed(current.id, current.host, current)
                manifest, _ = self._load(self._path(current.id))
                metadata = {**manifest.get("metadata", {})}
                metadata["labels"] = {**(metadata.get("labels") or {}), **new_labels}
                merged = {**(metadata.get("annotations") or {}), **annotations}
                metadata["annotations"] = {name: value for name, value in merged.items() if value is not None}
                self._write(current.id, {**manifest, "metadata": metadata}, current.host, guard)

        await self._in_thread(edit)

    def _all(self, host: str) -> list[Observed]:
        with self._lock:  # or folders go while they are listed
            return [one for path in self._files() if (one := self._in(path, host)) is not None and one.host == host]

    def _in(self, path: Path, host: str) -> Observed | None:
        manifest, version = self._load(path)
        object_id = _id_of(manifest)
        if object_id is None or path != self._path(object_id):
            return None
        return self._observed(object_id, manifest, version, host)

    def _files(self) -> list[Path]:
        if self._folder is None or not self._folder.is_dir():
            return []
        known = sorted(path for path in self._folder.glob("*/*.yaml") if not path.parent.name.startswith("."))
        for gone in self._read.keys() - set(known):
            del self._read[gone]
        return known

    def _at(self, object_id: ObjectId, host: str | None) -> Observed | None:
        if self._folder is None or not is_named(object_id):
            return None
        try:
            manifest, version = self._load(self._path(object_id))
        except FileNotFoundError:
            return None
        one = self._observed(object_id, manifest, version, host)
        return one if _id_of(manifest) == object_id else replace(one, host=None)

    def _unless_changed(self, object_id: ObjectId, host: str | None, current: Observed | None) -> None:
        if self._at(object_id, host) != current:
            raise Changed(f"{object_id} changed meanwhile")

    def _observed(self, object_id: ObjectId, manifest: Mapping[str, Any], version: str, host: str | None) -> Observed:
        metadata = manifest.get("metadata")
        seen = {**metadata} if isinstance(metadata, Mapping) else {}
        for name in ("labels", "annotations"):
            seen[name] = seen[name] if isinstance(seen.get(name), Mapping) else {}
        seen |= {"resourceVersion": version, "uid": None, "finalizers": None, "managedFields": None}
        return observe(
            object_id,
            seen,
            namespace=self._namespace,
            hosts=[host] if host else [],
            ours=True,
            fields=_fields(manifest),
        )

    def _load(self, path: Path) -> tuple[dict[str, Any], str]:
        """The manifest and its version; an empty one where it is none. Read again only when the file changed."""
        stat = path.stat()
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._read.get(path)
        if known is None or known[0] != state:
            data = path.read_bytes()
            known = self._read[path] = (state, _parsed(data), _version(data))
        return known[1], known[2]

    def _path(self, object_id: ObjectId) -> Path:
        assert self._folder is not None
        return self._folder / manifest_path(object_id)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise TransientError(f"{error.filename or self._folder}: {error.strerror or error}") from error


class DryRunFolder(FolderCluster):
    """The same decisions; not one file is written or removed."""

    dry_run: ClassVar[bool] = True

    def __init__(self, folder: Path | None, namespace: str, on_answer: OnAnswer | None = None) -> None:
        super().__init__(folder, namespace)
        self._on_answer = on_answer

    async def apply(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> Observed:
        """See `Cluster.apply`."""
        written = await super().apply(host, object_id, manifest, current, guard)
        if self._on_answer is not None:
            self._on_answer(object_id, manifest)
        return written

    def _write(self, object_id: ObjectId, manifest: Mapping[str, Any], host: str | None, guard: Guard) -> Observed:
        guard()
        manifest_path(object_id)
        text = manifest_text(manifest).encode()
        return self._observed(object_id, _parsed(text), _version(text), host)

    def _remove(self, object_id: ObjectId, guard: Guard) -> None:  # noqa: ARG002 - nothing is removed
        guard()


class FileFreeze:
    """See `ports.Freeze`: a file `freeze` in the folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "freeze"

    async def look(self) -> None:
        """See `Freeze.look`: the file is looked for at every check."""

    def attended(self) -> AbstractAsyncContextManager[None]:
        """See `Freeze.attended`: as it is in any case."""
        return nullcontext()

    def check(self) -> None:
        """See `Freeze.check`."""
        try:
            reason = self._file.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return
        except OSError as error:
            raise TransientError(f"{self._file}: {error.strerror}") from error
        raise Frozen(reason or f"{self._file} exists")


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        manifest = yaml.load(data, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _id_of(manifest: Mapping[str, Any]) -> ObjectId | None:
    metadata, api_version, kind = manifest.get("metadata"), manifest.get("apiVersion"), manifest.get("kind")
    if not (isinstance(metadata, Mapping) and isinstance(api_version, str) and isinstance(kind, str)):
        return None
    if not isinstance(name := metadata.get("name"), str):
        return None
    found = ObjectId(api_version.rpartition("/")[0], kind, str(metadata.get("namespace") or ""), name)
    return found if is_named(found) else None


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _fields(manifest: Mapping[str, Any]) -> str:
    """Names the content but for what other vCenters claim: whoever edits the file changes it."""
    metadata = manifest.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    if isinstance(metadata, Mapping) and isinstance(annotations, Mapping):
        kept = {name: value for name, value in annotations.items() if name != CLAIMED_BY}
        manifest = {**manifest, "metadata": {**metadata, "annotations": kept}}
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, default=str).encode()).hexdigest()[:12]
