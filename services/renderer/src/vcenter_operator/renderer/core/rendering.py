"""Rendering one template for one unit: from variables to the objects that it yields, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vcenter_operator.renderer.core.documents import Document, DocumentError, parse_documents
from vcenter_operator.renderer.core.environment import Library, Loaded
from vcenter_operator.renderer.core.failures import Failure, explain
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.templates import Template


@dataclass(frozen=True)
class Rendered:
    """What came of it."""

    documents: tuple[Document, ...] = ()
    loaded: Loaded = field(default_factory=dict)
    """What it was made of, beside the variables: another rendering of these would yield the same."""
    failure: Failure | None = None
    """None: it worked."""


def render(library: Library, template: Template, variables: Mapping[str, Any], policy: Policy) -> Rendered:
    """Renders a template of the library for one unit. Raises nothing but what ends a process."""
    try:
        text = library.render(template.path, variables)
    except Exception as error:
        return Rendered(loaded=library.loaded, failure=explain(error, template.path, library.sources))
    loaded = library.loaded
    try:
        return Rendered(tuple(parse_documents(text, template.namespace, policy)), loaded)
    except DocumentError as error:
        path, line = _located(library, template.path, variables, error.line)
        reason = f"{error} (line {error.line} of the rendered text)"
        return Rendered(loaded=loaded, failure=Failure(reason, path, line))
    except Exception as error:
        return Rendered(loaded=loaded, failure=explain(error, template.path))


def _located(library: Library, path: str, variables: Mapping[str, Any], line: int) -> tuple[str, int | None]:
    try:
        return library.locate(path, variables, line)
    except Exception:
        return path, None
