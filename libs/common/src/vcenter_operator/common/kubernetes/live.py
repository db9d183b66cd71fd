"""A collection of which little is kept, current by a watch, and by one's own writes as soon as they are answered."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Generic, TypeVar

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.kubernetes.api import Listing, Resource
from vcenter_operator.common.kubernetes.following import Follower

K = TypeVar("K")
T = TypeVar("T")


class LiveView(Follower, Generic[K, T]):
    """What is known of each object. Of an object the newest version counts, whichever way it came.

    So an event that was under way while the object was written here undoes nothing, and neither does one of an object
    that was deleted here.
    """

    def __init__(self, client: ApiClient, resource: Resource, *, metadata_only: bool = False) -> None:
        super().__init__(client, resource, metadata_only=metadata_only)
        self._items: dict[K, T] = {}
        self._gone: dict[K, int] = {}
        self._revision = 0

    @abstractmethod
    def reduced(self, item: Mapping[str, Any]) -> T:
        """What is kept of an object."""

    @abstractmethod
    def key(self, one: T) -> K:
        """What it is known by."""

    @abstractmethod
    def version(self, one: T) -> int:
        """Its resourceVersion."""

    @abstractmethod
    def changed(self, before: T | None, after: T | None, *, own: bool) -> None:
        """One is different now; `own`: by what was written here, else by what the server showed."""

    @property
    def items(self) -> Mapping[K, T]:
        """All that is known."""
        return self._items

    @property
    def revision(self) -> int:
        """See `Follower.revision`."""
        return self._revision

    def kept(self, item: dict[str, Any]) -> T:
        """See `Follower.kept`."""
        return self.reduced(item)

    def listed(self, listing: Listing, *, anyhow: bool) -> None:
        """See `Follower.listed`."""
        set_back = listing.resource_version < self._revision
        if set_back and not anyhow:
            return
        self._revision = listing.resource_version
        if set_back:
            self._gone.clear()
            for one in list(self._items.values()):
                self._set(one, None, own=False)
        self.corrected(list(self._items.values()), listing.items, listing.resource_version)
        self._gone = {key: version for key, version in self._gone.items() if version > listing.resource_version}

    def corrected(self, known: Collection[T], found: Iterable[T], revision: int) -> None:
        """Takes over a list of that resourceVersion: what is `found` is all there is of what was `known`.

        A list that was under way while the watch went on may have what ended since. Of an object that it has in an
        older version than was known before, the server was set back, and has counted on beyond that.
        """
        left = {self.key(one): one for one in known}
        for one in found:
            key, known_one = self.key(one), self._items.get(self.key(one))
            left.pop(key, None)
            if known_one is None and revision < self._revision:
                continue
            if known_one is not None and self.version(one) < self.version(known_one) <= revision:
                self._set(known_one, one, own=False)
            else:
                self._newer(one, own=False)
        for one in left.values():
            if self.version(one) <= revision:
                self._set(one, None, own=False)

    def happened(self, kind: str, item: dict[str, Any]) -> None:
        """See `Follower.happened`."""
        revision = int(item["metadata"]["resourceVersion"])
        if revision <= self._revision:
            return
        self._revision = revision
        if kind == "BOOKMARK":
            return
        one = self.reduced(item)
        if kind != "DELETED":
            self._newer(one, own=False)
            return
        self._gone.pop(self.key(one), None)
        known = self._items.get(self.key(one))
        if known is not None and self.version(known) <= revision:
            self._set(known, None, own=False)

    def wrote(self, one: T) -> None:
        """The answer to a write of one's own. It ended meanwhile where the watch is beyond it and has none."""
        if self.key(one) in self._items or self.version(one) > self._revision:
            self._newer(one, own=True)

    def deleted(self, one: T) -> None:
        """It was deleted here, in exactly this version."""
        key = self.key(one)
        self._gone[key] = self.version(one)
        known = self._items.get(key)
        if known is not None and self.version(known) <= self.version(one):
            self._set(known, None, own=True)

    def _newer(self, one: T, *, own: bool) -> None:
        key, version = self.key(one), self.version(one)
        known = self._items.get(key)
        if known == one or version <= self._gone.get(key, -1):
            return
        if known is None or self.version(known) <= version:
            self._set(known, one, own=own)

    def _set(self, before: T | None, after: T | None, *, own: bool) -> None:
        if after is not None:
            self._items[self.key(after)] = after
        elif before is not None:
            self._items.pop(self.key(before), None)
        self.changed(before, after, own=own)
