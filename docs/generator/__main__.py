"""Writes every generated page: `make docs`."""

from __future__ import annotations

from docs.generator.pages import ROOT, pages


def main() -> None:
    """Writes what differs, and says so."""
    for path, text in pages().items():
        page = ROOT / path
        if not page.exists() or page.read_text() != text:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text)
            print(f"{path}: written")


if __name__ == "__main__":
    main()
