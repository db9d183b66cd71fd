"""Messages survive the wire whole, and nothing that arrives there can do more than be called malformed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcenter_operator.common import wire
from vcenter_operator.common.errors import MalformedMessage, NewerSchema, PermanentError
from vcenter_operator.common.identity import ObjectId, Revision, Unit
from vcenter_operator.common.messages import (
    REASON_AT_MOST,
    Cluster,
    ClusterRole,
    DnsChange,
    IndexEntry,
    Inventory,
    ManifestDelta,
    Provenance,
    ResyncRequest,
    Rollout,
    Stage,
    Statement,
    Step,
    Trace,
    Unknown,
    UnknownCluster,
    ZoneSource,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
anything = st.text(max_size=20) | st.just("\ud800") | st.integers(0, 2).map(lambda more: "x" * (REASON_AT_MOST + more))
"""What others say: with halves of surrogate pairs, and too long."""
name = text.filter(bool)
label = st.text("abz019_", min_size=1, max_size=5)
host = st.lists(label, min_size=1, max_size=4).map(".".join)
part = text.filter(lambda value: "/" not in value)
count = st.integers(0, 2**63 - 1)
revisions = st.builds(Revision, count, count)
object_ids = st.builds(ObjectId, part, part, part, part)
units = st.builds(Unit, name, name, text)
traces = st.builds(Trace, causation_id=st.none() | name, traceparent=st.none() | name)
zones = st.builds(ZoneSource, revision=revisions, serial=count)
roles = st.sampled_from(ClusterRole)
clusters = st.builds(
    Cluster,
    moid=text, role=roles, cluster_name=text, name=text, availability_zone=text, datastore_regex=text,
    datastore_hagroup_regex=st.none() | text, bridge=st.none() | text, physical=st.none() | text,
)  # fmt: skip
unknown_clusters = st.builds(
    UnknownCluster, moid=text, role=roles, cluster_name=text, availability_zone=text, reason=anything
)


def several(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(of, max_size=3).map(tuple)


changes = st.builds(
    DnsChange, host=host, present=st.booleans(), trace=traces, revision=revisions, serial=st.integers(0, 2**32 - 1),
    addresses=several(text),
)  # fmt: skip
inventories = st.builds(
    Inventory, host=host, present=st.booleans(), trace=traces, revision=revisions, zone=zones,
    clusters=several(clusters), unknown=several(unknown_clusters),
)  # fmt: skip
provenances = st.builds(Provenance, zone=zones, inventory=revisions, templates=count, cells=count, config=count)
entries = st.builds(IndexEntry, digest=text, template=text, unit=units)
unknowns = st.builds(Unknown, template=st.none() | text, unit=st.none() | units, reason=anything)
requests = st.builds(
    ResyncRequest, stage=st.sampled_from(Stage), partition=count, host=st.none() | host, objects=several(object_ids),
    trace=traces,
)  # fmt: skip


@st.composite
def deltas(draw: st.DrawFn) -> ManifestDelta:
    index = draw(st.dictionaries(object_ids, entries, max_size=4))
    sealed = {object_id: draw(st.binary(max_size=30)) for object_id in index if draw(st.booleans())}
    return ManifestDelta(
        host=draw(host), present=draw(st.booleans()), trace=draw(traces), provenance=draw(provenances),
        templates=draw(st.dictionaries(text, count, max_size=3)), units=draw(several(units)), index=index,
        unknown=draw(several(unknowns)), manifests=sealed,
    )  # fmt: skip


messages: st.SearchStrategy[Any] = changes | inventories | deltas() | requests
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.binary(), inner, max_size=4),
    max_leaves=12,
)


def fields_of(message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = msgpack.unpackb(wire.encode(message))
    return fields


@given(messages)
def test_a_message_arrives_as_it_was_sent(message: Any) -> None:
    arrived = wire.decode(wire.encode(message))
    assert arrived == message
    assert type(arrived) is type(message)


@given(inventories, deltas(), st.text(alphabet=["a", "/", "\ud800", "\udfff"], min_size=1))
def test_what_cannot_be_sent_is_said_and_nothing_else_raised(
    inventory: Inventory, delta: ManifestDelta, odd: str
) -> None:
    cluster = Cluster(
        moid="", role=ClusterRole.STORAGE, cluster_name=odd, name="", availability_zone="", datastore_regex=""
    )
    unit = Unit("cluster", "az", odd)
    for message in (
        inventory.model_copy(update={"clusters": (cluster,)}),
        delta.model_copy(update={"units": (unit,)}),
        delta.model_copy(update={"templates": {odd: 2**64}}),
        delta.model_copy(update={"suspended": (odd,)}),
    ):
        with suppress(PermanentError):
            wire.decode(wire.encode(message))
    with pytest.raises(PermanentError, match="a ManifestDelta holds what cannot be sent: UnicodeEncodeError"):
        wire.encode(delta.model_copy(update={"suspended": ("\ud800",)}))


@given(st.binary() | values.map(lambda value: msgpack.packb(value, unicode_errors="surrogatepass")))
def test_arbitrary_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        wire.decode(data)


@given(messages, st.data())
def test_a_damaged_message_is_malformed_or_another_message(message: Any, data: st.DataObject) -> None:
    damaged = bytearray(wire.encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    decode_or_malformed(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


@given(messages, st.data(), values)
def test_a_message_with_one_wrong_field_is_malformed_or_another_message(
    message: Any, data: st.DataObject, wrong: Any
) -> None:
    fields = fields_of(message)
    fields[data.draw(st.sampled_from(sorted(fields)) | st.text(max_size=5))] = wrong
    decode_or_malformed(msgpack.packb(fields, unicode_errors="surrogatepass"))


def decode_or_malformed(data: bytes) -> None:
    with suppress(MalformedMessage):
        assert isinstance(wire.decode(data), Statement | ResyncRequest)


def test_a_newer_schema_is_told_apart() -> None:
    fields = fields_of(DnsChange(host="h", present=True, revision=Revision(1, 1), serial=1))
    with pytest.raises(NewerSchema, match="schema 2 is newer than 1"):
        wire.decode(msgpack.packb({"schema": 2, "kind": "Prophecy", "unheard": "of"}))
    for schema in (None, 0, -1, True, "1", 1.0):
        with pytest.raises(MalformedMessage, match="schema"):
            wire.decode(msgpack.packb({**fields, "schema": schema}))


def test_what_is_wrong_is_named_and_no_value_repeated() -> None:
    fields = fields_of(DnsChange(host="h", present=True, revision=Revision(1, 1), serial=1))
    wrong: list[tuple[str, Any, str]] = [
        ("serial", "s3cret", "DnsChange: serial: Input should be a valid integer"),
        ("unheard_of", "s3cret", "DnsChange: unheard_of: Extra inputs are not permitted"),
        ("revision", ["s3cret", 1], "DnsChange: revision.0: Input should be a valid integer"),
        ("host", "", "DnsChange: host: "),
    ]
    for field, value, says in wrong:
        with pytest.raises(MalformedMessage) as raised:
            wire.decode(msgpack.packb({**fields, field: value}))
        assert str(raised.value).startswith(says)
        assert "s3cret" not in str(raised.value)


RESEMBLING: list[tuple[str, Any]] = [
    ("present", 0), ("present", "off"), ("present", 1.0),
    ("host", b"vc-a"), ("host", ".."), ("host", "../../etc/x"), ("host", "a\nb"), ("host", "a\n"), ("host", " "),
    ("host", "a..b"), ("host", "-a"), ("host", "a."), ("host", "a" * 254),
    ("revision", ["1", "2"]), ("revision", [-1, -5]), ("revision", [0, -1]), ("revision", [1.0, 2]),
    ("zone", {"revision": [1, 1], "serial": "7"}), ("zone", {"revision": [1, -1], "serial": 7}),
    ("zone", {"revision": [1, 1], "serial": -7}),
    ("clusters", "abc"), ("clusters", {}), ("unknown", None), ("trace", {"message_id": 5}),
    ("unknown", [{"moid": "", "role": "host", "cluster_name": "", "availability_zone": "", "reason": ""}]),
]  # fmt: skip
"""Field and value of an Inventory."""


@pytest.mark.parametrize(("field", "value"), RESEMBLING, ids=[f"{field}-{value!r:.30}" for field, value in RESEMBLING])
def test_nothing_is_taken_for_what_it_resembles(field: str, value: Any) -> None:
    """A vCenter that is `0` is not one that is gone."""
    good = fields_of(
        Inventory(host="h", present=True, revision=Revision(1, 1), zone=ZoneSource(revision=Revision(1, 1), serial=7))
    )
    with pytest.raises(MalformedMessage, match=f"^Inventory: {field}"):
        wire.decode(msgpack.packb({**good, field: value}, unicode_errors="surrogatepass"))


def test_positions_and_names_of_a_delta_are_strict_too() -> None:
    made_from = {
        "zone": {"revision": [1, 1], "serial": 7},
        "inventory": [1, 1],
        "templates": 1,
        "cells": 1,
        "config": 1,
    }
    good = {"schema": 1, "kind": "ManifestDelta", "host": "vc-a-0.x", "present": True, "provenance": made_from,
            "templates": {"ns/a": 5}, "units": ["cluster/az/bb1"], "suspended": ["ns/b"],
            "index": {"/Secret/ns/x": {"digest": "d", "template": "ns/a", "unit": "cluster/az/bb1"}},
            "unknown": [{"template": None, "unit": None, "reason": "r"}],
            "manifests": {"/Secret/ns/x": b"sealed"}}  # fmt: skip
    delta = wire.decode(msgpack.packb(good))
    assert isinstance(delta, ManifestDelta)
    assert delta.units == (Unit("cluster", "az", "bb1"),)
    assert delta.manifests == {ObjectId("", "Secret", "ns", "x"): b"sealed"}
    wrong: list[tuple[str, Any]] = [
        *(("provenance", {**made_from, part: odd}) for part in ("templates", "cells", "config") for odd in (-1, "1")),
        ("provenance", {**made_from, "inventory": [-1, 1]}),
        ("templates", {"ns/a": "5"}), ("units", [["cluster", "az", "bb1"]]), ("units", [5]), ("units", "a/b"),
        ("manifests", {"/Secret/ns/x": "text"}), ("index", {"no id": {}}), ("suspended", [b"ns/b"]),
        ("rollouts", {"ns/b": {"version": 1, "step": "at once"}}), ("rollouts", {"ns/b": {"version": "1"}}),
    ]  # fmt: skip
    for field, value in wrong:
        with pytest.raises(MalformedMessage, match=f"^ManifestDelta: {field}"):
            wire.decode(msgpack.packb({**good, field: value}))


def test_a_manifest_without_an_index_entry_is_malformed() -> None:
    delta = ManifestDelta(
        host="h",
        present=True,
        provenance=Provenance(
            zone=ZoneSource(revision=Revision(1, 1), serial=1), inventory=Revision(1, 1), templates=1, cells=1, config=1
        ),
    )
    with pytest.raises(MalformedMessage, match=r"^ManifestDelta: message: ") as raised:
        wire.decode(msgpack.packb({**fields_of(delta), "manifests": {"/Secret/ns/s3cret": b""}}))
    assert "s3cret" not in str(raised.value)


def test_what_is_too_large_is_refused_on_both_sides() -> None:
    change = DnsChange(host="h", present=True, revision=Revision(1, 1), serial=1)
    with pytest.raises(PermanentError, match="takes 16777216 at most"):
        wire.encode(change.model_copy(update={"addresses": ("x" * wire.MAX_BYTES,)}))
    with pytest.raises(MalformedMessage, match="more than a message may have"):
        wire.decode(bytes(wire.MAX_BYTES + 1))


@given(messages)
def test_a_statement_is_for_one_stage(message: Any) -> None:
    for stage in Stage:
        if isinstance(message, Statement) and message.receiver is stage:
            assert wire.statement_for(stage, wire.encode(message)) == message
        else:
            with pytest.raises(MalformedMessage, match=f"nothing for {stage}"):
                wire.statement_for(stage, wire.encode(message))


def test_a_field_that_came_later_is_left_out_while_it_says_nothing() -> None:
    """A process of the release before takes the message; where a template is suspended it must not act on it."""
    revision = Revision(1, 1)
    made_from = Provenance(
        zone=ZoneSource(revision=revision, serial=1), inventory=revision, templates=1, cells=1, config=1
    )
    plain = ManifestDelta(host="vc", present=True, provenance=made_from)

    assert "suspended" not in msgpack.unpackb(wire.encode(plain))
    suspended = plain.model_copy(update={"suspended": ("ns/name",)})
    assert msgpack.unpackb(wire.encode(suspended))["suspended"] == ["ns/name"]
    assert wire.decode(wire.encode(plain)) == plain
    assert wire.decode(wire.encode(suspended)) == suspended
    assert "partial" not in msgpack.unpackb(wire.encode(plain))
    partial = plain.model_copy(update={"partial": "a cluster cannot be placed"})
    assert wire.decode(wire.encode(partial)) == partial
    assert "rollouts" not in msgpack.unpackb(wire.encode(plain))
    rolled_out = plain.model_copy(update={"rollouts": {"ns/name": Rollout(version=7, step=Step.CANARY)}})
    assert msgpack.unpackb(wire.encode(rolled_out))["rollouts"] == {"ns/name": {"version": 7, "step": "canary"}}
    assert wire.decode(wire.encode(rolled_out)) == rolled_out
