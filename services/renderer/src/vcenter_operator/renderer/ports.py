"""What the renderer stands on, beside the bus, `Watched` collections and the `ConfigurationSource` of common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vcenter_operator.renderer.core.rendering import Rendered
from vcenter_operator.renderer.core.templates import TemplateSet


@dataclass(frozen=True)
class Job:
    """One template to be rendered for one unit."""

    path: str
    variables: Mapping[str, Any] = field(repr=False)


class Engine(Protocol):
    """Where templates are run: they are other teams' code, bounded in time, memory and output."""

    async def render(self, templates: TemplateSet, jobs: Sequence[Job], *, master_password: str) -> list[Rendered]:
        """What came of each job, in order; what it is a failure of is in the result.

        `master_password` is for the filter `derive_password`, and no variable. Raises TransientError: nothing can be
        rendered just now.
        """
        ...
