"""Which pages there are."""

from __future__ import annotations

from pathlib import Path

from docs.generator import configuration, schema

ROOT = Path(__file__).parents[2]


def pages() -> dict[str, str]:
    """Paths from the root of the repository, and what stands there."""
    return {"docs/configuration.md": configuration.page(), **schema.pages()}
