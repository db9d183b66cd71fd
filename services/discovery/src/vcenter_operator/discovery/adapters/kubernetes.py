"""Finds the DNS server by its Service, or as the Secret says, and follows both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from vcenter_operator.common.configuration import Configuration, ConfigurationSource
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.watching import Watched
from vcenter_operator.discovery.adapters.failures import NOT_FOUND
from vcenter_operator.discovery.ports import Access, Server, ZoneUnavailable

log = logger(__name__)

SELECTOR = "component=mdns,type=backend"
"""Labels of the DNS server's Service (contract)."""
DNS_PORT = 53

ServicesIn = Callable[[str], AbstractAsyncContextManager[Watched]]
"""Watches the Services of a namespace that carry these labels."""


class ServiceFinder:
    """Knows where the DNS server is while `run` does."""

    def __init__(
        self, configuration: ConfigurationSource, services_in: ServicesIn, *, incluster: bool, patience: float = 10.0
    ) -> None:
        self._configuration = configuration
        self._services_in = services_in
        self._incluster = incluster
        self._patience = patience
        self._found: Access | str | None = None
        """The access, or why there is none; None: nothing is known yet."""
        self._known = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def access(self) -> Access | None:
        """See `Finder.access`."""
        return self._found if isinstance(self._found, Access) else None

    async def find(self) -> Access:
        """See `Finder.find`. Waits a little (`patience`) where nothing is known yet."""
        try:
            async with asyncio.timeout(self._patience):
                await self._known.wait()
        except TimeoutError:
            raise ZoneUnavailable(NOT_FOUND, "the Kubernetes API has not told yet where the DNS server is") from None
        if isinstance(self._found, Access):
            return self._found
        raise ZoneUnavailable(NOT_FOUND, self._found or "no DNS server")

    async def changed(self) -> None:
        """See `Finder.changed`."""
        await self._changed.wait()
        self._changed.clear()

    async def run(self) -> None:
        """Follows the Secret, and the Services while it names no server, until cancelled."""
        following: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            async for configuration in self._configuration.changes():
                if following is not None:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
                    following = None
                if configuration.dns_ip is not None:
                    server = Server(configuration.dns_ip, configuration.dns_port or DNS_PORT)
                    self._settle(Access(server, configuration.tsig_key))
                    continue
                following = group.create_task(self._follow(configuration))

    async def _follow(self, configuration: Configuration) -> None:
        try:
            namespace = configuration.namespace
        except ConfigurationError as error:
            self._settle(f"{error} (it says where the DNS server's Service is; dns_ip would do instead)")
            return
        async with self._services_in(namespace) as services:
            async for snapshot in services.changes():
                found = server_of(snapshot.items.values(), incluster=self._incluster)
                if found is None:
                    kind = "a cluster IP" if self._incluster else "an external IP"
                    self._settle(f"namespace {namespace} has no Service labelled {SELECTOR} with {kind} and a port")
                    continue
                server = Server(found.address, configuration.dns_port or found.port)
                self._settle(Access(server, configuration.tsig_key))

    def _settle(self, found: Access | str) -> None:
        if found == self._found:
            return
        if isinstance(found, Access):
            log.info("DNS server", server=str(found.server), signed=found.tsig_key is not None)
        self._found = found
        self._known.set()
        self._changed.set()


def server_of(services: Iterable[Mapping[str, Any]], *, incluster: bool) -> Server | None:
    """The server behind the first Service (by name) that has one.

    Contract: inside the cluster the cluster IP and the target port, outside the first external IP and its port. A
    target port that is a name of the pods' stands for the Service's own port.
    """
    for service in sorted(services, key=lambda service: str(service["metadata"]["name"])):
        spec = service.get("spec") or {}
        for port in spec.get("ports") or ():
            if incluster and spec.get("clusterIP") not in (None, "", "None"):
                target = port.get("targetPort")
                return Server(spec["clusterIP"], target if isinstance(target, int) else int(port["port"]))
            if not incluster and spec.get("externalIPs"):
                return Server(spec["externalIPs"][0], int(port["port"]))
    return None
