"""The record in a folder: one file for each vCenter, the same resource that would be in the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import yaml

from vcenter_operator.common.embedded.files import locked, replace_file
from vcenter_operator.common.embedded.yamlfile import documents, read_text
from vcenter_operator.common.errors import ConfigurationError, PermanentError, StaleRecord, TransientError
from vcenter_operator.common.labels import API_VERSION, VCENTER_KIND
from vcenter_operator.common.record.document import record_of, status_with
from vcenter_operator.common.record.port import ABSENT, Record, Section, anybody

T = TypeVar("T")


class FolderStore:
    """A `Store`. Writes are atomic, and under the folder's lock; the version is a counter in the file."""

    def __init__(self, folder: Path, *, namespace: str) -> None:
        self._folder = folder
        self._namespace = namespace

    async def list(self, *, fresh: bool = True) -> list[Record]:  # noqa: ARG002 - files are read at once
        """See `Store.list`. A file that cannot be read is an error: remove it, and the vCenter was never seen."""
        return await self._in_thread(lambda: [record_of(_read(path)) for path in sorted(self._folder.glob("*.yaml"))])

    async def get(self, host: str, *, fresh: bool = True) -> Record | None:  # noqa: ARG002 - a file is read at once
        """See `Store.get`."""
        path = self._path(host)
        return await self._in_thread(lambda: record_of(_read(path)) if path.exists() else None)

    async def write(
        self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
    ) -> Record:
        """See `Store.write`."""
        return await self._in_thread(lambda: self._write(host, section, version, verify))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise TransientError(f"record: {error}") from None

    def _write(self, host: str, section: Section, version: str | None, verify: Callable[[], None]) -> Record:
        path = self._path(host)
        with locked(self._folder):
            resource = _read(path) if path.exists() else None
            current = resource["metadata"]["resourceVersion"] if resource is not None else None
            if version is not None and (current or ABSENT) != version:
                raise StaleRecord(f"VCenter {host}: changed since it was read")
            before = (resource or {}).get("status") or {}
            status = status_with(before, section, datetime.now(UTC))
            if resource is not None and status == before:
                return record_of(resource)
            verify()
            written = self._resource(host, str(int(current or 0) + 1), status, resource or {})
            replace_file(path, yaml.safe_dump(written, sort_keys=False, width=120))
        return record_of(written)

    def _resource(self, host: str, version: str, status: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        """The whole resource; what people wrote on it stays."""
        metadata = {"name": host, "namespace": self._namespace, "resourceVersion": version}
        if annotations := (before.get("metadata") or {}).get("annotations"):
            metadata["annotations"] = annotations
        spec = {"spec": before["spec"]} if "spec" in before else {}
        return {"apiVersion": API_VERSION, "kind": VCENTER_KIND, "metadata": metadata, **spec, "status": status}

    def _path(self, host: str) -> Path:
        return self._folder / f"{quote(host, safe='')}.yaml"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = documents(read_text(path), path)
    except ConfigurationError as error:
        raise PermanentError(f"record: {error}") from None
    match [document.value for document in found]:
        case [{"metadata": {"name": str(), "resourceVersion": str()}} as resource]:
            return dict(resource)
    raise PermanentError(f"record: {path}: is no VCenter resource; remove it, and the vCenter was never seen")
