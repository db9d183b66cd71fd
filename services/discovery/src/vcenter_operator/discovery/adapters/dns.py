"""The zone on a DNS server: its SOA serial, asked here, and its content, transferred in a process of its own."""

from __future__ import annotations

import asyncio
import time

from vcenter_operator.common.metrics import timed
from vcenter_operator.common.telemetry import logger
from vcenter_operator.discovery.adapters.failures import UNREACHABLE, translated
from vcenter_operator.discovery.adapters.process import Transferring
from vcenter_operator.discovery.adapters.soa import ask_serial
from vcenter_operator.discovery.adapters.transfer import Order
from vcenter_operator.discovery.core.zone import Version, ZoneCopy
from vcenter_operator.discovery.metrics import DNS, outcome_of
from vcenter_operator.discovery.ports import Access, Finder, ZoneUnavailable

log = logger(__name__)

_TCP_FOR = 300.0
"""Seconds for which TCP goes first once UDP got no answer: a datagram may be lost where UDP works."""


class DnsZone:
    """The zone of the domain on the server that the finder knows. Several may answer at its address."""

    may_lag = True

    def __init__(
        self,
        domain: str,
        finder: Finder,
        transfers: Transferring,
        *,
        timeout: float = 5.0,
        transfer_timeout: float = 120.0,
    ) -> None:
        self._domain = domain
        self._finder = finder
        self._transfers = transfers
        self._timeout = timeout
        self._transfer_timeout = transfer_timeout
        self._tcp_until = 0.0
        """How long TCP goes first (monotonic)."""
        self._asked: Version | None = None

    async def version(self) -> Version:
        """See `Zone.version`. Over UDP, or TCP where UDP gets no answer; then over TCP first for a while."""
        access = await self._finder.find()
        tcp_first = time.monotonic() < self._tcp_until
        for over_tcp in (tcp_first, not tcp_first):
            try:
                serial = await self._ask(access, over_tcp)
            except ZoneUnavailable as error:
                if error.reason != UNREACHABLE or over_tcp is not tcp_first:
                    raise
            else:
                if over_tcp is not tcp_first:
                    self._tcp_until = time.monotonic() + _TCP_FOR if over_tcp else 0.0
                self._asked = Version(str(access.server), serial)
                return self._asked
        raise AssertionError("the second transport returns or raises")

    async def transfer(self, *, afresh: bool = False) -> ZoneCopy:
        """See `Zone.transfer`. Incremental where an earlier copy of this server's allows it, whole otherwise."""
        access = await self._finder.find()
        source = str(access.server)
        started = time.monotonic()
        order = Order(
            domain=self._domain,
            address=access.server.address,
            port=access.server.port,
            tsig_key=access.tsig_key,
            asked=self._asked.serial if self._asked is not None and self._asked.source == source else None,
            afresh=afresh,
            timeout=self._timeout,
            within=self._transfer_timeout,
        )
        with timed(DNS, "transfer", outcome_of):
            outcome = await self._transfers.transfer(order)
        took = round(time.monotonic() - started, 3)
        if outcome.problem is not None:
            log.info("not transferred incrementally", server=source, problem=outcome.problem)
        log.info(
            "zone transferred", server=source, serial=outcome.serial, how=outcome.how, names=outcome.size, seconds=took
        )
        return ZoneCopy(Version(source, outcome.serial), outcome.names)

    async def changed(self) -> None:
        """See `Zone.changed`: the server moved, or the key changed."""
        await self._finder.changed()

    async def _ask(self, access: Access, over_tcp: bool) -> int:
        timeout = self._timeout / 2
        doing = f"asking for the serial of {self._domain}"
        with timed(DNS, "soa", outcome_of), translated(access, doing):
            async with asyncio.timeout(timeout):
                return await ask_serial(self._domain, access, timeout=timeout, over_tcp=over_tcp)
