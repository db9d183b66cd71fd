"""Jinja2 as templates see it: an environment for each template, all loading from one library.

A deployed template may change what it made itself (`{% set _ = names.append(name) %}`), so the environments are
sandboxed, but not the immutable sort. What it changes is its own: each unit is rendered with values of its own, and
with templates instantiated anew, so that nothing passes from one rendering into the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from types import CodeType
from typing import Any

from jinja2 import BaseLoader, Environment, TemplateNotFound, TemplateRuntimeError, Undefined
from jinja2 import Template as Compiled
from jinja2.exceptions import SecurityError
from jinja2.nodes import TemplateData
from jinja2.sandbox import SandboxedEnvironment

from vcenter_operator.renderer.core.cells import Cells
from vcenter_operator.renderer.core.filters import FILTERS, GLOBALS, DerivePassword, password_filter
from vcenter_operator.renderer.core.templates import Template

Loaded = Mapping[str, str | None]
"""Paths that a rendering loaded, itself included, with their fingerprints; None: it was not there."""


class TooMuchOutput(TemplateRuntimeError):
    """A template yields more than it may."""


class _Environment(SandboxedEnvironment):
    """The environment of one template."""

    def __init__(self, template: Template, loader: BaseLoader, derive: DerivePassword) -> None:
        super().__init__(loader=loader, cache_size=0, **template.options)
        self.template_source = template.source
        self.filters |= {**FILTERS, "derive_password": password_filter(derive)}
        self.globals |= GLOBALS

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Refuses at once; stock Jinja2 would print nothing."""
        raise SecurityError(f"access to attribute {attribute!r} of a {type(obj).__name__} is unsafe")


class _Loader(BaseLoader):
    """Loads from the library whatever environment asks: each template has its own."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def load(self, environment: Environment, name: str, globals: MutableMapping[str, Any] | None = None) -> Compiled:  # noqa: A002, ARG002
        """See `jinja2.BaseLoader.load`."""
        return self._library.template(name)


class Library:
    """All templates there are, each compiled once. Not for use by two threads at a time."""

    def __init__(self, derive: DerivePassword, *, max_output: int) -> None:
        self._templates: Mapping[str, Template] = {}
        self._derive = derive
        self._max_output = max_output
        self._loader = _Loader(self)
        self._compiled: dict[str, tuple[str, _Environment, CodeType]] = {}
        self._loaded: dict[str, str | None] = {}

    def replace(self, templates: Mapping[str, Template]) -> None:
        """Takes over the templates that there are now; what did not change stays compiled."""
        self._templates = templates
        self._compiled = {path: entry for path, entry in self._compiled.items() if path in templates}

    @property
    def loaded(self) -> Loaded:
        """What the last rendering loaded, as far as it came."""
        return dict(self._loaded)

    @property
    def sources(self) -> str:
        """The text of what the last rendering loaded."""
        return "\n".join(self._templates[path].source for path in self._loaded if path in self._templates)

    def render(self, path: str, variables: Mapping[str, Any]) -> str:
        """The text of one template.

        Raises:
            jinja2.TemplateError: it cannot be compiled or rendered, or yields too much; `failures.explain` knows where.
            Exception: whatever a filter or function raises.
        """
        pieces: list[str] = []
        size = 0
        for piece in self._pieces(path, variables):
            pieces.append(piece)
            size += len(piece)
            if size > self._max_output:
                raise TooMuchOutput(f"yields more than {self._max_output} characters")
        return "".join(pieces)

    def locate(self, path: str, variables: Mapping[str, Any], rendered_line: int) -> tuple[str, int]:
        """The template and its line that the line (from 1) of the rendered text comes from, by rendering it again."""
        generator = self._pieces(path, variables)
        before = rendered_line - 1
        for piece in generator:
            newlines = piece.count("\n")
            if newlines < before:
                before -= newlines
            elif piece.split("\n", before)[-1]:
                return _origin(generator, piece, before)
            else:
                before = 0
        return path, 1

    def template(self, path: str) -> Compiled:
        """A template, fit for one rendering.

        Raises:
            TemplateNotFound: there is none of this path.
            TemplateRuntimeError: it must not be used.
            TemplateSyntaxError: it cannot be compiled.
        """
        template = self._templates.get(path)
        self._loaded[path] = template.fingerprint if template is not None else None
        if template is None:
            raise TemplateNotFound(path)
        if template.problem is not None:
            raise TemplateRuntimeError(f"{path}: {template.problem}")
        environment, code = self._compile(template)
        return Compiled.from_code(environment, code, environment.make_globals(None))

    def _pieces(self, path: str, variables: Mapping[str, Any]) -> Iterator[str]:
        self._loaded = {}
        template = self.template(path)
        return template.root_render_func(template.new_context(own_copy(dict(variables))))

    def _compile(self, template: Template) -> tuple[_Environment, CodeType]:
        kept = self._compiled.get(template.path)
        if kept is not None and kept[0] == template.fingerprint:
            return kept[1], kept[2]
        environment = _Environment(template, self._loader, self._derive)
        code = environment.compile(template.source, template.path, f"<{template.path}>")
        self._compiled[template.path] = template.fingerprint, environment, code
        return environment, code


def own_copy(value: Any) -> Any:
    """A copy of what JSON knows and of sets, which a template may change."""
    if isinstance(value, dict):
        return {key: own_copy(each) for key, each in value.items()}
    if isinstance(value, list):
        return [own_copy(each) for each in value]
    return Cells(value) if isinstance(value, set | frozenset) else value


def _origin(generator: Any, piece: str, newlines: int) -> tuple[str, int]:
    """Where in the templates the text `newlines` lines into the piece just generated comes from."""
    while getattr(generator.gi_yieldfrom, "gi_frame", None) is not None:
        generator = generator.gi_yieldfrom
    frame = generator.gi_frame
    template: Compiled = frame.f_globals["__jinja_template__"]
    path, line = template.name or "", template.get_corresponding_lineno(frame.f_lineno)
    environment = template.environment
    assert isinstance(environment, _Environment)
    for node in environment.parse(environment.template_source).find_all(TemplateData):
        if node.lineno >= line and piece.startswith(node.data):
            return path, node.lineno + newlines
    return path, line
