"""The zone on a DNS server: SOA serial, IXFR (RFC 1995) and AXFR (RFC 5936), signed with TSIG where a key is set."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

import dns.asyncquery
import dns.exception
import dns.name
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.SOA
import dns.tsig
import dns.versioned
import dns.xfr
import dns.zone

from vcenter_operator.common.telemetry import logger
from vcenter_operator.discovery.adapters.failures import INCOMPLETE, UNREACHABLE, translated
from vcenter_operator.discovery.adapters.soa import ask_serial, signing_key
from vcenter_operator.discovery.core.serial import is_newer
from vcenter_operator.discovery.core.zone import Entry, Version, ZoneCopy
from vcenter_operator.discovery.ports import Access, Finder, Server, ZoneUnavailable

log = logger(__name__)

_NOT_CURED_BY_AXFR = (dns.exception.Timeout, dns.tsig.PeerError, dns.tsig.BadSignature, dns.tsig.BadTime)


class DnsZone:
    """Keeps the last complete copy of the zone, from which an incremental transfer starts."""

    def __init__(self, domain: str, finder: Finder, *, timeout: float = 5.0, transfer_timeout: float = 120.0) -> None:
        self._domain = domain
        self._origin = dns.name.from_text(domain)
        self._finder = finder
        self._timeout = timeout
        self._transfer_timeout = transfer_timeout
        self._over_tcp = False
        self._copy: dns.versioned.Zone | None = None
        self._copied_from: Server | None = None
        self._asked: Version | None = None

    async def version(self) -> Version:
        """See `Zone.version`. Over UDP, or TCP where UDP gets no answer; what worked last is tried first."""
        access = await self._finder.find()
        for over_tcp in (self._over_tcp, not self._over_tcp):
            try:
                serial = await self._ask(access, over_tcp)
            except ZoneUnavailable as error:
                if error.reason != UNREACHABLE or over_tcp is not self._over_tcp:
                    raise
            else:
                self._over_tcp = over_tcp
                self._asked = Version(str(access.server), serial)
                return self._asked
        raise AssertionError("the second transport returns or raises")

    async def transfer(self, *, afresh: bool = False) -> ZoneCopy:
        """See `Zone.transfer`. Incremental where an earlier copy of this server's allows it, whole otherwise."""
        access = await self._finder.find()
        started = time.monotonic()
        with translated(access, f"transferring the zone {self._domain}"):
            zone, how = await self._transferred(access, afresh)
            soa = self._check(zone, access)
            names = await asyncio.to_thread(entries, zone)
        self._copy, self._copied_from = zone, access.server
        took = round(time.monotonic() - started, 3)
        log.info("zone transferred", server=str(access.server), serial=soa, how=how, names=len(names), seconds=took)
        return ZoneCopy(Version(str(access.server), soa), names)

    async def changed(self) -> None:
        """See `Zone.changed`: the server moved, or the key changed."""
        await self._finder.changed()

    async def _ask(self, access: Access, over_tcp: bool) -> int:
        timeout = self._timeout / 2
        with translated(access, f"asking for the serial of {self._domain}"):
            async with asyncio.timeout(timeout):
                return await ask_serial(self._domain, access, timeout=timeout, over_tcp=over_tcp)

    async def _transferred(self, access: Access, afresh: bool) -> tuple[dns.versioned.Zone, str]:
        base = None if afresh else self._base(access.server)
        # Whatever happens to an incremental transfer, the next attempt starts from nothing.
        self._copy = None
        if base is not None:
            try:
                await self._receive(access, base, whole=False)
            except _NOT_CURED_BY_AXFR:
                raise
            except dns.exception.DNSException as error:
                problem = f"{type(error).__name__}: {error}"
                log.info("no incremental transfer, taking the whole zone", server=str(access.server), problem=problem)
            else:
                return base, "IXFR"
        fresh = dns.versioned.Zone(self._origin, relativize=False)
        await self._receive(access, fresh, whole=True)
        return fresh, "AXFR"

    def _base(self, server: Server) -> dns.versioned.Zone | None:
        """The copy to start an incremental transfer from; None where it is another server's, or not older."""
        if self._copy is None or self._copied_from != server:
            return None
        if self._asked is not None and self._asked.source == str(server):
            ours = _serial(self._copy)
            if self._asked.serial != ours and not is_newer(self._asked.serial, ours):
                log.warning("the zone's serial went backwards", server=str(server), serial=self._asked.serial, was=ours)
                return None
        return self._copy

    async def _receive(self, access: Access, zone: dns.versioned.Zone, *, whole: bool) -> None:
        query, _ = dns.xfr.make_query(zone, serial=None if whole else 0)
        if access.tsig_key is not None:
            key = signing_key(access.tsig_key)
            query.use_tsig({key.name: key}, key.name)
        server = access.server
        async with asyncio.timeout(self._transfer_timeout):
            await dns.asyncquery.inbound_xfr(
                server.address, zone, query, server.port, self._timeout, self._transfer_timeout
            )

    def _check(self, zone: dns.versioned.Zone, access: Access) -> int:
        """The serial of a zone that has an apex. Raises ZoneUnavailable."""
        try:
            zone.check_origin()
        except dns.zone.NoSOA:
            problem = "no SOA record at its apex"
        except dns.zone.NoNS:
            problem = "no NS record at its apex"
        else:
            return _serial(zone)
        raise ZoneUnavailable(INCOMPLETE, f"DNS server {access.server}: the zone {self._domain} has {problem}")


def entries(zone: dns.zone.Zone) -> dict[str, Entry]:
    """Every name of the zone (not relativized) with an A, AAAA or CNAME record."""
    addresses: defaultdict[str, list[str]] = defaultdict(list)
    aliases: dict[str, str] = {}
    for owner, rdataset in zone.iterate_rdatasets():
        if rdataset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            addresses[_fqdn(owner)] += [rdata.to_text() for rdata in rdataset]
        elif rdataset.rdtype == dns.rdatatype.CNAME:
            for rdata in rdataset:
                assert isinstance(rdata, dns.rdtypes.ANY.CNAME.CNAME)
                aliases[_fqdn(owner)] = _fqdn(rdata.target)
    return {
        name: Entry(tuple(addresses.get(name, ())), aliases.get(name)) for name in addresses.keys() | aliases.keys()
    }


def _fqdn(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _serial(zone: dns.zone.Zone) -> int:
    return int(zone.get_soa().serial)
