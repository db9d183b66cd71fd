"""The pages of the documentation, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
    + list((ROOT / "docs").rglob("*.md"))
    + [ROOT / "tests" / "stack" / "README.md"]
)
WALKED = tuple(ROOT / "docs" / name for name in ("walkthrough-incident.md", "templates.md", "first-steps.md"))
"""Those that are run as they stand, by `tests/e2e/test_walkthrough.py`."""
_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!`)\[(?:[^\]]|\n)*?\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block."""

    page: Path
    line: int
    language: str
    """The first word behind the fence, and what follows it."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in _FENCE.finditer(text):
        indent = match[1]
        inner = "".join(line.removeprefix(indent) for line in match[3].splitlines(keepends=True))
        yield Block(page, text.count("\n", 0, match.start()) + 1, match[2].strip(), inner)


def prose(page: Path) -> str:
    """Without fenced blocks."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    return [one or other for one, other in _LINK.findall(prose(page))]


def section(page: Path, title: str) -> str:
    """What stands under a heading of the second level, up to the next one."""
    _, found, rest = page.read_text().partition(f"\n## {title}\n")
    assert found, f"{page.name} has no section {title!r}"
    return rest.partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without heads."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
            if set(cells[0]) <= {"-", ":"} and cells[0]:
                found.pop()
            else:
                found.append(cells)
    return found


def anchors(page: Path) -> set[str]:
    """What a link may have behind `#`, as forges make it of headings."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading.lower())).replace(" ", "-")
        found[name] = found.get(name, -1) + 1
    return {f"{name}-{number}" if number else name for name, last in found.items() for number in range(last + 1)}
