"""What a client asks of the API server."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient


def requests_of(client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every request from now on, but for watches: the method, and the last two parts of the path."""
    seen: list[tuple[str, str]] = []
    call_api = client.call_api

    async def noted(path: str, method: str, **more: Any) -> Any:
        if ("watch", "true") not in more.get("query_params", ()):
            seen.append((method, "/".join(path.split("/")[-2:])))
        return await call_api(path, method, **more)

    monkeypatch.setattr(client, "call_api", noted)
    return seen
