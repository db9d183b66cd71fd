"""Settings of the applier."""

from __future__ import annotations

from pydantic import Field

from vcenter_operator.common.settings import ManifestSettings


class ApplierSettings(ManifestSettings):
    """What the applier needs beside the settings of every stage."""

    concurrency: int = Field(default=10, ge=1, le=100)
    """Requests to the API server at once."""
    request_timeout: float = Field(default=30.0, gt=0, le=300)
    """Seconds that the API server has for an answer."""
    look_every: float = Field(default=300.0, gt=0)
    """Seconds between two looks at all that is owned, by which changes of ownership by hand are noticed."""
    try_refused_after: float = Field(default=600.0, gt=0)
    """Seconds after which an object that the server refused for good is tried again unchanged."""
    deletion_share: float = Field(default=1 / 3, ge=0, le=1)
    """The deletion budget: the share of the most owned in the last hour whose deletion may be inferred."""
