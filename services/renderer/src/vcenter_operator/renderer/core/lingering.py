"""Templates that are not there any more, and may be back in a moment.

Whoever replaces a template rather than editing it deletes it first, and a custom resource definition takes all
templates along when it goes. Believed at once, either would delete a region's agents to make them anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from vcenter_operator.renderer.core.templates import Template, TemplateSet


class Believed(NamedTuple):
    """What to render from."""

    templates: TemplateSet | None
    """With those that were deleted lately, as unusable ones: their objects stay. None: nothing may be rendered now."""
    until: float | None
    """When (on the clock of `seen`) this becomes another, unless something else happens; None: never."""


class Lingering:
    """The memory of what was there. `grace`: seconds for which a template that went still counts as unknown."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._there: dict[str, Template] = {}
        self._gone: dict[str, tuple[Template, float]] = {}
        self._began: float | None = None
        self._empty = False
        self._back_at: float | None = None
        self._last: tuple[tuple[object, ...], TemplateSet] | None = None

    def seen(self, templates: TemplateSet, now: float) -> Believed:
        """What to make of the templates that there are now.

        No template at all is no evidence against anything, like no cells. What comes after that has to stand for the
        grace time, since templates come back one by one.
        """
        if self._began is None:
            self._began = now
        there = {template.key: template for template in templates.values()}
        if not there:
            self._empty, self._back_at = True, None
            return Believed(None, None)
        if self._empty:
            self._empty, self._back_at = False, now
        if self._back_at is not None:
            if now < self._back_at + self._grace:
                return Believed(None, self._back_at + self._grace)
            self._there, self._back_at = {}, None
        for key in self._there.keys() - there.keys():
            self._gone[key] = self._there[key], now
        self._gone = {
            key: (template, since)
            for key, (template, since) in self._gone.items()
            if key not in there and now < since + self._grace
        }
        self._there = there
        until = min((since + self._grace for _, since in self._gone.values()), default=None)
        return Believed(self._with_those_gone(templates), until)

    def recalls(self, now: float) -> bool:
        """Whether a template may have gone so shortly before the first look that it still counts as unknown."""
        return self._began is not None and now < self._began + self._grace

    def recall(self, versions: Mapping[str, int], now: float) -> bool:
        """Takes in what was there before this memory began, by key (see `Template`); says whether it is news."""
        if self._began is None or not self.recalls(now):
            return False
        news = versions.keys() - self._there.keys() - self._gone.keys()
        for key in news:
            namespace, _, name = key.partition("/")
            self._gone[key] = Template(namespace, name, scope="", source="", version=versions[key]), self._began
        return bool(news)

    def _with_those_gone(self, templates: TemplateSet) -> TemplateSet:
        """The same set for the same content, so that it is seen that nothing changed."""
        content = (templates, *sorted(self._gone))
        if self._last is None or self._last[0] != content:
            gone = (replace(template, problem=_PROBLEM) for template, _ in self._gone.values())
            both = TemplateSet([*templates.values(), *gone]) if self._gone else templates
            self._last = content, both
        return self._last[1]


_PROBLEM = "it was deleted a moment ago; its objects go unless it is back shortly"
