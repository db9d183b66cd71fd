"""Every command's help tells how it ends, where settings come from, and has examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from vcenter_operator.command.cli import app
from vcenter_operator.command.manual import EXAMPLES


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from commands(inner, (*path, name))
        else:
            yield " ".join((*path, name)), inner


ALL = dict(commands(typer.main.get_command(app)))


def test_every_command_has_examples_and_no_example_is_of_another() -> None:
    assert EXAMPLES.keys() == ALL.keys()
    for name, examples in EXAMPLES.items():
        assert examples
        assert all(line.split()[: len(name.split())] == name.split() for line, _ in examples)


@pytest.mark.parametrize("name", ALL)
def test_help_tells_what_a_manual_tells(name: str) -> None:
    told = f"{ALL[name].help}\n{ALL[name].epilog}"
    for part in ("Exit codes: 0 ", "; 2 ", "Environment: ", "Examples:"):
        assert part in told, f"{name}: {part}"
    for parameter in ALL[name].params:
        assert parameter.name == "help" or parameter.help, f"{name}: {parameter.name} is not explained"
