"""Sessions whose partition was lost, kept for a moment: a broker that restarts ends every tenure, and costs no login.

The replica that gets the partition back takes them up again. Given up in good order they are ended at once: another
replica is to have them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vcenter_operator.collector.metrics import LOGINS
from vcenter_operator.collector.ports import Credentials, Endpoint, VCenter, VCenterError, VCenters

_KEPT = 15.0
"""Seconds."""


@dataclass(frozen=True)
class _Kept:
    endpoint: Endpoint
    credentials: Credentials
    vcenter: VCenter
    ending: asyncio.Task[None]


class Sessions:
    """Logs on to vCenters. There is one session for each at most, kept or in use."""

    def __init__(self, vcenters: VCenters) -> None:
        self._vcenters = vcenters
        self._kept: dict[str, _Kept] = {}

    async def begin(self, endpoint: Endpoint, credentials: Credentials) -> VCenter:
        """The session that was kept, where it was begun just like this, or a new one. Raises VCenterError."""
        if kept := self._kept.pop(endpoint.host, None):
            kept.ending.cancel()
            if (kept.endpoint, kept.credentials) == (endpoint, credentials):
                try:
                    await kept.vcenter.resume()
                except VCenterError:
                    pass
                except BaseException:
                    await kept.vcenter.close()
                    raise
                else:
                    LOGINS.labels("kept").inc()
                    return kept.vcenter
            await kept.vcenter.close()
        try:
            vcenter = await self._vcenters.log_on(endpoint, credentials)
        except VCenterError as error:
            LOGINS.labels(error.reason).inc()
            raise
        LOGINS.labels("ok").inc()
        return vcenter

    def keep(self, endpoint: Endpoint, credentials: Credentials, vcenter: VCenter) -> None:
        """Keeps a session, of which a call may have been cancelled, for a moment."""
        ending = asyncio.create_task(self._end_later(endpoint.host), name=f"kept {endpoint.host}")
        self._kept[endpoint.host] = _Kept(endpoint, credentials, vcenter, ending)

    async def close(self) -> None:
        """Ends what is kept."""
        await asyncio.gather(*(self._end(host) for host in list(self._kept)))

    async def _end_later(self, host: str) -> None:
        await asyncio.sleep(_KEPT)
        await self._kept.pop(host).vcenter.close()

    async def _end(self, host: str) -> None:
        kept = self._kept.pop(host)
        kept.ending.cancel()
        await kept.vcenter.close()
