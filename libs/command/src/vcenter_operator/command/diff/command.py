"""What `vcenter-operator diff` does: differences to standard output, what could not be said to standard error."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from rich.console import Console
from rich.status import Status
from rich.text import Text

from vcenter_operator.command import pipeline, terminal
from vcenter_operator.command.diff.collecting import Scope, collect
from vcenter_operator.command.diff.report import Report, report
from vcenter_operator.common import process
from vcenter_operator.common.errors import TransientError
from vcenter_operator.common.process import IN_PROCESS
from vcenter_operator.common.settings import Settings

EXIT_SAME, EXIT_DIFFERENT, EXIT_INCOMPLETE = 0, 1, 2

_STYLES = {"#": "bold", "-": "red", "+": "green", "@": "cyan"}
_KEPT = 20
"""Lines of the log that are kept, for when it does not work."""


@dataclass(frozen=True)
class Wish:
    """What is asked for. `timeout`: seconds until what is not planned yet is told as unknown."""

    scope: Scope
    files: pipeline.Files | None = None
    timeout: float = 120.0


def diff(wish: Wish) -> int:
    """Shows it. Returns the exit code: 0 no difference, 1 differences, 2 it could not be found out for all."""
    found: list[Report] = []
    kept = _KeptLog()

    async def body() -> None:
        settings = Settings.load(bus=IN_PROCESS)
        if "log_level" not in settings.model_fields_set:
            kept.instead_of_the_log()
        console = terminal.errors()
        with Status("", console=console) as status:
            if not console.is_terminal:
                status.stop()
            try:
                collected = await collect(settings, wish.files, wish.scope, within=wish.timeout, tell=status.update)
            except TransientError as error:
                found.append(Report([], [], [str(error)]))
            else:
                found.append(report(collected, wish.scope))

    code = process.run(body, lambda: Settings.load(bus=IN_PROCESS))
    if code != process.EXIT_DONE or not found:
        kept.tell(terminal.errors())
        return EXIT_INCOMPLETE
    return _show(found[0], kept)


def _show(told: Report, kept: _KeptLog) -> int:
    output, errors = terminal.output(), terminal.errors()
    for line in told.differences:
        output.print(_coloured(line), soft_wrap=True)
    for line in told.summary:
        errors.print(line, soft_wrap=True, style="dim")
    if not told.problems:
        return EXIT_DIFFERENT if told.differences else EXIT_SAME
    if not told.summary:
        kept.tell(errors)
    for line in told.problems:
        errors.print(line, soft_wrap=True, style="bold yellow")
    return EXIT_INCOMPLETE


def _coloured(line: str) -> Text:
    heading = line.startswith(("---", "+++"))
    return Text(line, style="bold" if heading else _STYLES.get(line[:1], ""))


class _KeptLog(logging.Handler):
    """The last warnings of the stages: noise while it works, the reason where it does not."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: deque[str] = deque(maxlen=_KEPT)

    def instead_of_the_log(self) -> None:
        """Takes the place of what writes the log, in its format."""
        root = logging.getLogger()
        self.setFormatter(root.handlers[0].formatter)
        root.handlers[:] = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self._lines.append(self.format(record))

    def tell(self, console: Console) -> None:
        """All that is kept."""
        for line in self._lines:
            console.print(Text.from_ansi(line), soft_wrap=True)
        self._lines.clear()
