"""The record port: one `VCenter` resource for each vCenter that was ever seen.

Every stage writes a section of its own; none touches another's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar, Literal, Protocol

from pydantic import Field

from vcenter_operator.common.errors import PermanentError
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import ClusterRole, Fact, ObjectKey, Provenance, Stage
from vcenter_operator.common.record.orders import Orders, PolicyName


class Condition(Fact):
    """A Kubernetes status condition. The store keeps `lastTransitionTime`."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str = Field(pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    """CamelCase."""
    message: str = ""
    """A sentence that a person understands; never a secret."""


class Section(Fact):
    """Base of what one stage remembers of a vCenter."""

    stage: ClassVar[Stage]
    conditions: tuple[Condition, ...] = ()


class Discovered(Section):
    """Discovery's memory: what is not in the zone but here is gone."""

    stage: ClassVar[Stage] = Stage.DISCOVERY

    present: bool
    serial: int
    revision: Revision
    addresses: tuple[str, ...] = ()
    gone_since: datetime | None = None
    """When a complete zone was first seen without it; None: it is in the zone."""


class RecordedCluster(Fact):
    """A cluster that was once within the convention, by which its end is recognised."""

    moid: str
    role: ClusterRole
    cluster_name: str
    availability_zone: str
    instance: str | None = None
    """The vCenter instance (`about.instanceUuid`) in which the managed object id means this cluster; None: any."""
    members: tuple[str, ...] = ()
    """The datastores and port groups that its last statement rests on, as `<vSphere type> <managed object id>`."""


class RefusedLogins(Fact):
    """Logins that a vCenter refused in a row: whoever takes it over goes on counting, lest the account is locked."""

    times: int
    last: datetime
    credentials: str = ""
    """Digest of the user and password that they were tried with (`Configuration.digest_of`): others count anew."""


class Collected(Section):
    """The collector's memory: the clusters it stated last."""

    stage: ClassVar[Stage] = Stage.COLLECTOR

    revision: Revision
    clusters: tuple[RecordedCluster, ...] = ()
    refused: RefusedLogins | None = None
    """None: the last login that was tried was accepted."""


class Rendered(Section):
    """The renderer's account: what is rendered for the vCenter, for people; it remembers nothing by it."""

    stage: ClassVar[Stage] = Stage.RENDERER

    objects: int = 0
    """How many objects should exist, as far as that is known."""
    failing: int = 0
    """How many templates fail, or are unusable, each counted once for every unit."""


class OwnedSample(Fact):
    """How many objects were owned at a moment, for the deletion budget's hour."""

    at: datetime
    owned: int


class ApprovedRemoval(Fact):
    """An object whose deletion a person released: this very one, not what may be made under its name later."""

    id: ObjectKey
    uid: str


OK = "ok"
"""What a `RolledOut` says where all is well."""


class RolledOut(Fact):
    """How far a template that is rolled out step by step has come on one vCenter."""

    version: int
    """`Rollout.version` that this is about."""
    checked: str | None = None
    """`ok`: the server would take all that is to be written; else what it refuses. None: not known yet."""
    changes: int = 0
    """How many objects would be written or deleted, as of that check."""
    deployments: int = 0
    """How many of these are Deployments to be written."""
    applied: str | None = None
    """`ok`: all is written, and in the canary its Deployments are available; else what fails. None: not yet."""


class Applied(Section):
    """The applier's memory, written before it acts."""

    stage: ClassVar[Stage] = Stage.APPLIER

    acted_on: Provenance
    """The newest that was acted on, part by part: what is older in any part is dropped."""
    settled_templates: dict[str, int] | None = None
    """`ManifestDelta.templates` of the last delta that was planned and acted on; None: never yet."""
    settled_inputs: str | None = None
    """`ManifestDelta.inputs` of that delta."""
    declared: tuple[ObjectKey, ...] = ()
    """Objects that an edit before that asked to go, and that have not gone yet."""
    held: tuple[ObjectKey, ...] = ()
    """Objects whose deletion waits for a person's word."""
    hold: int = 0
    """Counts the sets of objects that were held: part of a held plan's digest, so that no word counts twice."""
    held_plan: str | None = None
    """The digest of what is held: what a person releases."""
    approved: tuple[ApprovedRemoval, ...] = ()
    """What a person released, and is not deleted yet."""
    policy: PolicyName | None = None
    """What is carried out of plans; None: not planned yet."""
    suspended: bool = False
    """Whether a person suspended the vCenter."""
    reconciled: str | None = None
    """The last `reconcile` annotation that was answered by a look at everything and a plan carried out."""
    samples: tuple[OwnedSample, ...] = ()
    objects: int = 0
    fields: str | None = None
    """Names which fields of which objects the last writes left the applier: what others took since is noticed."""
    last_change: datetime | None = None
    """When an object was last created, updated or deleted; None: not since this is noted."""
    rollouts: dict[str, RolledOut] | None = None
    """By template, `<namespace>/<name>`; None: none is rolled out step by step."""


class Record(Fact):
    """All that is remembered of one vCenter."""

    host: str
    version: str
    """Changes with every write; for compare-and-swap."""
    uid: str = ""
    """The resource's uid, where there is one."""
    discovered: Discovered | None = None
    collected: Collected | None = None
    rendered: Rendered | None = None
    applied: Applied | None = None
    orders: Orders = Field(default_factory=Orders)
    """What people said on it."""
    problems: dict[Stage, str] = Field(default_factory=dict)
    """Why a section that is there cannot be read: somebody else wrote it. Above it is None, as if there was none."""

    def check(self, stage: Stage) -> None:
        """To be called before a section that is None is taken for never written. Raises PermanentError."""
        if stage in self.problems:
            raise PermanentError(self.problems[stage])


ABSENT = ""
"""The version of a record that does not exist."""


def anybody() -> None:
    """The `verify` of a write that is anybody's to make."""


class Store(Protocol):
    """Reads and writes records. Every method may raise TransientError."""

    async def list(self, *, fresh: bool = True) -> list[Record]:
        """Every record there is. Complete, or an error; one that somebody damaged stops no other, see `problems`.

        Unless `fresh`, they may be a moment old, where that saves asking.
        """
        ...

    async def get(self, host: str, *, fresh: bool = True) -> Record | None:
        """One record; None: never seen. Unless `fresh`, it may be a moment old, where that saves asking."""
        ...

    async def write(
        self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
    ) -> Record:
        """Replaces one stage's section, making the record where there is none.

        With `version`, only if the record is still at it (`ABSENT`: if there is still none): raises StaleRecord
        otherwise. Unchanged content writes nothing.

        `verify` (`Ownership.verify`; what it raises ends the write) is called after each look at the record, and what
        is written then replaces nothing that came after that look. So a process that was stopped anywhere in between,
        and wakes up when another has written, undoes nothing.
        """
        ...
