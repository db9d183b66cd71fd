"""A region of its own for every end-to-end test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.region import Region, region_of


@pytest.fixture
def region(
    kubernetes: Any, zone: Any, amqp_url: str, namespace: str, vcsim_factory: Any, tmp_path: Path
) -> Iterator[Region]:
    """A region with Secret, cells and templates, and no vCenter yet."""
    yield from region_of(kubernetes, zone, amqp_url, namespace, vcsim_factory, tmp_path)
