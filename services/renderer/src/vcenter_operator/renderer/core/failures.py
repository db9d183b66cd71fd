"""Why something could not be rendered: the template and line for its author, and never a value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from jinja2 import Template, TemplateError, TemplateNotFound, TemplateSyntaxError

from vcenter_operator.common.messages import as_reason

_HAVE_NO_VALUES = (TemplateError, TypeError, AttributeError, ZeroDivisionError)
"""Their messages speak of names and types. Any other error's message may repeat a value, perhaps a password."""
_QUOTED = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")
_TYPE = re.compile(
    r"[A-Za-z_.]+ object|str|int|float|bool|bytes|list|dict|set|tuple|NoneType|Undefined|builtin_function.*"
)
_PATH = re.compile(r"vcenter_[\w.-]+/[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Failure:
    """What went wrong, in words. What they quote of a template is cut to what a message may carry."""

    reason: str
    path: str | None = None
    """The template that it went wrong in, not always the one that was to be rendered."""
    line: int | None = None
    """Line of that template, from 1."""
    passing: bool = False
    """Whether the same input may do better at another time: it took too long, or the process ended."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", as_reason(self.reason))

    def __str__(self) -> str:
        where = self.path or ""
        if self.line is not None:
            where += f", line {self.line}"
        return f"{where}: {self.reason}" if where else self.reason


def explain(error: BaseException, path: str, sources: str = "") -> Failure:
    """The failure that an error in rendering `path` stands for.

    `sources` is the text of all templates at work: what stands there may be quoted, anything else may be a value.
    """
    if isinstance(error, TemplateSyntaxError):
        return Failure(f"{type(error).__name__}: {error.message}", error.name or path, error.lineno)
    frames = list(_template_frames(error))
    where, line = frames[-1] if frames else (path, None)
    if isinstance(error, RecursionError):
        names = " -> ".join(dict.fromkeys(name for name, _ in frames)) or path
        return Failure(f"nested without end, or too deeply: {names}", path, frames[0][1] if frames else None)
    if isinstance(error, MemoryError):
        return Failure("needs more memory than rendering may use", where, line)
    if isinstance(error, TemplateNotFound):
        return Failure(_guarded(f"there is no template '{error.message}'", sources), where, line)
    if isinstance(error, _HAVE_NO_VALUES):
        return Failure(_guarded(f"{type(error).__name__}: {error}", sources), where, line)
    return Failure(f"{type(error).__name__}{_ABOUT.get(type(error), '')}", where, line)


def without_values(text: str) -> str:
    """The text of an error with what it quotes left out."""
    return _QUOTED.sub("'…'", text)


def _guarded(text: str, sources: str) -> str:
    """The text up to the first quote that may be a value."""
    for quote in _QUOTED.finditer(text):
        quoted = quote[0][1:-1]
        if quoted not in sources and not _TYPE.fullmatch(quoted) and not _PATH.fullmatch(quoted):
            return f"{text[: quote.start()]}…"
    return text


_ABOUT: dict[type[BaseException], str] = {
    ValueError: ": a value is not what a filter or function takes",
    KeyError: ": a filter needs a variable that is not there",
    OverflowError: ": a number or range is too big",
}


def _template_frames(error: BaseException) -> Iterator[tuple[str, int]]:
    """Template and line of each frame in which template code ran, outermost first."""
    traceback = error.__traceback__
    while traceback is not None:
        template = traceback.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            yield template.name or "", template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
