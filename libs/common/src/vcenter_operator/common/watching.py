"""The state of a collection of Kubernetes objects, kept current: from the API server, or from a folder."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

Key = tuple[str, str]
"""Namespace (empty where cluster-scoped) and name."""


@dataclass(frozen=True)
class Snapshot:
    """All objects of a collection at one moment. Nobody may change them."""

    items: Mapping[Key, dict[str, Any]] = field(default_factory=dict)
    """Whole objects, with apiVersion and kind."""
    position: int = 0
    """How far this state has come: never lower than before, in this process or in an earlier owner that looked before.

    It may move without a change of content (a new list has the cluster's newest resourceVersion): it tells older from
    newer, not whether something changed.
    """

    @cached_property
    def fingerprint(self) -> str:
        """Tells whether the content is the same: equal in every replica and after a restart if it is.

        The status of a custom resource does not count, see `version_of`.
        """
        content = sorted((*key, version_of(item)) for key, item in self.items.items())
        return hashlib.sha256(repr(content).encode()).hexdigest()


def version_of(item: Mapping[str, Any]) -> int:
    """A number for an object's content: the same while nothing but its status or metadata changes.

    Made of uid and `metadata.generation`, where the kind has one (the resourceVersion moves with every write of the
    status as well); of the resourceVersion for others. It says same or different, not older or newer.
    """
    metadata = item["metadata"]
    if (generation := metadata.get("generation")) is None:
        return int(metadata["resourceVersion"])
    digest = hashlib.sha256(f"{metadata.get('uid')}/{generation}".encode()).digest()
    return int.from_bytes(digest[:6])


class Watched(Protocol):
    """A collection whose state is kept current."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest state; None: not read yet. It stays as it is while the source is away."""
        ...

    async def fresh(self) -> Snapshot:
        """The state now, read after this was called. Raises TransientError."""
        ...

    def changes(self) -> AsyncIterator[Snapshot]:
        """Yields the current state, then the newest after each change; bursts are coalesced."""
        ...
