"""The collector: an Inventory for each vCenter that discovery states present, whenever something about it changed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vcenter_operator.collector import metrics
from vcenter_operator.collector.keeping import Sessions
from vcenter_operator.collector.metrics import Session
from vcenter_operator.collector.ports import Access, Credentials, VCenters
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.collector.standing import Standing
from vcenter_operator.collector.watch import Watch
from vcenter_operator.common.bus import Bus, Ownership
from vcenter_operator.common.configuration import Configuration, ConfigurationSource
from vcenter_operator.common.errors import OperatorError, OwnershipLost
from vcenter_operator.common.messages import DnsChange, Inventory, ResyncRequest, Stage, Statement
from vcenter_operator.common.record import Store
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_RETRY_CONFIGURATION = 5.0


@dataclass
class _Watched:
    standing: Standing
    watch: Watch

    @property
    def host(self) -> str:
        return self.standing.host

    @property
    def session(self) -> Session | None:
        return self.watch.session

    @property
    def read_at(self) -> float | None:
        return self.watch.read_at

    @property
    def statement(self) -> Inventory | None:
        return self.standing.statement

    async def close(self, *, keep: bool) -> None:
        """Ends the session, or keeps it for a moment, and then records what it came to."""
        await self.watch.stop(keep=keep)
        await self.standing.close()

    async def repeat(self) -> None:
        """Says and records again what is current, whatever hinders one of the two. Raises nothing."""
        for again in (self.standing.repeat, self.standing.keep_recorded):
            try:
                await again()
            except OperatorError as error:
                log.info("could not be repeated", vcenter=self.standing.host, error=str(error))


@dataclass
class _Partition:
    ownership: Ownership
    vcenters: dict[str, _Watched] = field(default_factory=dict)


class CollectorService:
    """Consumer of DnsChanges, producer of Inventories."""

    def __init__(
        self,
        *,
        bus: Bus,
        store: Store,
        configuration: ConfigurationSource,
        vcenters: VCenters,
        settings: CollectorSettings,
    ) -> None:
        self._bus = bus
        self._store = store
        self._configuration = configuration
        self._vcenters = vcenters
        self._sessions = Sessions(vcenters)
        self._settings = settings
        self._partitions: dict[int, _Partition] = {}
        self._deriving = asyncio.Lock()

    async def run(self) -> None:
        """Collects until cancelled."""
        try:
            with metrics.shown(self._all):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._bus.serve(Stage.COLLECTOR, self))
                    group.create_task(self._repeat())
                    group.create_task(self._follow_access())
        finally:
            await self._sessions.close()

    async def take(self, ownership: Ownership) -> None:
        """See `Consumer.take`. Which vCenters there are is asked of discovery."""
        self._partitions[ownership.partition] = _Partition(ownership)
        await self._bus.request(ResyncRequest(stage=Stage.DISCOVERY, partition=0))

    async def release(self, ownership: Ownership) -> None:
        """See `Consumer.release`. Ends every session of the partition; one that was lost may be had again soon."""
        if partition := self._partitions.pop(ownership.partition, None):
            lost = not ownership.held
            await asyncio.gather(*(watched.close(keep=lost) for watched in partition.vcenters.values()))

    async def handle(self, statement: Statement, ownership: Ownership) -> None:
        """See `Consumer.handle`. Starts, redirects or ends the watch over a vCenter."""
        assert isinstance(statement, DnsChange)
        watched = self._watched(statement, ownership)
        standing = watched.standing
        if statement.older_than(standing.change):
            log.debug("an older statement is dropped", revision=str(statement.revision))
            return
        if statement.present:
            standing.adopt(statement)
            await watched.watch.follow(statement.addresses)
            await standing.publish()
        else:
            await watched.watch.stop()
            standing.adopt(statement)
            await standing.state_gone()

    async def resync(self, request: ResyncRequest, ownership: Ownership) -> None:
        """See `Consumer.resync`. Repeats what is stated of one vCenter, or of all in the partition."""
        partition = self._partitions.get(ownership.partition)
        vcenters = partition.vcenters.items() if partition else ()
        await _repeat_all(watched for host, watched in vcenters if request.host in (None, host))

    def _watched(self, change: DnsChange, ownership: Ownership) -> _Watched:
        partition = self._partitions.get(ownership.partition)
        if partition is None or partition.ownership is not ownership:
            raise OwnershipLost(f"partition {ownership.partition} is not owned any more")
        if change.host not in partition.vcenters:
            standing = Standing(change, ownership, self._bus, self._store)
            watch = Watch(standing, self._vcenters, self._sessions, self._access, self._settings)
            partition.vcenters[change.host] = _Watched(standing, watch)
        return partition.vcenters[change.host]

    def _all(self) -> Iterator[_Watched]:
        for partition in list(self._partitions.values()):
            yield from list(partition.vcenters.values())

    async def _access(self, host: str) -> Access:
        """What to log on to a vCenter with. Raises ConfigurationError, TransientError."""
        configuration = await self._configuration.current()
        async with self._deriving:  # the first derivation for a user is expensive, all others wait for it
            password = await asyncio.to_thread(configuration.password_for, host)
        pinned = self._pinned(configuration).get(host, frozenset())
        return Access(Credentials(configuration.username, password), pinned, configuration.digest_of(password))

    def _pinned(self, configuration: Configuration) -> Mapping[str, frozenset[str]]:
        return {**self._settings.vcenter_thumbprints, **configuration.vcenter_thumbprints}

    async def _follow_access(self) -> None:
        known: Configuration | None = None
        while True:
            try:
                async for configuration in self._configuration.changes():
                    if known is not None:
                        await self._log_on_again(known, configuration)
                    known = configuration
            except OperatorError as error:
                log.warning("the Secret cannot be followed, will try again", error=str(error))
            await asyncio.sleep(_RETRY_CONFIGURATION)

    async def _log_on_again(self, before: Configuration, after: Configuration) -> None:
        """Wherever what counts for a vCenter changed."""
        everywhere = (before.username, before.required("password")) != (after.username, after.required("password"))
        was, pinned = self._pinned(before), self._pinned(after)
        changed = [
            watched
            for watched in self._all()
            if everywhere or was.get(watched.standing.host) != pinned.get(watched.standing.host)
        ]
        if changed:
            log.info("credentials or thumbprints in the Secret changed, logging on anew", vcenters=len(changed))
            await asyncio.gather(*(watched.watch.log_on_again() for watched in changed))

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.repeat_every * random.uniform(0.8, 1))  # noqa: S311
            await _repeat_all(self._all())


async def _repeat_all(vcenters: Iterable[_Watched]) -> None:
    """Each by itself: one that has to wait holds up no other."""
    await asyncio.gather(*(watched.repeat() for watched in vcenters))
