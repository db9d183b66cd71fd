"""Where the state of the pipeline is asked for: RabbitMQ, and Leases, VCenters and templates in Kubernetes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from vcenter_operator.command.status.broker import Broker, names_of
from vcenter_operator.command.status.model import Pipeline
from vcenter_operator.command.status.reading import Counts, stages_of, template_of, vcenter_of
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.errors import OperatorError
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import TEMPLATES, VCENTERS
from vcenter_operator.common.kubernetes.errors import Forbidden, NotFound
from vcenter_operator.common.kubernetes.leases import LEASES
from vcenter_operator.common.kubernetes.secret import secret_resource
from vcenter_operator.common.process import IN_PROCESS
from vcenter_operator.common.secret import values_of
from vcenter_operator.common.settings import Settings

_T = TypeVar("_T")

RABBITMQ, LEASES_OF, RECORDS, SOURCES = "RabbitMQ", "Leases", "VCenters", "VCenterTemplates"


class Sources:
    """All that can be asked, with a deadline (seconds) each. What cannot be is in `Pipeline.not_asked`."""

    def __init__(self, settings: Settings, kubernetes: Api | str, namespace: str, *, timeout: float) -> None:
        self._settings = settings
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._timeout = timeout
        self._names = names_of(settings)
        self._broker: Broker | None = None
        self._stack = AsyncExitStack()

    async def look(self) -> Pipeline:
        """Everything as it is now."""
        not_asked: dict[str, str] = {}
        leases, resources, sources, counts = await asyncio.gather(
            self._asked(LEASES_OF, self._leases(), not_asked),
            self._asked(RECORDS, self._vcenters(), not_asked),
            self._asked(SOURCES, self._templates(), not_asked),
            self._asked(RABBITMQ, self._counts(), not_asked),
        )
        topology = self._names.topology
        vcenters = None if resources is None else tuple(vcenter_of(resource, topology) for resource in resources)
        templates = None if sources is None else tuple(map(template_of, sources))
        return Pipeline(datetime.now(UTC), stages_of(counts, leases, self._names), vcenters, templates, not_asked)

    async def close(self) -> None:
        """Ends the connection to the broker."""
        await self._stack.aclose()

    async def _asked(self, source: str, answer: Awaitable[_T], not_asked: dict[str, str]) -> _T | None:
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except OperatorError as error:
            not_asked[source] = str(error)
        except TimeoutError:
            not_asked[source] = f"no answer within {self._timeout:g} s"
        return None

    async def _counts(self) -> Counts | None:
        if self._settings.bus == IN_PROCESS:
            return None
        if self._broker is None:
            self._broker = await self._stack.enter_async_context(Broker(await self._url(), self._settings))
        return await self._broker.counts()

    async def _url(self) -> str:
        """As the stages find it: the settings' where they name one, else the Secret's `bus_url` if it has one."""
        if "bus" in self._settings.model_fields_set or isinstance(self._kubernetes, str):
            return self._settings.bus
        name = self._settings.secret
        path = secret_resource(self._namespace, name).path(name)
        try:
            secret = await self._kubernetes.get(path)
        except Forbidden as error:
            raise Forbidden(f"where it is may stand in the Secret {name} (say it with --bus): {error}") from None
        return Configuration(values_of(secret or {})).bus_url or self._settings.bus

    async def _leases(self) -> dict[str, Mapping[str, Any]]:
        listing = await self._api().list(replace(LEASES, namespace=self._namespace).path())
        return {item["metadata"]["name"]: item for item in listing.items}

    async def _vcenters(self) -> list[dict[str, Any]]:
        return await self._all(RECORDS, replace(VCENTERS, namespace=self._namespace))

    async def _templates(self) -> list[dict[str, Any]]:
        return await self._all(SOURCES, TEMPLATES)

    async def _all(self, kind: str, resource: Resource) -> list[dict[str, Any]]:
        try:
            listing = await self._api().list(resource.path())
        except NotFound:
            raise NotFound(f"the server does not know {kind}: the operator has never run in this cluster") from None
        return sorted(listing.items, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"]))

    def _api(self) -> Api:
        if isinstance(self._kubernetes, str):
            raise OperatorError(self._kubernetes)
        return self._kubernetes


@asynccontextmanager
async def open_sources(settings: Settings, *, timeout: float) -> AsyncIterator[Sources]:
    """Opens what can be opened. `timeout` (seconds) is for each of the servers."""
    async with AsyncExitStack() as stack:
        kubernetes: Api | str
        try:
            client, surroundings = await stack.enter_async_context(connect(settings))
        except OperatorError as error:
            kubernetes, namespace = str(error), ""
        else:
            kubernetes, namespace = Api(client, timeout=timeout), surroundings.own_namespace
        sources = Sources(settings, kubernetes, namespace, timeout=timeout)
        stack.push_async_callback(sources.close)
        yield sources
