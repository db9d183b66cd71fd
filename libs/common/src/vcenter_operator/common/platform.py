"""What a stage stands on: the same for every stage of a process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vcenter_operator.common.bus.port import Bus
from vcenter_operator.common.configuration import ConfigurationSource
from vcenter_operator.common.events import Events, Silence
from vcenter_operator.common.record.port import Store
from vcenter_operator.common.surroundings import Surroundings

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient

    from vcenter_operator.common.embedded.manifests import Manifests
    from vcenter_operator.common.embedded.site import Site


@dataclass(frozen=True)
class Platform:
    """Opened by `kubernetes.platform` or `embedded.platform`; it lives as long as the process's stages."""

    bus: Bus
    store: Store
    configuration: ConfigurationSource
    surroundings: Surroundings
    dry_run: bool = False
    events: Events = field(default_factory=Silence)
    """Where people are told what they must notice."""
    kubernetes: ApiClient | None = None
    """On Kubernetes: the client to make an `Api` or a `Watcher` of."""
    site: Site | None = None
    """Embedded: the region as a file describes it."""
    manifests: Manifests | None = None
    """Embedded: templates, cells and Secret, read from `templates`."""
    templates: Path | None = None
    """Embedded: the folder that `manifests` reads."""
    output: Path | None = None
    """Embedded: the folder for what is applied; None: nothing is written."""

    async def require_keys(self) -> None:
        """Stages that seal or open manifests call it at their start. Raises ConfigurationError: `bus_key` is wrong."""
        _ = (await self.configuration.current()).keyring
