"""A zone that lost an unlikely share of its vCenters is held as unknown until a second look or a person confirms it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from vcenter_operator.common.record import Discovered, Store
from vcenter_operator.common.telemetry import logger
from vcenter_operator.discovery.core.plausibility import Doubt, departed, digest, doubt
from vcenter_operator.discovery.settings import DiscoverySettings

log = logger(__name__)


@dataclass(frozen=True)
class Held:
    """A zone that is not believed yet."""

    doubt: Doubt
    serial: int
    word: str
    """What a person says to have it believed."""
    until: float
    """When a look at the whole zone may confirm it (monotonic)."""

    @property
    def due(self) -> bool:
        """Whether the second look may be taken."""
        return time.monotonic() >= self.until


class Holding:
    """From the take of the zone to its release."""

    def __init__(self, store: Store, settings: DiscoverySettings) -> None:
        self._store = store
        self._settings = settings
        self._confirmed: set[str] = set()
        """What went and was confirmed to have gone: it does not count along with what goes later."""
        self.held: Held | None = None
        """The zone that was read last, where it is not believed."""

    def believes(self, known: Mapping[str, Discovered], found: Set[str], serial: int) -> bool:
        """Whether a complete zone with these vCenters is believed. `known` is what was stated of all."""
        present = {host for host, section in known.items() if section.present}
        held = self.held
        earlier = held.doubt if held is not None and held.due else None
        self._confirmed -= found
        recent = departed(known, datetime.now(UTC)) - self._confirmed
        why = doubt(present, found, share=self._settings.zone_held_share, recent=recent, earlier=earlier)
        if why is not None:
            self._hold(why, serial, digest(why.lost, {host: known[host].revision for host in why.lost}))
            return False
        if held is not None:
            confirmed = earlier is not None and not present <= found
            if confirmed:
                self._confirmed |= recent | (present - found)
            how = "the second look confirms it" if confirmed else "the vCenters are there again"
            log.info("the zone is not held any more", because=how, serial=serial)
            self.held = None
        return True

    async def heed(self) -> None:
        """A person's word on any VCenter has the second look taken at once, which has to lack the same ones."""
        if self.held is None or self.held.due:
            return
        try:
            records = await self._store.list()
        except Exception as error:
            log.info("the record cannot be looked at for a person's word", error=str(error))
            return
        if any(record.orders.approve == self.held.word for record in records):
            log.info("a person says that the held zone is right: the second look is taken now", word=self.held.word)
            self.held = replace(self.held, until=time.monotonic())

    def _hold(self, why: Doubt, serial: int, word: str) -> None:
        """Until a second look confirms it, which nothing else hurries. One that lacks still others begins anew."""
        if self.held is not None and not self.held.due and why.lost <= self.held.doubt.lost:
            self.held = Held(why, serial, word, self.held.until)
            return
        self.held = Held(why, serial, word, time.monotonic() + self._settings.zone_confirm_after)
        log.warning(
            "the zone lacks an unlikely share of the vCenters: held as unknown until a second look confirms it",
            serial=serial,
            lacking=len(why.lost),
            gone_within_the_hour=why.gone,
            known=why.known,
            vcenters=sorted(why.lost)[:20],
            approve=word,
        )
