"""What the renderer stands on, beside the bus, `Watched` collections and the `ConfigurationSource` of common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vcenter_operator.renderer.core.rendering import Rendered
from vcenter_operator.renderer.core.templates import Template, TemplateSet


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


class TemplateStatus(Protocol):
    """Where the authors of templates see what became of them. Every method may raise TransientError or PermanentError.

    A template that is gone is passed over. One that was made anew under its name may be told what became of the last
    one, until the watch has shown it.
    """

    async def state_partition(self, template: Template, partition: int, entry: Mapping[str, Any] | None) -> None:
        """Replaces the entry of one partition in `status.partitions`; None: there is none."""
        ...

    async def state_summary(self, template: Template, status: Mapping[str, Any]) -> None:
        """Replaces all of the status but the partitions' entries and the rollout."""
        ...

    async def state_rollout(self, template: Template, rollout: Mapping[str, Any] | None, *, version: str) -> bool:
        """Replaces `status.rollout`, None: there is none. False: it is not at this resourceVersion any more."""
        ...
