"""The CRDs take over from those of the deployed operator, whose resources have to stay valid."""

from __future__ import annotations

from typing import Any

import pytest

from vcenter_operator.common.kubernetes.crds import definitions, states

TAKEN_OVER = {"VCenterTemplate": [], "VCenterServiceUser": ["spec"]}
"""What may have fields that we do not know."""


@pytest.mark.parametrize("kind", TAKEN_OVER)
def test_a_crd_that_v1beta1_made_becomes_structural_and_keeps_unknown_fields(kind: str) -> None:
    """It has `preserveUnknownFields: true`, which apply leaves alone unless it is stated; the API server then says

    NonStructuralSchema, and gives neither pruning, defaults nor list types.
    """
    [definition] = [each for each in definitions() if each["spec"]["names"]["kind"] == kind]
    assert definition["spec"]["preserveUnknownFields"] is False
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in TAKEN_OVER[kind]:
        schema = schema["properties"][name]
    assert schema["x-kubernetes-preserve-unknown-fields"] is True
    assert "required" not in schema


SCHEMA: dict[str, Any] = {"type": "object", "properties": {"phase": {"type": "string", "enum": ["DryRun", "Done"]}}}


@pytest.mark.parametrize(
    ("found", "stated"),
    [
        (SCHEMA, True),
        ({**SCHEMA, "default": {}}, True),
        ({**SCHEMA, "properties": {**SCHEMA["properties"], "later": {"type": "string"}}}, True),
        ({"type": "object", "properties": {"phase": {"type": "string", "enum": ["DryRun", "Done", "Later"]}}}, True),
        ({"type": "object", "properties": {"phase": {"type": "string", "enum": ["DryRun"]}}}, False),
        ({"type": "object", "properties": {}}, False),
        ({"type": "object"}, False),
    ],
)
def test_a_definition_is_behind_only_where_it_lacks_something(found: dict[str, Any], stated: bool) -> None:
    """One that a later release wrote has more, and is not taken back by an earlier one that starts beside it."""
    assert states(found, SCHEMA) is stated


def test_what_is_false_may_be_left_out_and_what_is_true_may_not() -> None:
    assert states({"served": True}, {"served": True, "preserveUnknownFields": False})
    assert not states({"preserveUnknownFields": True}, {"preserveUnknownFields": False})
    assert not states({}, {"served": True})
