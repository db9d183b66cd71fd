"""A zone that says, or fails to say, what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from vcenter_operator.discovery.core.zone import Entry, Version, ZoneCopy

DOMAIN = "cc.qa-de-1.cloud.sap"


class FakeZone:
    """Keeps the port `Zone`. `failure` makes what is raised instead of any answer while it is set."""

    may_lag = True

    def __init__(self, vcenters: Mapping[str, str] | None = None) -> None:
        self.serial = 1
        self.names = _names(vcenters or {})
        self.failure: Callable[[], Exception] | None = None
        self.transfers: list[str] = []
        """"full" where it was asked for afresh, else "any"."""
        self.looks = 0
        self.stated: int | None = None
        """The serial that is stated, where it is another than that of what is transferred."""
        self._changed = asyncio.Event()

    def hold(self, vcenters: Mapping[str, str], *, serial: int | None = None) -> None:
        """Holds these from now on: first label to address. The serial goes up by one, or becomes what is given."""
        self.names = _names(vcenters)
        self.serial = self.serial + 1 if serial is None else serial

    def tell(self) -> None:
        """Lets whoever waits for a change have a look."""
        self._changed.set()

    async def version(self) -> Version:
        self.looks += 1
        if self.failure is not None:
            raise self.failure()
        return Version("fake", self.serial if self.stated is None else self.stated)

    async def looked(self) -> None:
        """Returns after a look that began later than this."""
        before, self.looks = self.looks, 0
        async with asyncio.timeout(20):
            while self.looks < 2:
                await asyncio.sleep(0.005)
        self.looks += before

    async def transfer(self, *, afresh: bool = False) -> ZoneCopy:
        self.looks += 1
        self.transfers.append("full" if afresh else "any")
        if self.failure is not None:
            raise self.failure()
        return ZoneCopy(Version("fake", self.serial), self.names)

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()


def _names(vcenters: Mapping[str, str]) -> dict[str, Entry]:
    return {f"{label}.{DOMAIN}": Entry((address,)) for label, address in vcenters.items()}
