"""Templates and cells of a Kubernetes cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.kubernetes.api import Resource
from vcenter_operator.common.kubernetes.crds import TEMPLATES
from vcenter_operator.common.kubernetes.watching import Watcher
from vcenter_operator.common.watching import Watched
from vcenter_operator.renderer.core.cells import LABELS

CELLS = Resource("", "v1", "configmaps", label_selector=LABELS)


@asynccontextmanager
async def templates_and_cells(client: ApiClient) -> AsyncIterator[tuple[Watched, Watched]]:
    """VCenterTemplates and the cells' ConfigMaps of all namespaces, watched while entered."""
    async with Watcher(client, TEMPLATES) as templates, Watcher(client, CELLS) as cells:
        yield templates, cells
