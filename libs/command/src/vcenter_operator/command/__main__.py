"""`vcenter-operator`, and `python -m vcenter_operator.command`."""

from __future__ import annotations

import sys

from vcenter_operator.command.cli import app
from vcenter_operator.common.errors import OperatorError
from vcenter_operator.common.process import EXIT_CONFIGURATION


def main() -> None:
    """Runs the command; an error of ours is one clear line, not a traceback."""
    try:
        app()
    except OperatorError as error:
        print(f"vcenter-operator: {error}", file=sys.stderr)  # noqa: T201 - the last word to a person
        sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
