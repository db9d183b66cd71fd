"""A record in memory, with compare-and-swap as the real ones have it, that can be made to fail or hang."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from vcenter_operator.common.errors import StaleRecord, TransientError
from vcenter_operator.common.record import Discovered, Record, Section
from vcenter_operator.common.record.port import ABSENT, anybody


class MemoryStore:
    """Keeps the port `Store`."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.failing = False
        """Every call raises TransientError."""
        self.hanging = False
        """No write ever returns, nor has an effect."""
        self.behind: dict[str, Record | None] = {}
        """What is answered to who does not ask for what is there now."""
        self.writes: list[tuple[str, Section]] = []
        self._versions = itertools.count(1)

    def discovered(self, host: str) -> Discovered:
        """What the discovery remembers of a host."""
        section = self.records[host].discovered
        assert section is not None
        return section

    async def list(self, *, fresh: bool = True) -> list[Record]:
        self._fail()
        return list(self.records.values())

    async def get(self, host: str, *, fresh: bool = True) -> Record | None:
        self._fail()
        return self.behind[host] if host in self.behind and not fresh else self.records.get(host)

    async def write(
        self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
    ) -> Record:
        if self.hanging:
            await asyncio.Event().wait()
        self._fail()
        found = self.records.get(host) or Record(host=host, version=ABSENT)
        if version is not None and version != found.version:
            raise StaleRecord(f"{host} is at {found.version}, not at {version}")
        if getattr(found, _FIELD[section.stage]) != section or host not in self.records:
            verify()
            changed = {_FIELD[section.stage]: section, "version": str(next(self._versions))}
            self.records[host] = found.model_copy(update=changed)
            self.writes.append((host, section))
        return self.records[host]

    def _fail(self) -> None:
        if self.failing:
            raise TransientError("the record is away")


_FIELD = {"discovery": "discovered", "collector": "collected", "renderer": "rendered", "applier": "applied"}
