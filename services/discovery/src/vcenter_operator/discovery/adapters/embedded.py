"""The zone of a site file: the zone file (RFC 1035 master file) that it names, or else the vCenters that it lists."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.name
import dns.zone

from vcenter_operator.common.embedded import files
from vcenter_operator.common.embedded.site import Site, SiteDescription
from vcenter_operator.common.telemetry import logger
from vcenter_operator.discovery.adapters.records import entries
from vcenter_operator.discovery.core.zone import Entry, Version, ZoneCopy
from vcenter_operator.discovery.ports import ZoneUnavailable

log = logger(__name__)

_UNREADABLE = "ZoneFileUnreadable"
_WATCH_AGAIN = 1.0


class SiteZone:
    """Follows the site file and the zone file while `run` does."""

    may_lag = False

    def __init__(self, site: Site, domain: str) -> None:
        self._site = site
        self._domain = domain
        self._changed = asyncio.Event()
        self._file: ZoneFile | None = None
        self._listed: ZoneCopy | None = None

    async def run(self) -> None:
        """Watches the files, until cancelled."""
        following: asyncio.Task[None] | None = None
        zone: Path | None = None
        async with asyncio.TaskGroup() as group:
            async for description in self._site.changes():
                self._changed.set()
                if description.zone == zone:
                    continue
                zone = description.zone
                if following is not None:
                    following.cancel()
                following = group.create_task(self._follow(zone)) if zone is not None else None

    async def version(self) -> Version:
        """See `Zone.version`; raises ZoneUnavailable."""
        return (await self.transfer()).version

    async def transfer(self, *, afresh: bool = False) -> ZoneCopy:  # noqa: ARG002 - it is always read as it is
        """See `Zone.transfer`; raises ZoneUnavailable."""
        site = self._site.current
        if site.zone is None:
            return self._list(site)
        if self._file is None or self._file.path != site.zone:
            self._file = ZoneFile(site.zone, self._domain)
        return await asyncio.to_thread(self._file.read)

    async def changed(self) -> None:
        """See `Zone.changed`."""
        await self._changed.wait()
        self._changed.clear()

    async def _follow(self, path: Path) -> None:
        while True:
            try:
                async for _ in files.changed(path):
                    self._changed.set()
            except OSError as error:
                log.debug("the zone file cannot be watched just now", file=str(path), error=str(error))
            await asyncio.sleep(_WATCH_AGAIN)

    def _list(self, site: SiteDescription) -> ZoneCopy:
        names = {host: Entry() for host in site.vcenters}
        if self._listed is None or self._listed.names != names:
            serial = self._listed.version.serial + 1 if self._listed is not None else 1
            self._listed = ZoneCopy(Version(str(self._site.path), serial), names)
        return self._listed


@dataclass
class ZoneFile:
    """A zone file. As with a name server, what changed in it counts once its serial has changed."""

    path: Path
    domain: str
    _stamp: tuple[int, int, int] | None = None
    _copy: ZoneCopy | None = None

    def read(self) -> ZoneCopy:
        """The zone as the file has it; read only if the file changed. Raises ZoneUnavailable."""
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if self._copy is not None and stamp == self._stamp:
                return self._copy
            zone = dns.zone.from_file(str(self.path), dns.name.from_text(self.domain), relativize=False)
        except dns.zone.NoSOA:
            raise ZoneUnavailable(_UNREADABLE, f"{self.path}: no SOA record for {self.domain}") from None
        except dns.zone.NoNS:
            raise ZoneUnavailable(_UNREADABLE, f"{self.path}: no NS record for {self.domain}") from None
        except OSError as error:
            raise ZoneUnavailable(_UNREADABLE, f"{self.path}: {error.strerror}") from error
        except (dns.exception.DNSException, ValueError) as error:
            raise ZoneUnavailable(_UNREADABLE, f"{self.path}: {error}") from error
        copy = ZoneCopy(Version(str(self.path), int(zone.get_soa().serial)), entries(zone, self.domain))
        self._copy, self._stamp = self._accepted(copy), stamp
        return self._copy

    def _accepted(self, copy: ZoneCopy) -> ZoneCopy:
        before = self._copy
        if before is None or copy.version != before.version or copy.names == before.names:
            return copy
        log.warning(
            "the zone file changed but not its serial: raise it", file=str(self.path), serial=copy.version.serial
        )
        return before
