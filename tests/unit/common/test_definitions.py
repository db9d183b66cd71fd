"""The CRDs take over from those of the deployed operator, whose resources have to stay valid."""

from __future__ import annotations

from typing import Any

import pytest

from vcenter_operator.common.kubernetes.crds import NUMBER, definitions, is_current, states

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
        ({"type": "object", "properties": {"phase": {"type": "string", "enum": ["DryRun"]}}}, False),
        ({"type": "object", "properties": {}}, False),
        ({"type": "object"}, False),
    ],
)
def test_a_definition_may_have_what_the_server_adds_and_lack_nothing(found: dict[str, Any], stated: bool) -> None:
    assert states(found, SCHEMA) is stated


@pytest.mark.parametrize(
    ("number", "spec", "current"),
    [
        ("3", {"group": "g"}, True),
        ("3", {}, True),
        ("2", {"group": "g", "scope": "Namespaced"}, True),
        ("2", {"group": "of somebody's"}, False),
        ("1", {"group": "g"}, False),
        ("later", {"group": "g"}, False),
        (None, {"group": "g"}, False),
    ],
)
def test_a_later_release_is_not_taken_back_and_an_earlier_one_is_not_kept(
    number: str | None, spec: dict[str, Any], current: bool
) -> None:
    """Whatever the two say: a later one may demand less, and name or order things differently."""
    found = {"metadata": {"annotations": {NUMBER: number}} if number else {}, "spec": spec}
    assert is_current(found, {"metadata": {"annotations": {NUMBER: "2"}}, "spec": {"group": "g"}}) is current


def test_every_definition_has_a_number() -> None:
    assert all(int(each["metadata"]["annotations"][NUMBER]) > 0 for each in definitions())


def test_what_is_false_may_be_left_out_and_what_is_true_may_not() -> None:
    assert states({"served": True}, {"served": True, "preserveUnknownFields": False})
    assert not states({"preserveUnknownFields": True}, {"preserveUnknownFields": False})
    assert not states({}, {"served": True})
