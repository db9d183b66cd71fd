"""The discovery's statements on their way out: first into the record, then onto the bus, retried until both hold.

In this order a crash in between loses nothing: a vCenter that was ever stated is remembered, so that its absence
will be noticed by whoever takes over, and whoever takes over states all that is remembered anew.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from vcenter_operator.common.bus.port import Bus, Ownership
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import OperatorError, OwnershipLost, StaleRecord
from vcenter_operator.common.messages import DnsChange
from vcenter_operator.common.record import Discovered, Record, Store
from vcenter_operator.common.record.port import ABSENT
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_AT_ONCE = 16
_EFFECT_TIMEOUT = 30.0


@dataclass
class _Entry:
    """One vCenter. `section` is what the record should hold, `statement` what is true of it in this epoch."""

    section: Discovered
    statement: DnsChange | None = None
    published: bool = True
    recorded: Discovered | None = None

    @property
    def settled(self) -> bool:
        return self.published and self.section == self.recorded


class Outbox:
    """Holds the current statement of each vCenter, from one take of the zone to its release."""

    def __init__(self, bus: Bus, store: Store, ownership: Ownership, *, delays: RetryDelays | None = None) -> None:
        self._bus = bus
        self._store = store
        self._ownership = ownership
        self._delays = delays or RetryDelays(first=0.5, longest=15.0)
        self._entries: dict[str, _Entry] = {}
        self._busy: set[str] = set()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @property
    def unsettled(self) -> int:
        """How many vCenters something is still to be recorded or published of."""
        return sum(not entry.settled for entry in self._entries.values())

    def remember(self, record: Record) -> None:
        """What the record holds of a vCenter that nothing is stated of yet."""
        if record.discovered is not None:
            self._entries[record.host] = _Entry(record.discovered, recorded=record.discovered)

    def annotate(self, host: str, section: Discovered) -> None:
        """The record shall hold this; nothing is said on the bus."""
        self._entries[host].section = section
        self._wake.set()

    def state(self, statement: DnsChange, section: Discovered) -> None:
        """A new truth: supersedes what was to be said of the vCenter before."""
        entry = self._entries.setdefault(statement.host, _Entry(section))
        entry.section, entry.statement, entry.published = section, statement, False
        self._wake.set()

    def say_again(self, host: str | None = None) -> None:
        """Repeats the current statement of one vCenter, or of all; what is still to be said is not said twice."""
        for key in [host] if host is not None else list(self._entries):
            entry = self._entries.get(key)
            if entry is not None and entry.statement is not None and entry.published:
                entry.statement, entry.published = entry.statement.repeated(), False
        self._wake.set()

    def record_again(self, host: str) -> None:
        """Somebody deleted what was recorded of the vCenter, or made it unreadable."""
        entry = self._entries[host]
        if entry.recorded is not None and host not in self._busy:
            log.warning("the record was deleted: written again", vcenter=host)
            entry.recorded = None
            self._wake.set()

    async def run(self) -> None:
        """Delivers until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                for host, entry in self._entries.items():
                    if not entry.settled and host not in self._busy:
                        self._busy.add(host)
                        group.create_task(self._settle(host, entry), name=f"outbox {host}")
                await self._wake.wait()

    async def _settle(self, host: str, entry: _Entry) -> None:
        failures = 0
        try:
            while not entry.settled:
                try:
                    async with self._slots:
                        await self._attempt(host, entry)
                    failures = 0
                except Exception as error:
                    failures += 1
                    self._report(host, error, failures)
                    await asyncio.sleep(self._delays.after(failures) * random.uniform(0.8, 1.2))  # noqa: S311
        finally:
            self._busy.discard(host)
            self._wake.set()

    async def _attempt(self, host: str, entry: _Entry) -> None:
        if entry.section != entry.recorded:
            async with asyncio.timeout(_EFFECT_TIMEOUT):
                await self._record(host, entry)
        statement = entry.statement
        if entry.published or statement is None or entry.section != entry.recorded:
            return
        self._ownership.verify()
        async with asyncio.timeout(_EFFECT_TIMEOUT):
            await self._bus.publish(statement)
        # What was stated meanwhile is still to be recorded and said.
        entry.published = entry.statement is statement

    async def _record(self, host: str, entry: _Entry) -> None:
        """By what is known of the record; where that turns out to be behind, the record is read."""
        section = entry.section
        for fresh in (False, True, True):
            version = await self._look_up(host, fresh=fresh)
            try:
                await self._store.write(host, section, version=version, verify=self._ownership.verify)
            except StaleRecord:
                continue
            entry.recorded = section
            return
        raise StaleRecord(f"VCenter {host}: changes while it is read, again and again")

    async def _look_up(self, host: str, *, fresh: bool) -> str:
        """The version of the record that is there. Raises OwnershipLost where a later owner wrote it."""
        found = await self._store.get(host, fresh=fresh)
        if found is None:
            return ABSENT
        if found.discovered is not None and found.discovered.revision.epoch > self._ownership.epoch:
            raise OwnershipLost(f"a later owner of the zone (epoch {found.discovered.revision.epoch}) wrote the record")
        return found.version

    def _report(self, host: str, error: Exception, failures: int) -> None:
        if failures > 1 or not self._ownership.held:
            log.debug("still not stated", vcenter=host, error=str(error), attempts=failures)
        elif isinstance(error, (OperatorError, TimeoutError)):
            text = str(error) or "no answer in time"
            log.warning("could not be recorded and stated yet, will be tried again", vcenter=host, error=text)
        else:
            log.exception("unexpected error, will be tried again", vcenter=host)
