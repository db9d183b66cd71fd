"""Which kinds the server serves, and where: asked for when needed, and again when one is missing.

Held in memory alone: a cache in a file would be one more thing that somebody else can write.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from vcenter_operator.applier.core.observed import GroupKind
from vcenter_operator.common.kubernetes.api import Api, Kind, Resource

_ASK_AGAIN_AFTER = 1.0
"""Seconds for which a kind that was not there is not asked for again."""


class Served(NamedTuple):
    """A kind that the server serves."""

    resource: Resource
    namespaced: bool


class Kinds:
    """The discovery documents of the groups that were asked for."""

    def __init__(self, api: Api, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._versions: dict[str, tuple[str, ...]] = {}
        self._documents: dict[tuple[str, str], dict[str, Kind]] = {}
        self._asked: dict[str, float] = {}
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, kind: GroupKind, version: str | None = None) -> Served | None:
        """Where a kind is served, in that version or else the preferred one; None: the server does not know it.

        Raises what `Api` raises.
        """
        if found := self._known(kind, version):
            return found
        async with self._asking[kind.group]:
            if found := self._known(kind, version):
                return found
            asked = self._asked.get(kind.group)
            if asked is None or self._clock() - asked >= _ASK_AGAIN_AFTER:
                await self._ask(kind.group)
        return self._known(kind, version)

    def misfits(self, kind: GroupKind, namespace: str) -> bool:
        """Whether the kind is known, and its scope is not that of the place."""
        served = self._known(kind, None)
        return served is not None and served.namespaced != bool(namespace)

    def forget(self, group: str) -> None:
        """What was known of a group turned out to be wrong."""
        self._versions.pop(group, None)
        self._asked.pop(group, None)

    def _known(self, kind: GroupKind, version: str | None) -> Served | None:
        for candidate in self._versions.get(kind.group, ()):
            served = self._documents.get((kind.group, candidate), {}).get(kind.kind)
            if served is not None and version in (None, candidate):
                return Served(Resource(kind.group, candidate, served.plural), served.namespaced)
        return None

    async def _ask(self, group: str) -> None:
        versions = await self._versions_of(group)
        for version in versions:
            self._documents[group, version] = await self._api.kinds(group, version) or {}
        self._versions[group] = versions
        self._asked[group] = self._clock()

    async def _versions_of(self, group: str) -> tuple[str, ...]:
        """The preferred one first."""
        if not group:
            return ("v1",)
        found = await self._api.get(f"/apis/{group}")
        if found is None:
            return ()
        preferred = (found.get("preferredVersion") or {}).get("version")
        others = [version["version"] for version in found.get("versions") or ()]
        return tuple(dict.fromkeys([preferred, *others] if preferred else others))
