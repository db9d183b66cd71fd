"""The three statements that flow down the pipeline, and the one request that flows back.

A statement is the whole truth about one vCenter. Lost, repeated, late or reordered ones can delay
the outcome, never change it: of several about one vCenter only the newest needs work.
"""

from __future__ import annotations

import re
import uuid
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    Strict,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from vcenter_operator.common.identity import DNS_NAME, ObjectId, Revision, Unit

T = TypeVar("T")

SCHEMA = 1
REASON_AT_MOST = 500
"""Characters of a reason: there may be one for each template and cluster of a vCenter in one message."""
_TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Stage(StrEnum):
    """The four services, in the order in which facts pass through them."""

    DISCOVERY = "discovery"
    COLLECTOR = "collector"
    RENDERER = "renderer"
    APPLIER = "applier"


def _parsed(kind: type[ObjectId] | type[Unit]) -> PlainValidator:
    def parse(value: object) -> ObjectId | Unit:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise ValueError("not a name")
        return kind.parse(value)

    return PlainValidator(parse)


def as_reason(text: str) -> str:
    """Words that are not ours, fit to travel: of a bounded length, and `?` for what is half of a surrogate pair."""
    short = text if len(text) <= REASON_AT_MOST else f"{text[: REASON_AT_MOST - 1]}…"
    return short.encode("utf-8", "replace").decode()


def as_traceparent(value: object) -> str | None:
    """A W3C trace context (`traceparent`, version 00); None where it is none: no statement fails for its trace."""
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def _not_negative(revision: Revision) -> Revision:
    if min(revision) < 0:
        raise ValueError("a revision counts from 0")
    return revision


Host = Annotated[str, StringConstraints(pattern=rf"^{DNS_NAME}$", max_length=253)]
Position = Annotated[int, Field(ge=0)]
Minted = Annotated[
    Revision,
    AfterValidator(_not_negative),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2}),
]
Several = Annotated[tuple[T, ...], Strict(False)]
"""Msgpack knows arrays, and gives lists."""
Reason = Annotated[str, AfterValidator(as_reason)]
ObjectKey = Annotated[ObjectId, _parsed(ObjectId), PlainSerializer(str, return_type=str)]
UnitKey = Annotated[Unit, _parsed(Unit), PlainSerializer(str, return_type=str)]


class Fact(BaseModel):
    """Base of everything that is sent or recorded: immutable, validated, nothing unknown accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Sent(Fact):
    """Base of everything on the wire: nothing is taken for what it resembles, so `0` is neither false nor "0"."""

    model_config = ConfigDict(strict=True)


class Trace(Sent):
    """Who caused this message: its own id, the id of what started the chain, and of its direct cause."""

    message_id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    correlation_id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    causation_id: str | None = None
    traceparent: Annotated[str | None, BeforeValidator(as_traceparent)] = None
    """The W3C trace context that it continues; None: it is in no trace. See `tracing`."""
    _began_at: float | None = PrivateAttr(default=None)

    @property
    def began_at(self) -> float | None:
        """When what started the chain was observed (seconds since the epoch); None: when this is published.

        It travels beside the message, to be shown and measured: nothing is decided by a clock.
        """
        return self._began_at

    def since(self, began_at: float | None) -> Self:
        """The same, of a chain that began then."""
        copy = self.model_copy()
        copy._began_at = began_at  # noqa: SLF001 - one of its own
        return copy

    def __eq__(self, other: object) -> bool:
        """By what it says; when the chain began is beside that."""
        return isinstance(other, Trace) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.message_id)

    def caused(self) -> Trace:
        """The trace of a message that this one caused."""
        caused = Trace(correlation_id=self.correlation_id, causation_id=self.message_id, traceparent=self.traceparent)
        return caused.since(self.began_at)

    def repeated(self) -> Trace:
        """The trace of a message that only says this one again: what is traced happened once."""
        return Trace(correlation_id=self.correlation_id, causation_id=self.message_id)


def older(age: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether an age is behind another in any part."""
    return any(mine < theirs for mine, theirs in zip(age, other, strict=True))


class Statement(Sent):
    """The whole truth about one vCenter, as one stage knows it."""

    receiver: ClassVar[Stage]
    """The stage that this type is for."""

    host: Host
    """FQDN of the vCenter: the key of order, partition and coalescing."""
    present: bool
    """False: a complete zone lacks the vCenter."""
    trace: Trace = Field(default_factory=Trace)

    @property
    def age(self) -> tuple[Any, ...]:
        """All that it was made from, as positions that only grow; statements on one vCenter are compared by it."""
        raise TypeError(f"{type(self).__name__} has no age")

    def older_than(self, other: Self) -> bool:
        """Whether it was made from anything older than `other`, so that this one needs no work."""
        return older(self.age, other.age)

    def repeated(self) -> Self:
        """The same statement said again: revision and content kept, a message id of its own.

        What follows from it is not late for what it was about first.
        """
        return self.model_copy(update={"trace": self.trace.repeated()})

    def since(self, began_at: float | None) -> Self:
        """The same statement, of a chain that began then; see `Trace.began_at`."""
        return self.model_copy(update={"trace": self.trace.since(began_at)})


class DnsChange(Statement):
    """Discovery: this vCenter is in the zone, or a complete zone lacks it."""

    receiver: ClassVar[Stage] = Stage.COLLECTOR

    revision: Minted
    serial: int = Field(ge=0, lt=2**32)
    """The zone's SOA serial (RFC 1982) at which this was observed."""
    addresses: Several[str] = ()
    """The A and AAAA records' values; empty where a CNAME leads out of the zone."""

    @property
    def age(self) -> tuple[Any, ...]:
        """Its revision."""
        return (self.revision,)


class ClusterRole(StrEnum):
    """What the convention makes of a cluster's name; the value is the scope of its templates."""

    PRODUCTION = "cluster"
    STORAGE = "storage"


Role = Annotated[ClusterRole, Strict(False)]


class Cluster(Sent):
    """One cluster within the convention, everything about it read and derived."""

    moid: str
    """The managed object id, by which its end is recognised."""
    role: Role
    cluster_name: str
    """As in vCenter."""
    name: str
    """What stands after the prefix, by the contract's rules (`productionbb001` gives `bb1`)."""
    availability_zone: str
    datastore_regex: str
    datastore_hagroup_regex: str | None = None
    bridge: str | None = None
    physical: str | None = None

    @property
    def unit(self) -> Unit:
        """What templates of its scope are rendered for."""
        return Unit(self.role.value, self.availability_zone, self.cluster_name)


class UnknownCluster(Sent):
    """A cluster that exists, or did, and of which not everything could be read: its objects stay as they are."""

    moid: str
    role: Role
    cluster_name: str
    availability_zone: str
    reason: Reason

    @property
    def unit(self) -> Unit:
        """What is unknown."""
        return Unit(self.role.value, self.availability_zone, self.cluster_name)


class ZoneSource(Sent):
    """The DnsChange that something was made from."""

    revision: Minted
    serial: Position


class Inventory(Statement):
    """Collector: everything about the clusters of one vCenter.

    What is in neither list is gone, with evidence, unless it is `partial`.
    """

    receiver: ClassVar[Stage] = Stage.RENDERER

    revision: Minted
    zone: ZoneSource
    clusters: Several[Cluster] = ()
    unknown: Several[UnknownCluster] = ()
    partial: Reason | None = None
    """Why there are clusters of which it is not even known which they are, so that any may be; None: there are none."""

    @property
    def age(self) -> tuple[Any, ...]:
        """Its revision, and that of the zone it was made from."""
        return (self.revision, self.zone.revision)


class Provenance(Sent):
    """All that a ManifestDelta was made from.

    `templates`, `cells` and `config` are positions in the respective watch (resourceVersions): they grow with every
    change that the renderer has seen, deletions included.
    """

    zone: ZoneSource
    inventory: Minted
    templates: Position
    cells: Position
    config: Position

    @property
    def age(self) -> tuple[Any, ...]:
        """Every part's position."""
        return (self.zone.revision, self.inventory, self.templates, self.cells, self.config)

    def older_than(self, other: Provenance) -> bool:
        """Older in any part."""
        return older(self.age, other.age)


class IndexEntry(Sent):
    """One object that should exist."""

    digest: str
    """Keyed (HMAC) digest of its manifest: a plain hash of a Secret could be guessed offline."""
    template: str
    """`<namespace>/<name>` of the VCenterTemplate that yields it."""
    unit: UnitKey


class Unknown(Sent):
    """What could not be rendered: every object of `template` for `unit` stays as it is. None stands for any."""

    template: str | None
    unit: UnitKey | None
    reason: Reason

    def covers(self, template: str, unit: Unit) -> bool:
        """Whether an object of this template and unit is unknown."""
        return self.template in (None, template) and self.unit in (None, unit)


class Step(StrEnum):
    """How far a vCenter may go with a template that is rolled out step by step."""

    CHECK = "check"
    """Nothing of it is written: the server is asked whether it would take it."""
    CANARY = "canary"
    """It is written, and it is told when its Deployments are available."""
    ALL = "all"
    """It is written, as it is everywhere."""


class Rollout(Sent):
    """A template that is rolled out step by step, for one vCenter."""

    version: Position
    """A number for what is rolled out: another one is another rollout."""
    step: Annotated[Step, Strict(False)]


class ManifestDelta(Statement):
    """Renderer: the index of every object that should exist, with the manifests that the applier may lack."""

    receiver: ClassVar[Stage] = Stage.APPLIER

    provenance: Provenance
    templates: dict[str, int] = Field(default_factory=dict)
    """Every template that exists, `<namespace>/<name>` to a number that changes with its content only."""
    inputs: str = ""
    """Names the content of cells and Secret: the same text as long as neither changed (positions also move without)."""
    units: Several[UnitKey] = ()
    """Everything that templates are rendered for now, unknown ones included."""
    partial: Reason | None = None
    """Why there may be units beyond these, whose objects stay as they are; None: there are none."""
    index: dict[ObjectKey, IndexEntry] = Field(default_factory=dict)
    unknown: Several[Unknown] = ()
    suspended: Several[str] = ()
    """Templates, `<namespace>/<name>`, whose objects a person wants left as they are."""
    rollouts: dict[str, Rollout] = Field(default_factory=dict)
    """Templates, `<namespace>/<name>`, that are rolled out step by step."""
    manifests: dict[ObjectKey, bytes] = Field(default_factory=dict)
    """Sealed manifests (see `sealing`), in which is what the schema `Manifest` describes; an index entry without one
    here, and not held already, is asked for."""

    @model_validator(mode="after")
    def _manifests_are_indexed(self) -> Self:
        if stray := self.manifests.keys() - self.index.keys():
            raise ValueError(f"manifests that are not in the index: {', '.join(map(str, sorted(stray)))}")
        return self

    @property
    def age(self) -> tuple[Any, ...]:
        """Its provenance, part by part."""
        return self.provenance.age


class ResyncRequest(Sent):
    """The request to say again what is known: of a whole partition, of one vCenter, or of some of its objects."""

    stage: Annotated[Stage, Strict(False)]
    """The stage that shall answer."""
    partition: Position
    host: Host | None = None
    objects: Several[ObjectKey] = ()
    """Only with `host`, only to the renderer: the ids whose manifests are lacking."""
    trace: Trace = Field(default_factory=Trace)

    def since(self, began_at: float | None) -> Self:
        """The same request, of a chain that began then; see `Trace.began_at`."""
        return self.model_copy(update={"trace": self.trace.since(began_at)})
