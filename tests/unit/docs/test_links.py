"""Every link within the documentation leads somewhere, and every page is in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.markdown import PAGES, ROOT, anchors, links

INDEX = ROOT / "docs" / "README.md"


def target(page: Path, link: str) -> tuple[Path, str]:
    path, _, anchor = link.partition("#")
    return ((page.parent / path).resolve() if path else page), anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, anchor = target(page, link)
        assert path.exists(), f"{page.name}: {link}"
        assert path.is_relative_to(ROOT), f"{page.name}: {link}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name}: {link}: there is {sorted(anchors(path))}"


def test_the_index_has_every_page() -> None:
    listed = {target(INDEX, link)[0] for link in links(INDEX)}
    pages = {page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "decisions"}
    assert pages - listed - {INDEX} == set()


def test_there_are_links() -> None:
    assert sum(len(links(page)) for page in PAGES) > 50
