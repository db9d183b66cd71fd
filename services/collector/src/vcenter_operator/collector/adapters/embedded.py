"""vCenters described in a site file: for previews, for developing and for one-node installs.

What a vCenter would say is taken from the file as it is at that moment. A cluster that is taken out of the file is
gone, as if the vCenter had answered ManagedObjectNotFound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from vcenter_operator.collector.core.conventions import Convention
from vcenter_operator.collector.core.evidence import conclude
from vcenter_operator.collector.core.model import (
    ABSENT,
    Answer,
    Member,
    Members,
    Reference,
    SeenCluster,
    Snapshot,
    Unreadable,
    cluster_reference,
)
from vcenter_operator.collector.ports import Credentials, Endpoint, Unreachable
from vcenter_operator.common.embedded.site import ClusterDescription, Site, SiteDescription, VCenterDescription
from vcenter_operator.common.identity import NEVER
from vcenter_operator.common.messages import Inventory, ZoneSource


class SiteVCenters:
    """Every vCenter of a site file; takes any credentials."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def log_on(self, endpoint: Endpoint, credentials: Credentials) -> SiteVCenter:  # noqa: ARG002 - the port's
        """See `VCenters.log_on`."""
        _described(self._site.current, endpoint.host)
        return SiteVCenter(self._site, endpoint.host)

    async def probe(self, endpoint: Endpoint) -> None:
        """See `VCenters.probe`."""
        _described(self._site.current, endpoint.host)


class SiteVCenter:
    """One vCenter of a site file."""

    def __init__(self, site: Site, host: str) -> None:
        self._site = site
        self._host = host
        self._seen: VCenterDescription | None = None

    async def snapshot(self) -> Snapshot:
        """See `VCenter.snapshot`."""
        self._seen = _described(self._site.current, self._host)
        return read(self._seen)

    async def ask(self, references: Sequence[Reference]) -> dict[Reference, Answer]:
        """See `VCenter.ask`."""
        names: dict[Reference, Answer] = {
            cluster_reference(cluster.moid): name
            for datacenter in _described(self._site.current, self._host).datacenters.values()
            for name, cluster in datacenter.clusters.items()
        }
        return {reference: names.get(reference, ABSENT) for reference in references}

    async def wait_for_change(self, timeout: float) -> bool:
        """See `VCenter.wait_for_change`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                async for site in self._site.changes():
                    if site.vcenters.get(self._host) != self._seen:
                        return True
        return False

    async def watch_anew(self) -> None:
        """See `VCenter.watch_anew`: everything is seen always."""

    async def resume(self) -> None:
        """See `VCenter.resume`: nothing was broken off."""

    async def close(self) -> None:
        """See `VCenter.close`."""


def read(described: VCenterDescription) -> Snapshot:
    """What a reading of the vCenter shows."""
    return Snapshot(
        tuple(
            SeenCluster(cluster.moid, name, datacenter, *_lists(cluster))
            for datacenter, within in described.datacenters.items()
            for name, cluster in within.clusters.items()
        )
    )


def site_inventory(site: SiteDescription, host: str, convention: Convention | None = None) -> Inventory:
    """What would be stated of one vCenter of a site that nothing is recorded of: for rendering without a pipeline.

    Raises Unreachable where the site has no such vCenter, or says that it is unreachable.
    """
    conclusion = conclude(convention or Convention(), (), read(_described(site, host)), {})
    return Inventory(
        host=host,
        present=True,
        revision=NEVER,
        zone=ZoneSource(revision=NEVER, serial=0),
        clusters=conclusion.clusters,
        unknown=conclusion.unknown,
    )


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
