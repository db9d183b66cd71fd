"""What is seen at one moment, and what of it is wrong. Pure: servers are asked elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from vcenter_operator.common.messages import Stage

CONDITIONS = ("Discovered", "Connected", "Collected", "Rendered", "Applied", "DeletionHeld", "Ready")
"""In the order in which facts pass through the pipeline: the first that is wrong is most likely the cause."""
_FINE_WHEN_FALSE = frozenset({"DeletionHeld"})
_READY = "Ready"
_DONE, _PAUSED = "Done", "Paused"
_WRONG_WHEN_GONE = frozenset({("Applied", "False"), ("DeletionHeld", "True")})

_SEE_PARKED = "see vcenter-operator messages parked list"

State = Literal["ready", "trouble", "starting", "gone"]


@dataclass(frozen=True)
class Condition:
    """A condition of a `VCenter`, as it stands there."""

    type: str
    status: str
    reason: str
    message: str
    since: datetime | None

    @property
    def wrong(self) -> bool:
        """Whether it says anything but that all is well."""
        return self.status != ("False" if self.type in _FINE_WHEN_FALSE else "True")

    def __str__(self) -> str:
        return f"{self.type} {self.reason}" + (f": {self.message}" if self.message else "")


@dataclass(frozen=True)
class Cluster:
    """A cluster that is known of a vCenter."""

    name: str
    role: str
    availability_zone: str
    moid: str


@dataclass(frozen=True)
class VCenter:
    """What the `VCenter` resource says. None: nothing is said of it (yet)."""

    name: str
    partition: int
    present: bool | None
    serial: int | None
    addresses: tuple[str, ...]
    inventory: str | None
    """Revision of the inventory that was stated last."""
    applied: str | None
    """Revision of the inventory that was acted on last."""
    cluster_count: int | None
    clusters: tuple[Cluster, ...]
    objects: int | None
    held: tuple[str, ...]
    """Objects (group/kind/namespace/name) whose deletion waits for a person's word."""
    held_plan: str | None
    """The digest of what is held, by which it can be released."""
    policy: str | None
    """What is carried out of plans: `sync`, `upsert-only`, `observe`."""
    suspended: bool
    conditions: tuple[Condition, ...]
    """In the order of `CONDITIONS`, others after them."""
    changed: datetime | None
    """When an object was last created, updated or deleted."""

    @property
    def ready(self) -> Condition | None:
        """What all conditions come to; None: nothing is said of it yet."""
        return next((condition for condition in self.conditions if condition.type == _READY), None)

    @property
    def state(self) -> State:
        """In one word. One that is gone is in trouble only where its objects need a person."""
        if self.present is False and self.trouble is None:
            return "gone"
        if self.ready is None or (self.ready.status, self.ready.reason) == ("Unknown", "Starting"):
            return "starting"
        return "ready" if self.trouble is None else "trouble"

    @property
    def trouble(self) -> Condition | None:
        """The condition that is wrong; of several the one that `Ready` speaks of, else the first in the pipeline."""
        wrong = [condition for condition in self.conditions if condition.wrong]
        if self.present is False:
            wrong = [one for one in wrong if (one.type, one.status) in _WRONG_WHEN_GONE]
        spoken = self.ready.reason if self.ready is not None else None
        causes = [one for one in wrong if one.type != _READY]
        meant = [one for one in causes if spoken in (one.type, one.reason)]
        return next(iter([*meant, *causes, *wrong]), None)


@dataclass(frozen=True)
class Template:
    """What the status of a `VCenterTemplate` says. None: nothing is said of it (yet)."""

    name: str
    """`namespace/name`."""
    suspended: bool
    rendered: Condition | None
    phase: str | None
    """How far its last edit has come, where it is rolled out step by step."""
    version: int | None
    """Names the rollout: by it a person sends it on."""
    canary: str | None
    """The vCenter that goes first."""
    why: str | None
    """What keeps the rollout from going on."""

    @property
    def under_way(self) -> bool:
        """Whether an edit of it has not reached all vCenters."""
        return self.phase not in (None, _DONE)

    @property
    def troubles(self) -> list[str]:
        """What is wrong with it."""
        found = [str(self.rendered)] if self.rendered is not None and self.rendered.status == "False" else []
        if self.phase == _PAUSED:
            found.append(f"its rollout is paused: {self.why or 'no reason is given'}")
        return [f"template {self.name}: {each}" for each in found]


@dataclass(frozen=True)
class Partition:
    """A partition of a stage. None: it could not be asked."""

    number: int
    owned: bool | None
    """Whether somebody works on it now (the broker says)."""
    owner: str | None
    """Who took it last (the Lease says): `<host>-<process id>`."""
    epoch: int | None
    since: datetime | None
    """When it was taken."""
    waiting: int | None
    """Messages in its queue, without those that the owner has in hand."""


@dataclass(frozen=True)
class StageView:
    """A stage. None: it could not be asked."""

    stage: Stage
    partitions: tuple[Partition, ...]
    replicas: int | None = None
    retrying: int | None = None
    """Messages that wait for another attempt."""
    parked: int | None = None
    """Messages that can never work as they stand."""
    declared: bool | None = None
    """False: its queues do not exist on the broker."""

    @property
    def unowned(self) -> list[int]:
        """Partitions that nobody works on."""
        return [partition.number for partition in self.partitions if partition.owned is False]

    @property
    def waiting(self) -> int | None:
        """Messages that wait in all partitions."""
        known = [partition.waiting for partition in self.partitions if partition.waiting is not None]
        return sum(known) if known else None


@dataclass(frozen=True)
class Pipeline:
    """Everything at one moment."""

    at: datetime
    stages: tuple[StageView, ...]
    vcenters: tuple[VCenter, ...] | None
    """None: they could not be asked for."""
    templates: tuple[Template, ...] | None = None
    """None: they could not be asked for."""
    not_asked: dict[str, str] = field(default_factory=dict)
    """What could not be asked, and why."""

    @property
    def troubles(self) -> list[str]:
        """A line for each thing that is wrong; none: all is well, as far as could be asked."""
        of_templates = [trouble for template in self.templates or () for trouble in template.troubles]
        return [*self._of_stages(), *of_templates, *self._of_vcenters()]

    def _of_stages(self) -> Iterator[str]:
        for view in self.stages:
            if view.declared is False:
                yield f"{view.stage}: its queues do not exist on this broker: it never ran with these settings"
            elif view.unowned:
                yield f"{view.stage}: nobody works on partition {_numbers(view.unowned)}"
            if view.parked:
                yield f"{view.stage}: {view.parked} parked, which can never work as they stand: {_SEE_PARKED}"

    def _of_vcenters(self) -> Iterator[str]:
        if self.vcenters is None:
            return
        if not self.vcenters:
            yield "no vCenter was found yet: has discovery read the zone?"
        for vcenter in self.vcenters:
            if vcenter.state == "starting":
                yield f"{vcenter.name}: {vcenter.ready or 'nothing is known of it yet'}"
            elif vcenter.trouble is not None:
                yield f"{vcenter.name}: {vcenter.trouble}"


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
