"""A folder of Kubernetes manifests, as `kubectl apply -R -f` would take it, in the place of the API server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from vcenter_operator.common.embedded.files import changed, replace_file
from vcenter_operator.common.embedded.yamlfile import documents, read_text
from vcenter_operator.common.errors import ConfigurationError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.latest import Latest
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.watching import Snapshot

log = logger(__name__)

_SUFFIXES = (".yaml", ".yml", ".json")
_SECOND_LOOK = 0.25
"""Seconds after which a file that is gone, lacks objects or is invalid is looked at again before that is believed:

editors remove, truncate and write in several steps.
"""

_KEYS = {None: "null", True: "true", False: "false"}

Objects = dict[ObjectId, dict[str, Any]]


@dataclass
class _Versions:
    """What stands in for resourceVersions: a counter that goes up with every change, over restarts too."""

    position: int = 0
    objects: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Object id to the digest of its content and the position at which that was new."""

    @classmethod
    def load(cls, path: Path) -> _Versions:
        try:
            stored = json.loads(path.read_text())
            return cls(int(stored["position"]), {name: (item[0], item[1]) for name, item in stored["objects"].items()})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ConfigurationError(f"{path}: {error}; remove it, and the state folder's records with it") from None

    def stored(self) -> str:
        return json.dumps({"position": self.position, "objects": self.objects})

    def advance(self, objects: Objects) -> bool:
        """Counts on if the objects differ from those before; says whether they do."""
        digests = {str(object_id): _digest(item) for object_id, item in objects.items()}
        if digests == {name: digest for name, (digest, _) in self.objects.items()}:
            return False
        self.position += 1
        before = self.objects
        self.objects = {
            name: before[name] if name in before and before[name][0] == digest else (digest, self.position)
            for name, digest in digests.items()
        }
        return True


class Manifests:
    """The manifests of a folder, read again whenever something in it changes while this is entered.

    Objects without a namespace belong to `namespace`. Each gets uid and resourceVersion. A file that becomes invalid
    is logged, and what it held last stays. `state` is the file that keeps the positions (None: they begin anew); in a
    dry run it is read, not written.
    """

    def __init__(self, folder: Path, *, namespace: str, state: Path | None = None, dry_run: bool = False) -> None:
        self.folder = folder
        self._namespace = namespace
        self._state = state
        self._dry_run = dry_run
        self._versions = _Versions()
        self._files: dict[Path, Objects] = {}
        self._objects: Objects = {}
        self._collections: list[_Collection] = []
        self._reading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises ConfigurationError: no such folder, or a file in it is wrong."""
        if not self.folder.is_dir():
            raise ConfigurationError(f"{self.folder}: is no folder; it has to hold the manifests (templates, Secret)")
        if self._state is not None:
            self._versions = _Versions.load(self._state)
        found, errors = await asyncio.to_thread(self._scan)
        if errors:
            raise next(iter(errors.values()))
        self._take_over(found)
        self._task = asyncio.create_task(self._keep_current(), name=f"watch {self.folder.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def watched(self, group: str, kind: str, *, label_selector: str | None = None) -> _Collection:
        """The objects of a kind that carry all labels of the selector (`a=b,c=d`). A `Watched`."""
        labels = dict(pair.split("=", 1) for pair in label_selector.split(",")) if label_selector else {}
        collection = _Collection(self, group, kind, labels)
        self._collections.append(collection)
        if self._task is not None:
            collection.renew(self._objects, self._versions.position)
        return collection

    async def read(self) -> None:
        """Reads the folder now. Raises TransientError: it is gone."""
        async with self._reading:
            found, errors = await asyncio.to_thread(self._scan)
            if errors or self._lost(found):
                await asyncio.sleep(_SECOND_LOOK)
                found, errors = await asyncio.to_thread(self._scan)
            if not self.folder.is_dir():
                raise TransientError(f"{self.folder}: is gone; the last state stays")
            for path, error in errors.items():
                log.error("manifest is wrong; what the file held before stays", error=str(error))
                found[path] = self._files.get(path, {})
            self._take_over(found)

    def _lost(self, found: Mapping[Path, Objects]) -> bool:
        return any(not before.keys() <= found.get(path, {}).keys() for path, before in self._files.items())

    def _take_over(self, found: dict[Path, Objects]) -> None:
        self._files = dict(sorted(found.items()))
        merged: Objects = {}
        for path, objects in self._files.items():
            for twice in merged.keys() & objects.keys():
                log.warning("an object stands in several files; the last counts", object=str(twice), last=str(path))
            merged |= objects
        if not self._versions.advance(merged):
            if not self._objects:
                self._publish(merged)
            return
        if self._state is not None and not self._dry_run:
            replace_file(self._state, self._versions.stored(), mode=0o600)
        self._publish(merged)

    def _publish(self, merged: Objects) -> None:
        self._objects = {
            object_id: _as_stored(object_id, item, self._versions.objects[str(object_id)][1])
            for object_id, item in merged.items()
        }
        for collection in self._collections:
            collection.renew(self._objects, self._versions.position)

    def _scan(self) -> tuple[dict[Path, Objects], dict[Path, ConfigurationError]]:
        found: dict[Path, Objects] = {}
        errors: dict[Path, ConfigurationError] = {}
        for path in _manifest_files(self.folder):
            try:
                found[path] = _objects_of(path, self._namespace)
            except ConfigurationError as error:
                if path.exists():
                    errors[path] = error
        return found, errors

    async def _keep_current(self) -> None:
        while True:
            try:
                async for _ in changed(self.folder):
                    await self.read()
            except (TransientError, FileNotFoundError) as error:
                log.warning("the folder of manifests cannot be read", error=str(error))
            except Exception:
                log.exception("watch failed", path=str(self.folder))
            await asyncio.sleep(1.0)


class _Collection:
    """The objects of one kind. A `Watched`."""

    def __init__(self, manifests: Manifests, group: str, kind: str, labels: Mapping[str, str]) -> None:
        self._manifests = manifests
        self._group, self._kind, self._labels = group, kind, labels
        self._latest: Latest[Snapshot] = Latest()

    @property
    def snapshot(self) -> Snapshot | None:
        """See `Watched.snapshot`."""
        return self._latest.value

    async def fresh(self) -> Snapshot:
        """See `Watched.fresh`."""
        await self._manifests.read()
        snapshot = self.snapshot
        assert snapshot is not None
        return snapshot

    def changes(self) -> AsyncIterator[Snapshot]:
        """See `Watched.changes`."""
        return self._latest.changes()

    def renew(self, objects: Objects, position: int) -> None:
        """Takes over a new state of the folder."""
        items = {
            (object_id.namespace, object_id.name): item
            for object_id, item in objects.items()
            if (object_id.group, object_id.kind) == (self._group, self._kind) and self._selects(item)
        }
        before, now = self.snapshot, Snapshot(items, position)
        if before is not None and before.fingerprint == now.fingerprint:
            self._latest.correct(now)
        else:
            self._latest.set(now)

    def _selects(self, item: Mapping[str, Any]) -> bool:
        labels = item["metadata"].get("labels") or {}
        return all(labels.get(name) == value for name, value in self._labels.items())


def _manifest_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in _SUFFIXES and not hidden and path.is_file():
            yield path


def _objects_of(path: Path, namespace: str) -> Objects:
    objects: Objects = {}
    for document in documents(read_text(path), path):
        where = f"{path}:{document.line}"
        for item in _items(document.value, where):
            object_id = _id_of(item, namespace, where)
            if object_id in objects:
                raise ConfigurationError(f"{where}: {object_id} stands in this file twice")
            try:
                objects[object_id] = _with_text_keys(item)
            except RecursionError:
                raise ConfigurationError(f"{where}: is nested without end, or too deeply") from None
    return objects


def _with_text_keys(value: Any) -> Any:
    """As it would be sent: YAML's other keys (`on:`, `1:`) are text in JSON."""
    if isinstance(value, dict):
        return {_text(key): _with_text_keys(each) for key, each in value.items()}
    return [_with_text_keys(each) for each in value] if isinstance(value, list) else value


def _text(key: Any) -> str:
    return _KEYS[key] if key is None or isinstance(key, bool) else str(key)


def _items(value: Any, where: str) -> Iterator[dict[str, Any]]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: a manifest is a mapping with apiVersion, kind and metadata")
    if value.get("kind") == "List" and isinstance(value.get("items"), list):
        for item in value["items"]:
            yield from _items(item, where)
    else:
        yield value


def _id_of(item: Mapping[str, Any], namespace: str, where: str) -> ObjectId:
    match item:
        case {"apiVersion": str(version), "kind": str(kind), "metadata": {"name": str(name), **metadata}}:
            group = version.split("/")[0] if "/" in version else ""
            return ObjectId(group, kind, str(metadata.get("namespace") or namespace), name)
    raise ConfigurationError(f"{where}: a manifest needs apiVersion, kind and metadata.name, all of them strings")


def _digest(item: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(item, sort_keys=True, default=str).encode()).hexdigest()


def _as_stored(object_id: ObjectId, item: Mapping[str, Any], version: int) -> dict[str, Any]:
    metadata = {
        **item["metadata"],
        "namespace": object_id.namespace,
        "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, str(object_id))),
        "resourceVersion": str(version),
    }
    return {**item, "metadata": metadata}
