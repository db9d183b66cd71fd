"""A store that writes nothing: for the dry run, and for rendering without any record."""

from __future__ import annotations

from collections.abc import Callable

from vcenter_operator.common.errors import StaleRecord
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.record.port import ABSENT, Record, Section, Store, anybody


class Overlay:
    """Reads through to `base` (None: an empty store) and keeps what is written in memory. A `Store`."""

    def __init__(self, base: Store | None = None) -> None:
        self._base = base
        self._written: dict[str, dict[Stage, Section]] = {}
        self._writes: dict[str, int] = {}

    async def list(self, *, fresh: bool = True) -> list[Record]:
        """See `Store.list`."""
        below = {record.host: record for record in await self._base.list(fresh=fresh)} if self._base else {}
        hosts = sorted(below.keys() | self._written.keys())
        return [record for host in hosts if (record := self._merged(host, below.get(host))) is not None]

    async def get(self, host: str, *, fresh: bool = True) -> Record | None:
        """See `Store.get`."""
        return self._merged(host, await self._base.get(host, fresh=fresh) if self._base else None)

    async def write(
        self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
    ) -> Record:
        """See `Store.write`."""
        current = await self.get(host)
        if version is not None and version != (ABSENT if current is None else current.version):
            raise StaleRecord(f"VCenter {host}: changed since it was read")
        if current is not None and _section_of(current, section.stage) == section:
            return current
        verify()
        self._written.setdefault(host, {})[section.stage] = section
        self._writes[host] = self._writes.get(host, 0) + 1
        written = await self.get(host)
        assert written is not None
        return written

    def _merged(self, host: str, below: Record | None) -> Record | None:
        above = self._written.get(host)
        if above is None:
            return below
        base = below or Record(host=host, version="")
        sections = {_FIELDS[stage]: section for stage, section in above.items()}
        return base.model_copy(update={"version": f"{base.version}+{self._writes[host]}", **sections})


_FIELDS = {
    Stage.DISCOVERY: "discovered",
    Stage.COLLECTOR: "collected",
    Stage.RENDERER: "rendered",
    Stage.APPLIER: "applied",
}


def _section_of(record: Record, stage: Stage) -> Section | None:
    section: Section | None = getattr(record, _FIELDS[stage])
    return section
