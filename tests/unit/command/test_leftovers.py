"""`vcenter-operator leftovers`: nothing is offered to be deleted as long as anything might want it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vcenter_operator.command.leftovers import Found, Leftover, unsettled
from vcenter_operator.command.status.model import VCenter
from vcenter_operator.command.status.reading import vcenter_of
from vcenter_operator.common.bus.port import Topology

ONE = Leftover("monsoon3", "deployments.apps", "agent", "u1", "Deployment", "nova-compute", "2024-03-01T12:00:00Z")
ANOTHER = replace(ONE, resource="configmaps", name="etc", uid="u2", kind="ConfigMap")
STAGES = ("Discovered", "Connected", "Collected", "Rendered")


def vcenter(**conditions: tuple[str, str]) -> VCenter:
    """Each condition as status and reason."""
    stated = {**dict.fromkeys(STAGES, ("True", "Fine")), **conditions}
    status = {
        "discovery": {"present": stated["Discovered"][0] == "True"},
        "conditions": [{"type": kind, "status": value, "reason": reason} for kind, (value, reason) in stated.items()],
    }
    return vcenter_of({"metadata": {"name": "vc-a-0"}, "status": status}, Topology(4))


READY = {"Applied": ("True", "AsStated"), "Ready": ("True", "AsStated")}
GONE = {"Discovered": ("False", "NotInZone"), "Applied": ("Unknown", "Retained"), "Ready": ("False", "NotInZone")}


def test_where_all_is_as_stated_there_is_no_doubt() -> None:
    assert not list(unsettled([vcenter(**READY), vcenter(**GONE)]))


@pytest.mark.parametrize(
    "one",
    [
        vcenter(Applied=("False", "Adopting"), Ready=("False", "Adopting")),
        vcenter(Applied=("True", "PartlyUnknown"), Ready=("True", "AsStated")),
        vcenter(**READY | {"Rendered": ("False", "TemplateFails"), "Ready": ("False", "TemplateFails")}),
        vcenter(**READY | {"Collected": ("False", "Partial"), "Ready": ("False", "Partial")}),
        vcenter(Ready=("Unknown", "Starting")),
        vcenter(),
    ],
)
def test_one_vcenter_that_may_want_more_is_a_doubt(one: VCenter) -> None:
    assert [line.partition(" ")[0] for line in unsettled([vcenter(**READY), one])] == ["vc-a-0"]


def test_no_vcenter_at_all_is_a_doubt() -> None:
    assert list(unsettled([]))


def test_a_command_to_delete_is_offered_only_without_any_doubt() -> None:
    sure, doubtful = Found((ANOTHER, ONE), ()), Found((ANOTHER, ONE), ("vc-a-0 may want more: Applied Adopting",))

    assert list(sure.lines()) == [
        "2 objects of the deployed operator that no vCenter wants:",
        "  ConfigMap monsoon3/etc  (VCenterTemplate nova-compute, made 2024-03-01T12:00:00Z)",
        "  Deployment monsoon3/agent  (VCenterTemplate nova-compute, made 2024-03-01T12:00:00Z)",
        "kubectl get -n monsoon3 configmaps/etc deployments.apps/agent",
        "kubectl delete -n monsoon3 configmaps/etc deployments.apps/agent",
    ]
    assert not [line for line in doubtful.lines() if "delete" in line]
    assert [sure.exit_code, doubtful.exit_code, Found((), ()).exit_code, Found((), ("x",)).exit_code] == [1, 2, 0, 2]
