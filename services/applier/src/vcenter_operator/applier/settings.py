"""Settings of the applier."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vcenter_operator.common.record.orders import PolicyName, WhenGone
from vcenter_operator.common.settings import ManifestSettings


class ApplierSettings(ManifestSettings):
    """What the applier needs beyond what every stage does."""

    secret_keys: ClassVar[tuple[str, ...]] = ()
    """It logs on to no vCenter."""

    concurrency: int = Field(default=10, ge=1, le=100)
    """Writes to the API server at once; a vCenter whose writes hang leaves places to the others."""
    request_timeout: float = Field(default=30.0, gt=0, le=300)
    """Seconds that the API server has for an answer."""
    look_every: float = Field(default=300.0, gt=0)
    """Seconds between two looks at all that is owned, where it is not watched."""
    relist_every: float = Field(default=3600.0, gt=0)
    """Seconds between two looks at what is watched: the net under the watches."""
    try_refused_after: float = Field(default=600.0, gt=0)
    """Seconds after which an object that the server refused for good is tried again unchanged."""
    available_for: float = Field(default=10.0, ge=0)
    """Seconds that the Deployments of the first vCenter have to be available before a template that rolls out step by
    step goes on."""
    deletion_share: float = Field(default=1 / 3, ge=0, le=1)
    """The deletion budget: the share of the most that a vCenter owned in the last hour whose deletion may be inferred
    from DNS or the inventory. 1 opens it."""
    deletion_count: int | None = Field(default=None, ge=0)
    """And at most so many objects, whatever share that is; none: any number."""
    policy: PolicyName = PolicyName.SYNC
    """What of plans is carried out: `sync`, `upsert-only` or `observe`. A VCenter may ask for a stricter one."""
    adopt: bool = False
    """Whether objects of the deployed operator are taken over; `spec.adopt` of the VCenter goes before it."""
    gone_policy: WhenGone = WhenGone.RETAIN
    """What becomes of the objects of a vCenter that is gone from DNS; `spec.whenGone` of the VCenter goes before it."""
    gone_after: float = Field(default=7 * 24 * 3600.0, ge=0)
    """Seconds of grace before the objects of such a vCenter are deleted, where they are."""
