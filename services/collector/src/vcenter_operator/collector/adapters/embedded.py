"""vCenters described in a site file: for previews, for developing and for one-node installs.

What a vCenter would say is taken from the file as it is at that moment. A cluster that is taken out of the file is
gone. A vCenter without any datacenter in the file behaves as one whose account lost its rights: it lists nothing, and
answers NoPermission for everything that was there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from vcenter_operator.collector.core.model import (
    ABSENT,
    Answer,
    Member,
    Members,
    Reference,
    SeenCluster,
    Snapshot,
    Unreadable,
)
from vcenter_operator.collector.ports import Credentials, Endpoint, Unreachable
from vcenter_operator.common.embedded.site import ClusterDescription, Site, SiteDescription, VCenterDescription

_NO_RIGHTS = Unreadable("NoPermission: the site file shows nothing of this vCenter")


class SiteVCenters:
    """Every vCenter of a site file; takes any credentials."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def log_on(self, endpoint: Endpoint, credentials: Credentials) -> SiteVCenter:  # noqa: ARG002 - the port's
        """See `VCenters.log_on`."""
        _described(self._site.current, endpoint.host)
        return SiteVCenter(self._site, endpoint.host)


class SiteVCenter:
    """One vCenter of a site file."""

    def __init__(self, site: Site, host: str) -> None:
        self._site = site
        self._host = host
        self._changes = _states(site)
        self._seen = site.current
        self._next: asyncio.Task[SiteDescription] | None = None

    async def snapshot(self) -> Snapshot:
        """See `VCenter.snapshot`."""
        self._seen = self._site.current
        vcenter = _described(self._seen, self._host)
        return Snapshot(
            tuple(
                SeenCluster(cluster.moid, name, datacenter, *_lists(cluster))
                for datacenter, described in vcenter.datacenters.items()
                for name, cluster in described.clusters.items()
            )
        )

    async def ask(self, references: Sequence[Reference]) -> dict[Reference, Answer]:
        """See `VCenter.ask`."""
        vcenter = _described(self._site.current, self._host)
        nothing: Answer = ABSENT if vcenter.datacenters else _NO_RIGHTS
        names: dict[Reference, Answer] = {
            Reference("ClusterComputeResource", cluster.moid): name
            for datacenter in vcenter.datacenters.values()
            for name, cluster in datacenter.clusters.items()
        }
        return {reference: names.get(reference, nothing) for reference in references}

    async def wait_for_change(self, timeout: float) -> bool:
        """See `VCenter.wait_for_change`."""
        before = self._seen.vcenters.get(self._host)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    if self._site.current.vcenters.get(self._host) != before:
                        return True
                    await self._changed()
        return False

    async def close(self) -> None:
        """See `VCenter.close`."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        await self._changes.aclose()

    async def _changed(self) -> None:
        # A task, since a timeout must not end the iterator.
        if self._next is None:
            self._next = asyncio.create_task(anext(self._changes))
        await asyncio.shield(self._next)
        self._next = None


async def _states(site: Site) -> AsyncGenerator[SiteDescription]:
    async for state in site.changes():
        yield state


def _described(site: SiteDescription, host: str) -> VCenterDescription:
    described = site.vcenters.get(host)
    if described is None:
        raise Unreachable("the site file has no such vCenter")
    if described.unreachable:
        raise Unreachable("the site file says that it is unreachable")
    return described


def _lists(cluster: ClusterDescription) -> tuple[Members, Members]:
    if cluster.unreadable:
        hidden = Unreadable("the site file says that it is unreadable")
        return hidden, hidden
    return _members("Datastore", cluster.datastores), _members("Network", cluster.networks)


def _members(kind: str, names: Sequence[str]) -> tuple[Member, ...]:
    return tuple(Member(Reference(kind, name), name) for name in names)
