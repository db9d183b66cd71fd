"""What one replica does while it owns the zone: look, compare, state; what is known stays where it cannot look."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from vcenter_operator.common.bus.port import Bus, Ownership
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.messages import DnsChange, Stage
from vcenter_operator.common.record import Condition, Discovered, Store
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.tracing import Observation
from vcenter_operator.discovery import metrics
from vcenter_operator.discovery.core import conditions
from vcenter_operator.discovery.core.changes import Revisions, Sighting, changes
from vcenter_operator.discovery.core.conditions import Trouble
from vcenter_operator.discovery.core.lineage import LOOKS, Lineage, Standing
from vcenter_operator.discovery.core.serial import is_newer
from vcenter_operator.discovery.core.zone import Version, ZoneCopy, vcenters
from vcenter_operator.discovery.holding import Holding
from vcenter_operator.discovery.outbox import Outbox
from vcenter_operator.discovery.ports import Zone, ZoneUnavailable
from vcenter_operator.discovery.settings import DiscoverySettings

log = logger(__name__)

_AFTER_A_HINT = (0.5, 1.0, 2.0)
"""Seconds between looks after a hint that was not borne out: the server asked may lag behind the one that told."""


@dataclass
class _Reading:
    """How reading the zone goes."""

    failures: int = 0
    since: float = 0.0
    """When the first of these failures was (monotonic)."""
    trouble: Trouble | None = None
    shown: bool = False
    """Whether the trouble is in the vCenters' conditions."""


class ZoneWatch:
    """From the take of the zone to its release. States nothing before it knows a complete zone."""

    def __init__(
        self, *, zone: Zone, domain: str, bus: Bus, store: Store, ownership: Ownership, settings: DiscoverySettings
    ) -> None:
        self._zone = zone
        self._domain = domain
        self._store = store
        self._settings = settings
        self._revisions = Revisions(ownership.epoch)
        self._outbox = Outbox(bus, store, ownership)
        self._delays = RetryDelays(first=1.0, longest=settings.dns_retry_longest)
        self._known: dict[str, Discovered] = {}
        """All that is known of each vCenter, from the record at first."""
        self.vcenters: dict[str, bool] | None = None
        """Whether the zone has them, of all that are stated; None: no complete zone was believed yet."""
        self._remembered: set[str] = set()
        """Every vCenter that has a record."""
        self._stated: dict[str, Sighting] = {}
        """What was stated in this epoch."""
        self._version: Version | None = None
        """Of the zone that was looked at last, believed or not."""
        self._lineage = Lineage(patience=settings.zone_set_back_after if zone.may_lag else 0)
        self._told_of_lag = False
        self._unborne = 0
        """Looks in a row at which the serial was stated by one server, and the transfer answered by one behind it."""
        self._hint = asyncio.Event()
        self._hinted: list[float] = []
        """Pauses between the next looks."""
        self._holding = Holding(store, settings)
        self._reading = _Reading()
        self.seen_at: float | None = None
        """When the server last answered a look as it should (seconds since the epoch)."""

    @property
    def serial(self) -> int | None:
        """Of the zone that was read last."""
        return self._version.serial if self._version is not None else None

    async def run(self) -> None:
        """Until cancelled."""
        with metrics.shown(self, self._holding, self._outbox):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._outbox.run(), name="outbox")
                group.create_task(self._repeat(), name="repeat")
                await self._remember()
                while True:
                    await self._pause(await self._look())

    def say_again(self, host: str | None = None) -> None:
        """Repeats the current statement about one vCenter, or all."""
        self._outbox.say_again(host)

    def look(self) -> None:
        """Somebody says that the zone changed: looks now."""
        self._hint.set()

    async def _remember(self) -> None:
        """Reads the record: what is there and not in the zone is gone, however long nobody looked."""
        failures = 0
        while True:
            try:
                records = await self._store.list()
                break
            except Exception as error:
                failures += 1
                tell = log.warning if failures == 1 else log.debug
                tell("the record cannot be read yet, nothing is stated", error=str(error), attempts=failures)
                await asyncio.sleep(_jittered(self._delays.after(failures)))
        if failures:
            log.info("the record is read", attempts=failures + 1)
        for record in records:
            self._remembered.add(record.host)
            if record.discovered is not None:
                self._known[record.host] = record.discovered
                self._outbox.remember(record)
        self._lineage.remember(section.serial for section in self._known.values())

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_jittered(self._settings.repeat_every))
            self._outbox.say_again()
            try:
                await self._look_after_the_record()
            except Exception as error:
                log.info("the record cannot be looked at", error=str(error))

    async def _look_after_the_record(self) -> None:
        """What somebody deleted of it is written again. One that is gone from the zone may be forgotten so."""
        for host in [host for host, section in self._known.items() if section.present]:
            record = await self._store.get(host, fresh=False)
            if record is None or record.discovered is None:
                self._outbox.record_again(host)

    async def _pause(self, seconds: float) -> None:
        """Until the next look."""
        changed = asyncio.create_task(self._zone.changed(), name="zone changed")
        hint = asyncio.create_task(self._hint.wait(), name="hint")
        try:
            done, _ = await asyncio.wait({changed, hint}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            changed.cancel()
            hint.cancel()

    async def _look(self) -> float:
        """One look at the zone. Seconds until the next."""
        if self._hint.is_set():
            self._hint.clear()
            self._hinted = list(_AFTER_A_HINT)
        observation = Observation(Stage.DISCOVERY)
        try:
            version = await self._zone.version()
            standing = self._lineage.weigh(version.serial, time.monotonic())
            await self._holding.heed()
            copy = await self._read(version, standing, observation)
            self._succeeded()
            if copy is not None:
                self._hinted = []
                self._judge(copy, observation)
                self._version = copy.version
        except Exception as error:
            return self._failed(error)
        return self._until_next(version)

    def _until_next(self, version: Version) -> float:
        regular = self._settings.dns_poll_every
        self._unborne = self._unborne + 1 if self._version != version and not self._lineage.doubted else 0
        if self._lineage.doubted:
            regular = min(regular, self._settings.zone_set_back_after / LOOKS)
        elif self._unborne:
            regular = min(regular, self._delays.after(self._unborne))
        if self._hinted:
            regular = min(regular, self._hinted.pop(0))
        pause = _jittered(regular)
        held = self._holding.held
        if held is not None and not held.due:
            pause = min(pause, held.until - time.monotonic())
        return pause

    async def _read(self, version: Version, standing: Standing, observation: Observation) -> ZoneCopy | None:
        """A complete zone, if there is one that was not looked at yet and is not older than what is known."""
        if standing is Standing.BEHIND:
            self._tell_of_lag(version)
            return None
        second = self._holding.held is not None and self._holding.held.due
        if version == self._version and not second:
            return None
        with observation.step("transfer zone"):
            copy = await self._zone.transfer(afresh=second or standing is Standing.SET_BACK)
        if self._lineage.is_behind(copy.version.serial):
            if standing is not Standing.SET_BACK:
                self._tell_of_lag(copy.version)
                return None
            log.warning("the zone's serial went backwards", serial=copy.version.serial, was=self._lineage.newest)
        return copy

    def _tell_of_lag(self, version: Version) -> None:
        tell = log.debug if self._told_of_lag else log.warning
        self._told_of_lag = True
        tell(
            "an older serial than is known: a server that lags behind another, or a zone that was set back; believed "
            "once nothing else has been seen for a while",
            server=version.source,
            serial=version.serial,
            known=self._lineage.newest,
            seconds=self._settings.zone_set_back_after,
        )

    def _judge(self, copy: ZoneCopy, observation: Observation) -> None:
        serial = copy.version.serial
        self._lineage.accept(serial)
        found = vcenters(copy.names, self._domain)
        before = self._holding.held
        believed = self._holding.believes(self._known, found.keys(), serial)
        if self._holding.held is not before:
            self._show()
        if believed:
            self._believe(serial, found, observation)

    def _believe(self, serial: int, found: dict[str, tuple[str, ...]], observation: Observation) -> None:
        for host, sighting in changes(self._stated, found, self._remembered).items():
            revision = self._revisions.mint()
            with observation.stated("zone changed", host, None, serial=serial, present=sighting.present) as trace:
                change = DnsChange(
                    host=host,
                    present=sighting.present,
                    addresses=sighting.addresses,
                    revision=revision,
                    serial=serial,
                    trace=trace,
                )
            log.info("vCenter", vcenter=host, present=change.present, serial=serial, revision=str(revision))
            self._stated[host] = sighting
            before = self._known.get(host)
            self._known[host] = Discovered(
                present=sighting.present,
                serial=serial,
                revision=revision,
                addresses=sighting.addresses,
                gone_since=None if sighting.present else (before and before.gone_since) or _now(),
            )
            self._outbox.state(change, self._section(host))
        self.vcenters = {host: sighting.present for host, sighting in self._stated.items()}
        for host, section in self._known.items():
            # After a set-back, what is recorded would be newer than all that follows.
            if is_newer(section.serial, serial):
                self._known[host] = section.model_copy(update={"serial": serial})
                self._outbox.annotate(host, self._section(host))

    def _failed(self, error: Exception) -> float:
        """What is known stays. Seconds until the next attempt."""
        reading = self._reading
        reading.failures += 1
        if reading.failures == 1:
            reading.since = time.monotonic()
        reason = error.reason if isinstance(error, ZoneUnavailable) else "UnexpectedError"
        delay = _jittered(self._delays.after(reading.failures))
        if reading.trouble is None or reading.trouble.reason != reason:
            reading.trouble, reading.shown = Trouble(reason, str(error) or type(error).__name__), False
            log.warning(
                "the zone cannot be read: what was last known stays",
                reason=reason,
                error=reading.trouble.message,
                serial=self._version.serial if self._version is not None else None,
                exc_info=not isinstance(error, ZoneUnavailable),
            )
        else:
            log.debug("still no zone", reason=reason, error=str(error), attempts=reading.failures, delay=delay)
        if not reading.shown and time.monotonic() - reading.since >= self._settings.zone_unreadable_after:
            reading.shown = True
            self._show()
        return delay

    def _succeeded(self) -> None:
        self.seen_at = time.time()
        reading, self._reading = self._reading, _Reading()
        if reading.failures:
            log.info("the zone is read again", attempts=reading.failures + 1)
        if reading.shown:
            self._show()

    def _show(self) -> None:
        """Brings the conditions of all vCenters up to date. Only what differs is written."""
        for host in self._known:
            self._outbox.annotate(host, self._section(host))

    def _section(self, host: str) -> Discovered:
        known = self._known[host]
        return known.model_copy(update={"conditions": (self._condition(host, known),)})

    def _condition(self, host: str, known: Discovered) -> Condition:
        held = self._holding.held
        if held is not None and host in held.doubt.lost:
            return conditions.held(self._domain, held.serial, held.doubt, held.word)
        if self._reading.shown and self._reading.trouble is not None:
            return conditions.unreadable(self._reading.trouble)
        tell = conditions.in_zone if known.present else conditions.not_in_zone
        return tell(self._domain, known.serial)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - nothing secret about it
