"""`vcenter-operator`, and `python -m vcenter_operator.command`."""

from __future__ import annotations

import signal
import sys

from vcenter_operator.common.stopping import end_when_told

_RUNS_ON = frozenset({"run", "discovery", "collector", "renderer", "applier"})
"""Commands that run until they are told to stop, so that being told is no failure."""


def main() -> None:
    """Runs the command; an error of ours is one clear line, not a traceback."""
    end_when_told(0 if _RUNS_ON.intersection(sys.argv[1:2]) else 128 + signal.SIGTERM)
    # Takes a second to load, in which it may be told to stop.
    from vcenter_operator.command.cli import app  # noqa: PLC0415
    from vcenter_operator.common.errors import OperatorError  # noqa: PLC0415
    from vcenter_operator.common.process import EXIT_CONFIGURATION  # noqa: PLC0415

    try:
        app()
    except OperatorError as error:
        print(f"vcenter-operator: {error}", file=sys.stderr)  # noqa: T201 - the last word to a person
        sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
