"""vCenters that say, or fail to say, what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from vcenter_operator.collector.core.model import (
    ABSENT,
    Answer,
    Member,
    Reference,
    SeenCluster,
    Snapshot,
    Unreadable,
    cluster_reference,
)
from vcenter_operator.collector.ports import Credentials, Endpoint, LoginRefused, Unreachable

NO_RIGHT = Unreadable("NoPermission")


def cluster(moid: str, name: str, *, datacenter: str = "QA-DE-1A", eph: Sequence[str] = ("eph-1",)) -> SeenCluster:
    """A cluster of which everything can be read."""
    datastores = tuple(Member(Reference("Datastore", each), each) for each in eph)
    networks = (Member(Reference("Network", f"br-{moid}"), f"br-{moid}"),)
    return SeenCluster(moid, name, datacenter, datastores, networks)


class FakeVCenter:
    """The vCenter itself, which outlives sessions."""

    def __init__(self, *clusters: SeenCluster) -> None:
        self.clusters = {each.moid: each for each in clusters}
        self.blind = False
        """The account lost its rights: nothing is listed, everything answers NoPermission."""
        self.failure: Exception | None = None
        """Raised by every call while it is set."""
        self.hanging = False
        """No call ever returns."""
        self.password: str | None = None
        """None: any will do."""
        self.endpoints: list[Endpoint] = []
        """Of each login that was tried."""
        self.probes = 0
        self.open = 0
        """Sessions."""
        self.open_at_most = 0
        self.readings = 0
        self.instance: str | None = None
        self.asked: list[Reference] = []
        self._changed: set[asyncio.Event] = set()

    def hold(self, *clusters: SeenCluster) -> None:
        """Holds these clusters from now on, and says so."""
        self.clusters = {each.moid: each for each in clusters}
        self.tell()

    def tell(self) -> None:
        """Reports a change to every session."""
        for event in self._changed:
            event.set()

    async def log_on(self, endpoint: Endpoint, credentials: Credentials) -> FakeSession:
        self.endpoints.append(endpoint)
        await self.check()
        if self.password not in (None, credentials.password):
            raise LoginRefused(f"it refuses user {credentials.username}")
        self.open += 1
        self.open_at_most = max(self.open_at_most, self.open)
        event = asyncio.Event()
        self._changed.add(event)
        return FakeSession(self, event)

    async def probe(self) -> None:
        self.probes += 1
        await self.check()

    async def check(self) -> None:
        if self.hanging:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure

    def close(self, event: asyncio.Event) -> None:
        self.open -= 1
        self._changed.discard(event)


class FakeSession:
    """Keeps the port `VCenter`."""

    def __init__(self, vcenter: FakeVCenter, changed: asyncio.Event) -> None:
        self._vcenter = vcenter
        self._changed = changed

    async def snapshot(self) -> Snapshot:
        await self._vcenter.check()
        self._vcenter.readings += 1
        return Snapshot(() if self._vcenter.blind else tuple(self._vcenter.clusters.values()), self._vcenter.instance)

    async def ask(self, references: Sequence[Reference]) -> dict[Reference, Answer]:
        await self._vcenter.check()
        self._vcenter.asked += references
        names: dict[Reference, Answer] = {
            cluster_reference(each.moid): each.name for each in self._vcenter.clusters.values()
        }
        if self._vcenter.blind:
            return dict.fromkeys(references, NO_RIGHT)
        return {reference: names.get(reference, ABSENT) for reference in references}

    async def wait_for_change(self, timeout: float) -> bool:
        await self._vcenter.check()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        reported = self._changed.is_set()
        self._changed.clear()
        await self._vcenter.check()
        return reported

    async def watch_anew(self) -> None:
        await self._vcenter.check()

    async def resume(self) -> None:
        await self._vcenter.check()

    async def close(self) -> None:
        self._vcenter.close(self._changed)


class FakeVCenters:
    """Keeps the port `VCenters`: by FQDN."""

    def __init__(self) -> None:
        self.vcenters: dict[str, FakeVCenter] = {}

    async def log_on(self, endpoint: Endpoint, credentials: Credentials) -> FakeSession:
        vcenter = self.vcenters.get(endpoint.host)
        if vcenter is None:
            raise Unreachable("Connection refused")
        return await vcenter.log_on(endpoint, credentials)

    async def probe(self, endpoint: Endpoint) -> None:
        vcenter = self.vcenters.get(endpoint.host)
        if vcenter is None:
            raise Unreachable("Connection refused")
        await vcenter.probe()
