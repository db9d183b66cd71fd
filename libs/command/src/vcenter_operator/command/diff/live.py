"""Objects as they are now: in the cluster, or in the folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import yaml

from vcenter_operator.applier.adapters.kubernetes.kinds import Kinds
from vcenter_operator.applier.adapters.manifestfile import manifest_path
from vcenter_operator.applier.core.observed import GroupKind
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.kubernetes.api import Api
from vcenter_operator.common.platform import Platform

_AT_ONCE = 10


class Live(Protocol):
    """Where objects are read."""

    async def read(self, object_id: ObjectId) -> dict[str, Any] | None:
        """One object whole; None: it is gone by now. Raises TransientError."""
        ...


class LiveCluster:
    """On the API server."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._kinds = Kinds(api)
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def read(self, object_id: ObjectId) -> dict[str, Any] | None:
        """See `Live.read`."""
        async with self._places:
            served = await self._kinds.find(GroupKind.of(object_id))
            if served is None:
                return None
            return await self._api.get(served.resource.path(object_id.name, namespace=object_id.namespace))


class LiveFolder:
    """In the folder that manifests are written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self, object_id: ObjectId) -> dict[str, Any] | None:
        """See `Live.read`."""
        path = self._folder / manifest_path(object_id)
        try:
            manifest = yaml.safe_load(await asyncio.to_thread(path.read_bytes))
        except FileNotFoundError:
            return None
        except (OSError, yaml.YAMLError) as error:
            raise ConfigurationError(f"{path}: {error}") from None
        return manifest if isinstance(manifest, dict) else None


def live_of(platform: Platform) -> Live:
    """Where this platform's objects are."""
    if platform.kubernetes is not None:
        return LiveCluster(Api(platform.kubernetes))
    assert platform.output is not None
    return LiveFolder(platform.output)


async def read_all(live: Live, ids: Iterable[ObjectId]) -> dict[ObjectId, dict[str, Any] | None]:
    """Several objects. Raises TransientError."""
    wanted = sorted(set(ids))
    return dict(zip(wanted, await asyncio.gather(*map(live.read, wanted)), strict=True))
