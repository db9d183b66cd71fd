"""Server-side apply with nothing but kubernetes-asyncio: what the API server and the library alone take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kubernetes_asyncio import client, config

Manifest = Mapping[str, Any]


class BareLoop:
    """Applies manifests, so many at once. `parsed`: answers become the library's objects, as they do by default."""

    def __init__(self, connection: client.ApiClient, namespace: str, *, concurrency: int, parsed: bool = True) -> None:
        core, apps = client.CoreV1Api(connection), client.AppsV1Api(connection)
        self._patches: dict[str, Callable[..., Any]] = {
            "Secret": core.patch_namespaced_secret,
            "ConfigMap": core.patch_namespaced_config_map,
            "Deployment": apps.patch_namespaced_deployment,
        }
        self._namespace = namespace
        self._limit = asyncio.Semaphore(concurrency)
        self._parsed = parsed

    async def apply(self, manifests: Iterable[Manifest]) -> None:
        """All of them, in the loop's own namespace. Raises what the library raises."""
        await asyncio.gather(*(self._apply(each) for each in manifests))

    async def _apply(self, manifest: Manifest) -> None:
        body = {**manifest, "metadata": {**manifest["metadata"], "namespace": self._namespace}}
        async with self._limit:
            answer = await self._patches[manifest["kind"]](
                body["metadata"]["name"],
                self._namespace,
                body,
                field_manager="bare",
                force=True,
                _content_type="application/apply-patch+yaml",
                _preload_content=self._parsed,
            )
            if not self._parsed:
                await answer.read()
                answer.raise_for_status()


@asynccontextmanager
async def bare_loop(
    kubeconfig: Path, namespace: str, *, concurrency: int, parsed: bool = True
) -> AsyncIterator[BareLoop]:
    """A loop on a client of its own."""
    configuration = client.Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    async with client.ApiClient(configuration) as connection:
        yield BareLoop(connection, namespace, concurrency=concurrency, parsed=parsed)
