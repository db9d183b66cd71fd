"""Where people read: colours on a terminal alone (and none where NO_COLOR is set), whole lines elsewhere."""

from __future__ import annotations

import os

from rich.console import Console, RenderableType

_WIDE = 250
"""Columns where there is no terminal that says how many it has."""


def output() -> Console:
    """Standard output."""
    return _console(stderr=False)


def errors() -> Console:
    """Standard error."""
    return _console(stderr=True)


def show(console: Console, what: RenderableType) -> None:
    """Prints it; without the spaces at the ends of lines where nobody sees them."""
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as captured:
        console.print(what)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    console.file.flush()


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console
