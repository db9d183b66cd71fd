"""The site file: a region's vCenters as the collector would find them, for running without any."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vcenter_operator.common.embedded.files import changed
from vcenter_operator.common.embedded.yamlfile import documents, line_of, read_text
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.identity import DNS_NAME
from vcenter_operator.common.latest import Latest
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

_EMPTY_IS_NONE_GIVEN = BeforeValidator(lambda value: {} if value is None else value)
_NO_ITEMS = BeforeValidator(lambda value: () if value is None else value)
_SECOND_LOOK = 0.25
"""Seconds after which a file that cannot be read is looked at again: editors write in several steps."""

Names = Annotated[tuple[str, ...], _NO_ITEMS]


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class ClusterDescription(_Description):
    """A cluster. `unreadable`: as if its attributes could not be read, so that it is unknown."""

    moid: str = Field(default="", pattern="^[A-Za-z0-9-]*$")
    """Managed object id; where the file gives none, one that the datacenter's and the cluster's names make."""
    datastores: Names = ()
    networks: Names = ()
    """In the order of the cluster's `network` property."""
    unreadable: bool = False


class DatacenterDescription(_Description):
    """A datacenter; its clusters by name."""

    clusters: Annotated[dict[str, Annotated[ClusterDescription, _EMPTY_IS_NONE_GIVEN]], _EMPTY_IS_NONE_GIVEN] = Field(
        default_factory=dict
    )


class VCenterDescription(_Description):
    """A vCenter; its datacenters by name. `unreachable`: as if it did not answer."""

    unreachable: bool = False
    datacenters: Annotated[dict[str, Annotated[DatacenterDescription, _EMPTY_IS_NONE_GIVEN]], _EMPTY_IS_NONE_GIVEN] = (
        Field(default_factory=dict)
    )


class SiteDescription(_Description):
    """A region. `vcenters` by FQDN (the file may give the first label alone), in lower case."""

    region: str = Field(min_length=1)
    domain: str = Field(min_length=1)
    namespace: str = Field(min_length=1)
    """The operator's own."""
    zone: Path | None = None
    """Zone file; None: every vCenter listed is in the zone. Absolute once read."""
    vcenters: Annotated[dict[str, Annotated[VCenterDescription, _EMPTY_IS_NONE_GIVEN]], _EMPTY_IS_NONE_GIVEN] = Field(
        default_factory=dict
    )


def read_site(path: Path) -> SiteDescription:
    """Reads and checks a site file.

    Raises:
        ConfigurationError: names the file, the line, the path within the file and what is expected.
    """
    found = documents(read_text(path), path)
    if len(found) != 1:
        raise ConfigurationError(f"{path}: a site file holds exactly one YAML document, not {len(found)}")
    try:
        site = SiteDescription.model_validate(found[0].value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = [part for part in first["loc"] if part != "[key]"]
        said = "is no known key" if first["type"] == "extra_forbidden" else first["msg"]
        raise ConfigurationError(
            f"{path}:{line_of(found[0].node, where)}: {'.'.join(map(str, where)) or 'site'}: {said}"
        ) from None
    return _completed(site, path)


class Site:
    """A site file, read again whenever it changes while this is entered. A wrong change is logged, the last stays.

    Raises ConfigurationError when made, if the file is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._latest: Latest[SiteDescription] = Latest()
        self._latest.set(read_site(path))
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_current(), name=f"watch {self.path.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def current(self) -> SiteDescription:
        """The newest good state."""
        value = self._latest.value
        assert value is not None
        return value

    def changes(self) -> AsyncIterator[SiteDescription]:
        """Yields the current state, then the newest after each change that is valid."""
        return self._latest.changes()

    async def _keep_current(self) -> None:
        while True:
            try:
                async for _ in changed(self.path):
                    await self._read()
            except FileNotFoundError:
                log.warning("the folder of the site file is gone; the last state stays", path=str(self.path))
            except Exception:
                log.exception("watch failed", path=str(self.path))
            await asyncio.sleep(1.0)

    async def _read(self) -> None:
        try:
            site = read_site(self.path)
        except ConfigurationError:
            await asyncio.sleep(_SECOND_LOOK)
            try:
                site = read_site(self.path)
            except ConfigurationError as error:
                log.error("site file is wrong; the last good state stays", error=str(error))
                return
        current = self.current
        if (site.region, site.domain, site.namespace) != (current.region, current.domain, current.namespace):
            log.error("region, domain and namespace of a site cannot change while it runs: start anew, or change back")
        elif site != current:
            self._latest.set(site)


def _completed(site: SiteDescription, path: Path) -> SiteDescription:
    domain = site.domain.rstrip(".").lower()
    vcenters: dict[str, VCenterDescription] = {}
    for name, vcenter in site.vcenters.items():
        host = name.rstrip(".").lower()
        host = host if "." in host else f"{host}.{domain}"
        if not re.fullmatch(DNS_NAME, host):
            raise ConfigurationError(f"{path}: vcenters.{name}: {host!r} is no DNS name")
        if host in vcenters:
            raise ConfigurationError(f"{path}: vcenters.{name}: {host} stands there twice")
        vcenters[host] = _with_moids(vcenter, f"{path}: vcenters.{name}")
    zone = site.zone and (path.parent / site.zone).absolute()
    return site.model_copy(update={"domain": domain, "zone": zone, "vcenters": vcenters})


def _with_moids(vcenter: VCenterDescription, where: str) -> VCenterDescription:
    moids: set[str] = set()
    datacenters: dict[str, Any] = {}
    for datacenter, description in vcenter.datacenters.items():
        clusters = {}
        for name, cluster in description.clusters.items():
            moid = cluster.moid or f"domain-c{zlib.crc32(f'{datacenter}/{name}'.encode())}"
            if moid in moids:
                raise ConfigurationError(f"{where}.datacenters.{datacenter}.clusters.{name}: moid {moid} is not unique")
            moids.add(moid)
            clusters[name] = cluster.model_copy(update={"moid": moid})
        datacenters[datacenter] = description.model_copy(update={"clusters": clusters})
    return vcenter.model_copy(update={"datacenters": datacenters})
