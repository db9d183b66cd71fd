"""What a VCenterTemplate may set, and that whatever it says it stays a valid resource: a wrong one is unknown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.renderer.region import CELLS, SURROUNDINGS, configmap, configuration, given, inventory, resource
from vcenter_operator.common.identity import Unit
from vcenter_operator.renderer.core.offline import Rendering, render_inventory
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.templates import TemplateSet, parse_template


def rendering(*templates: dict[str, Any], **more: Any) -> Rendering:
    return render_inventory(
        inventory(),
        templates=templates,
        cells=CELLS,
        configuration=configuration(),
        surroundings=SURROUNDINGS,
        **more,
    )


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("variable_start_string", 7, "is not a string, or empty"),
        ("variable_end_string", "", "is not a string, or empty"),
        ("line_statement_prefix", "", "is not a string, or empty"),
        ("newline_sequence", "x", "is not a newline"),
        ("variable_start_string", "{%", "start with the same string"),
        ("undefined", "jinja2.StrictUndefined", "is no option that a template may set"),
        ("extensions", ["jinja2.ext.do"], "is no option that a template may set"),
        ("filters", {}, "is no option that a template may set"),
        ("sandboxed", False, "is no option that a template may set"),
        ("__class__", "x", "is no option that a template may set"),
        ("uses-service-user", "nova", "never rendered with a derived password"),
    ],
)
def test_an_option_that_cannot_be_honoured_makes_the_template_unknown(option: str, value: Any, problem: str) -> None:
    """Its objects stay as they are; the others are rendered."""
    result = rendering(resource("bad", configmap("bad"), **{option: value}), resource("good", configmap("good")))
    assert {each.name for each in result.manifests} == {"good"}
    (unknown,) = result.unknown
    assert (unknown.template, unknown.unit) == ("monsoon3/bad", None)
    assert "options.jinja2_options" in unknown.reason
    assert problem in unknown.reason


@pytest.mark.parametrize(("value", "trimmed"), [("false", True), (1, True), (None, False), ("", False), (0, False)])
def test_a_switch_that_is_no_bool_counts_as_in_jinja2(value: Any, trimmed: bool) -> None:
    """Helm quotes easily; the deployed operator sets whatever stands there."""
    template = resource("x", configmap("x", a="'{% if true %}\n{% endif %}'"), trim_blocks=value)
    result = rendering(template)
    assert {each["data"]["a"] for each in result.manifests.values()} == {"" if trimmed else " "}
    assert f"trim_blocks is not a bool, and counts as {str(trimmed).lower()}" in result.warnings[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"template": None}, "the field 'template' is missing"),
        ({"template": {"a": 1}}, "the field 'template' is missing"),
        ({"options": None}, "options.scope is missing"),
        ({"options": {}}, "options.scope is missing"),
        ({"options": {"scope": 7}}, "options.scope is missing"),
        ({"options": {"scope": "cluster", "jinja2_options": []}}, "options.jinja2_options is not an object"),
    ],
)
def test_a_malformed_resource_is_unknown_and_not_gone(change: dict[str, Any], problem: str) -> None:
    broken = {**resource("bad", "x"), **change}
    (unknown,) = rendering(broken).unknown
    assert (unknown.template, unknown.unit) == ("monsoon3/bad", None)
    assert problem in unknown.reason
    assert TemplateSet.of([broken]).versions == {"monsoon3/bad": parse_template(broken).version}


def test_a_failing_template_is_unknown_for_the_unit_it_fails_for_and_no_other() -> None:
    result = rendering(resource("picky", configmap("picky-{{ name }}", x="{{ bridge.upper() }}")))
    assert [each.name for each in result.manifests] == ["picky-bb1"]
    (unknown,) = result.unknown
    assert (unknown.template, unknown.unit) == ("monsoon3/picky", Unit("cluster", "qa-de-1b", "productionbb002"))
    assert unknown.reason == "vcenter_cluster/monsoon3/picky.yaml.j2, line 5: UndefinedError: 'bridge' is undefined"


def test_equal_templates_have_equal_fingerprints_and_any_difference_shows() -> None:
    base = parse_template(resource("a", "x", trim_blocks=True))
    assert parse_template(resource("a", "x", trim_blocks=True)).fingerprint == base.fingerprint
    others = [
        resource("a", "y", trim_blocks=True),
        resource("a", "x", trim_blocks=False),
        resource("a", "x"),
        resource("b", "x", trim_blocks=True),
        resource("a", "x", scope="library", trim_blocks=True),
        resource("a", "x", trim_blocks=True, **{"uses-service-user": "x"}),
    ]
    assert base.fingerprint not in {parse_template(each).fingerprint for each in others}


def test_objects_are_owned_by_their_template_where_the_setting_says_so() -> None:
    template = given(resource("owner", configmap("owned")))
    policy = Policy(owner_references=True)
    (manifest,) = rendering(template, policy=policy).manifests.values()
    assert manifest["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "vcenter-operator.stable.sap.cc/v1",
            "kind": "VCenterTemplate",
            "name": "owner",
            "uid": template["metadata"]["uid"],
            "blockOwnerDeletion": False,
        }
    ]
    (manifest,) = rendering(template).manifests.values()
    assert "ownerReferences" not in manifest["metadata"]


def test_labels_and_annotations_that_are_the_operators_own_are_not_a_templates_to_set() -> None:
    """One that says `claimed-by` would have its object handed over instead of deleted."""
    own = ("claimed-by", "digest", "revision", "suspend", "unit")
    stated = {f"vcenter-operator.stable.sap.cc/{name}": "x" for name in own} | {
        "applyset.kubernetes.io/id": "x",
        "applyset.kubernetes.io/part-of": "x",
        "mine": "x",
    }
    written = configmap("claimed").replace("{name:", f"{{labels: {stated}, annotations: {stated}, name:")
    (manifest,) = rendering(given(resource("claimed", written))).manifests.values()
    (plain,) = rendering(given(resource("claimed", configmap("claimed")))).manifests.values()
    for kind in ("labels", "annotations"):
        assert manifest["metadata"][kind] == plain["metadata"][kind] | {"mine": "x"}


def test_what_a_template_says_of_owners_is_left_out() -> None:
    owned = configmap("owned").replace("{name:", "{ownerReferences: [{kind: VCenterTemplate, name: x}], name:")
    assert "ownerReferences" in owned
    (manifest,) = rendering(given(resource("owner", owned))).manifests.values()
    assert "ownerReferences" not in manifest["metadata"]
