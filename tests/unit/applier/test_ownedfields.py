"""Which fields are shared with others, and what is left to them of what we drop."""

from __future__ import annotations

from typing import Any

import pytest

from vcenter_operator.applier.core.ownedfields import last_editor, released, shared

OURS = "vcenter-operator"
CONTAINER = 'k:{"name":"agent"}'


def entry(manager: str, fields: dict[str, Any], operation: str = "Apply", **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields, **more}


def containers(**fields: Any) -> dict[str, Any]:
    return {
        "f:spec": {"f:containers": {CONTAINER: {".": {}, **{f"f:{name}": value for name, value in fields.items()}}}}
    }


PROBE: dict[str, Any] = {"f:exec": {"f:command": {}}, "f:periodSeconds": {}}


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (entry("kubectl", {"f:spec": {"f:replicas": {}}}), True),
        (entry("kubectl", {"f:spec": {"f:paused": {}}}), False),
        (entry("kubectl", {"f:spec": {".": {}, "f:paused": {}}}), False),
        (entry("kubectl", containers(image={})), True),
        (entry("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale"), False),
        (entry("kube-controller-manager", {"f:status": {"f:replicas": {}}}, "Update", subresource="status"), False),
        (entry(OURS, {"f:spec": {"f:replicas": {}}}, "Update"), True),
    ],
    ids=["same", "other", "above", "the member itself", "scale", "status", "our own update"],
)
def test_a_field_is_shared_where_others_own_the_very_same(theirs: dict[str, Any], expected: bool) -> None:
    mine = entry(OURS, {"f:spec": {"f:replicas": {}, **containers(image={})["f:spec"]}})

    assert shared([mine, theirs]) is expected


def test_what_is_dropped_is_taken_from_others_and_nothing_else() -> None:
    mine = entry(OURS, containers(image={}, livenessProbe=PROBE))
    theirs = entry("kubectl", containers(env={"k:{}": {"f:value": {}}}, livenessProbe=PROBE))
    only_that = entry("edit", {"f:spec": {"f:containers": {CONTAINER: {"f:livenessProbe": PROBE}}}}, "Update")
    after = entry(OURS, containers(image={}))

    assert released([mine, theirs, only_that], [after, theirs, only_that]) == [
        mine,
        entry("kubectl", containers(env={"k:{}": {"f:value": {}}})),
    ]
    assert released([mine, theirs], [mine, theirs]) is None, "nothing is dropped"
    assert released([mine, after | {"manager": "kubectl"}], [after]) is None, "nobody else has it"


def test_what_others_state_in_a_status_is_left_to_them() -> None:
    mine = entry(OURS, {"f:spec": {"f:replicas": {}}})
    scaled = entry("hpa", {"f:spec": {"f:replicas": {}}}, "Update", subresource="scale")

    assert released([mine, scaled], [entry(OURS, {})]) is None


def test_the_last_editor_is_who_wrote_last_to_anything_but_the_status() -> None:
    entries = [
        entry(OURS, {}, time="2026-03-01T12:00:09Z"),
        entry("kubectl-edit", {}, "Update", time="2026-03-01T12:00:01Z"),
        entry("kubectl", {}, "Update", time="2026-03-01T12:00:02Z", subresource="scale"),
        entry("kube-controller-manager", {}, "Update", time="2026-03-01T12:00:08Z", subresource="status"),
    ]
    assert last_editor(entries) == "kubectl"
    assert last_editor(entries[:1]) == ""
