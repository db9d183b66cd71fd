"""Templates and cells of a Kubernetes cluster, and what templates are told in their status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.crds import TEMPLATES
from vcenter_operator.common.kubernetes.errors import Conflict, NotFound
from vcenter_operator.common.kubernetes.watching import Watcher
from vcenter_operator.common.labels import API_VERSION, FIELD_MANAGER, TEMPLATE_KIND
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.watching import Watched
from vcenter_operator.renderer.core.cells import LABELS
from vcenter_operator.renderer.core.templates import Template

CELLS = Resource("", "v1", "configmaps", label_selector=LABELS)


@asynccontextmanager
async def templates_and_cells(client: ApiClient) -> AsyncIterator[tuple[Watched, Watched]]:
    """VCenterTemplates and the cells' ConfigMaps of all namespaces, watched while entered."""
    async with Watcher(client, TEMPLATES) as templates, Watcher(client, CELLS) as cells:
        yield templates, cells


class StatusSubresource:
    """`TemplateStatus` by server-side apply: a field manager for each partition, and one for the rest.

    So nobody replaces what another stated, whoever owns a partition next takes its entry over as it is, and neither
    `options` nor `template` can be touched.
    """

    def __init__(self, client: ApiClient) -> None:
        self._api = Api(client)

    async def state_partition(self, template: Template, partition: int, entry: Mapping[str, Any] | None) -> None:
        """See `TemplateStatus.state_partition`."""
        status = {"partitions": [entry]} if entry is not None else {}
        await self._apply(template, status, f"{_MANAGER}-{partition}")

    async def state_summary(self, template: Template, status: Mapping[str, Any]) -> None:
        """See `TemplateStatus.state_summary`."""
        await self._apply(template, status, _MANAGER)

    async def state_rollout(self, template: Template, rollout: Mapping[str, Any] | None, *, version: str) -> bool:
        """See `TemplateStatus.state_rollout`."""
        status = {"rollout": rollout} if rollout is not None else {}
        try:
            await self._apply(template, status, f"{_MANAGER}-rollout", resourceVersion=version)
        except Conflict:
            return False
        return True

    async def _apply(self, template: Template, status: Mapping[str, Any], manager: str, **metadata: str) -> None:
        metadata |= {"name": template.name, "namespace": template.namespace}
        body = {"apiVersion": API_VERSION, "kind": TEMPLATE_KIND, "metadata": metadata, "status": status}
        path = TEMPLATES.path(template.name, "status", namespace=template.namespace)
        with suppress(NotFound):  # an apply of the status makes nothing
            await self._api.apply(path, body, field_manager=manager)


_MANAGER = f"{FIELD_MANAGER}-{Stage.RENDERER}"
