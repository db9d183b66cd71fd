"""Settings of the renderer, from environment variables."""

from __future__ import annotations

from pydantic import Field

from vcenter_operator.common.settings import ManifestSettings
from vcenter_operator.renderer.adapters.frames import Bounds
from vcenter_operator.renderer.core.policy import MAX_OUTPUT, Policy


class RendererSettings(ManifestSettings):
    """What the renderer needs beyond what every stage does."""

    render_seconds: float = Field(default=2.0, gt=0, le=60)
    """CPU seconds that a template may take for one unit."""
    render_memory: int = Field(default=512, ge=128)
    """MiB of address space of a rendering process."""
    render_processes: int = Field(default=2, ge=1, le=64)
    """Processes in which templates run, started when they are needed."""
    render_output: int = Field(default=MAX_OUTPUT, ge=1024)
    """Characters that a template may yield for one unit."""
    template_grace: float = Field(default=10.0, ge=0)
    """Seconds for which a template that was deleted may come back before its objects are deleted."""
    owner_references: bool = False
    """Objects are owned by their VCenterTemplate, as under the deployed operator. Beware: the garbage collector then
    deletes them with the template, past the deletion budget."""

    @property
    def bounds(self) -> Bounds:
        """Of a rendering process."""
        return Bounds(self.render_seconds, self.render_memory * 1024 * 1024)

    @property
    def policy(self) -> Policy:
        """Of rendering."""
        return Policy(self.cluster_scoped_kinds, self.owner_references, self.render_output)
