"""The CRDs take over from those of the deployed operator, whose resources have to stay valid."""

from __future__ import annotations

import pytest

from vcenter_operator.common.kubernetes.crds import definitions

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
