"""A renderer or an applier as a process of its own, over RabbitMQ, with no API server behind it.

The renderer is the real one, on a folder of manifests, its rendering processes included. The applier is the real one,
too, but for what it writes to: a cluster in memory, which knows at once what each vCenter owns, as the watches do. So
all of planning is there and nothing of Kubernetes. What they publish and finish is told on stdout, a line each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.landscape import SITE
from bench.noting import Note, NotingBus
from tests.fakes.cluster import SimulatedCluster
from vcenter_operator.applier.adapters.unfrozen import NeverFrozen
from vcenter_operator.applier.core.observed import GroupKind, Observed
from vcenter_operator.applier.ports import Guard, Holdings, Known, Place
from vcenter_operator.applier.service import ApplierService
from vcenter_operator.applier.settings import ApplierSettings
from vcenter_operator.applier.wiring import policy_of
from vcenter_operator.common.embedded.platform import open_platform
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import Statement
from vcenter_operator.common.platform import Platform
from vcenter_operator.common.process import run
from vcenter_operator.renderer.settings import RendererSettings
from vcenter_operator.renderer.wiring import embedded

_DAY = 24 * 3600.0
"""Nothing is repeated or looked at again while it is measured."""


def main() -> int:
    """Runs until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m bench.staged", description=__doc__)
    parser.add_argument("stage", choices=["renderer", "applier"])
    parser.add_argument("bus")
    parser.add_argument("templates", type=Path)
    options = parser.parse_args()
    common = {"bus": options.bus, "repeat_every": _DAY, "log_format": "json"}
    if options.stage == "renderer":
        rendering = RendererSettings.load(**common)
        return run(lambda: _render(rendering, options.templates), lambda: rendering)
    applying = ApplierSettings.load(**common, look_every=_DAY, relist_every=_DAY)
    return run(lambda: _apply(applying, options.templates), lambda: applying)


async def _render(settings: RendererSettings, templates: Path) -> None:
    async with open_platform(settings, site=SITE / "site.yaml", templates=templates) as platform:
        noting = replace(platform, bus=NotingBus(platform.bus, published=_told("published")))
        async with embedded(settings, noting) as service:
            await service.run()


async def _apply(settings: ApplierSettings, templates: Path) -> None:
    async with open_platform(settings, site=SITE / "site.yaml", templates=templates) as platform:
        await _applier(settings, platform).run()


def _applier(settings: ApplierSettings, platform: Platform) -> ApplierService:
    own_namespace = platform.surroundings.own_namespace
    return ApplierService(
        NotingBus(platform.bus, handled=_told("handled")),
        platform.store,
        platform.configuration,
        KnownCluster(own_namespace),
        NeverFrozen(),
        policy=policy_of(settings),
        concurrency=settings.concurrency,
        look_every=settings.look_every,
        relist_every=settings.relist_every,
    )


def _told(what: str) -> Note:
    def tell(statement: Statement) -> None:
        line = json.dumps({"what": what, "host": statement.host, "at": time.monotonic()})
        print(line, flush=True)

    return tell


class KnownCluster(SimulatedCluster):
    """Knows what each vCenter owns without being asked, and keeps of an object what the watches keep."""

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self._owned: defaultdict[str, dict[ObjectId, Observed]] = defaultdict(dict)
        self._scopes: dict[str, tuple[frozenset[GroupKind], frozenset[str]]] = {}

    def put(
        self, object_id: ObjectId, metadata: Mapping[str, Any], *, anew: bool = False, fields: str = ""
    ) -> Observed:
        """See `SimulatedCluster.put`."""
        one = super().put(object_id, metadata, anew=anew, fields=fields)
        assert one.host is not None
        self._owned[one.host][object_id] = one
        del self.metadata[object_id]
        return one

    def remove(self, object_id: ObjectId) -> None:
        """See `SimulatedCluster.remove`."""
        one = self.objects[object_id]
        assert one.host is not None
        del self._owned[one.host][object_id]
        super().remove(object_id)

    def known(self, host: str, places: Collection[Place], ids: Collection[ObjectId]) -> Known:  # noqa: ARG002
        """See `Cluster.known`."""
        return Known(self._holdings(host))

    async def owned(self, host: str, places: Collection[Place], *, afresh: bool = True) -> Holdings:  # noqa: ARG002
        """See `Cluster.owned`."""
        return self._holdings(host)

    async def apply(
        self, host: str, object_id: ObjectId, manifest: Mapping[str, Any], current: Observed | None, guard: Guard
    ) -> Observed:
        """See `Cluster.apply`: others go on meanwhile, as they do while a server works."""
        await asyncio.sleep(0)
        return await super().apply(host, object_id, manifest, current, guard)

    async def contain(
        self,
        host: str,
        kinds: Collection[GroupKind],
        namespaces: Collection[str],
        guard: Guard,  # noqa: ARG002
    ) -> None:
        """See `Cluster.contain`."""
        self._scopes[host] = frozenset(kinds), frozenset(namespaces)

    def _holdings(self, host: str) -> Holdings:
        return Holdings(dict(self._owned[host]), *self._scopes.get(host, ()))


if __name__ == "__main__":
    sys.exit(main())
