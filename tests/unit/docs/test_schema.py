"""The published JSON Schema takes every message that is sent, and refuses what the services refuse."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from docs.generator.schema import MANIFEST, name_of
from tests.unit.common.test_wire import RESEMBLING, changes, deltas, inventories, requests
from tests.unit.docs.example import CONFIGURATION, HOST, inventory, resources, surroundings
from vcenter_operator.common import wire
from vcenter_operator.common.identity import Revision
from vcenter_operator.common.messages import (
    DnsChange,
    IndexEntry,
    ManifestDelta,
    Provenance,
    ResyncRequest,
    Rollout,
    Stage,
    Statement,
    Step,
    Unknown,
    ZoneSource,
)
from vcenter_operator.renderer.core.offline import Rendering, render_inventory

FOLDER = Path(__file__).parents[3] / "docs" / "schema"


def validator(kind: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / name_of(kind)).read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


VALIDATORS = {kind: validator(kind) for kind in (*wire.KINDS, MANIFEST)}


def as_json(data: bytes) -> Any:
    """A message from the bus, as JSON has it."""
    return json.loads(json.dumps(msgpack.unpackb(data), default=lambda raw: base64.b64encode(raw).decode()))


def valid(message: Statement | ResyncRequest) -> Any:
    document = as_json(wire.encode(message))
    VALIDATORS[type(message).__name__].validate(document)
    return document


@given(changes | inventories | deltas() | requests)
def test_every_message_that_can_be_sent_is_valid(message: Statement | ResyncRequest) -> None:
    valid(message)


def rendering() -> Rendering:
    return render_inventory(
        inventory(),
        templates=resources("VCenterTemplate"),
        cells=resources("ConfigMap"),
        configuration=CONFIGURATION,
        surroundings=surroundings(),
    )


def test_the_messages_of_the_example_region_and_what_is_sealed_in_them_are_valid() -> None:
    manifests, unit = rendering().manifests, inventory().clusters[0].unit
    assert len(manifests) > 15
    keys, revision = CONFIGURATION.keyring, Revision(3, 7)
    sealed = {each: keys.sealed(HOST, each, manifest) for each, manifest in manifests.items()}
    zone = ZoneSource(revision=revision, serial=2026112201)
    delta = ManifestDelta(
        host=HOST,
        present=True,
        provenance=Provenance(zone=zone, inventory=revision, templates=1, cells=2, config=3),
        templates={"monsoon3/nova-compute": 5},
        index={
            each: IndexEntry(digest=digest, template="monsoon3/nova-compute", unit=unit)
            for each, (digest, _) in sealed.items()
        },
        unknown=(Unknown(template=None, unit=unit, reason="unreadable"),),
        suspended=("monsoon3/a",),
        rollouts={"monsoon3/b": Rollout(version=1, step=Step.CANARY)},
        manifests={each: body for each, (_, body) in sealed.items()},
    )
    valid(DnsChange(host=HOST, present=True, revision=revision, serial=2026112201, addresses=("192.0.2.10",)))
    valid(inventory())
    valid(ResyncRequest(stage=Stage.RENDERER, partition=3, host=HOST, objects=tuple(sealed)[:2]))
    assert len(valid(delta)["manifests"]) == len(sealed)
    for each, (digest, body) in sealed.items():
        VALIDATORS[MANIFEST].validate(keys.open(HOST, each, digest, body))


@pytest.mark.parametrize(("field", "value"), RESEMBLING, ids=[f"{field}-{value!r:.30}" for field, value in RESEMBLING])
def test_what_the_services_call_malformed_is_not_valid(field: str, value: Any) -> None:
    document = valid(inventory())
    if isinstance(value, bytes) or value == [1.0, 2]:
        return  # JSON has neither bytes nor a difference between 1.0 and 1
    if value == "a\n":
        return  # `$` of Python's regular expressions, which the validator uses, takes a newline at the end
    with pytest.raises(ValidationError):
        VALIDATORS["Inventory"].validate({**document, field: value})


@pytest.mark.parametrize("change", [{"schema": 2}, {"kind": "Prophecy"}, {"unheard_of": 1}])
def test_another_version_kind_or_field_is_not_valid(change: dict[str, Any]) -> None:
    document = valid(inventory())
    with pytest.raises(ValidationError):
        VALIDATORS["Inventory"].validate({**document, **change})


@pytest.mark.parametrize("lost", ["schema", "kind", "host", "present", "revision", "zone"])
def test_what_has_to_be_there_is_required(lost: str) -> None:
    document = valid(inventory())
    with pytest.raises(ValidationError):
        VALIDATORS["Inventory"].validate({key: value for key, value in document.items() if key != lost})
