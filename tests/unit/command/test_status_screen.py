"""What `status` makes of counts, Leases and VCenters: the screen as it is read, the troubles, the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from vcenter_operator.command.status import screen
from vcenter_operator.command.status.command import exit_code
from vcenter_operator.command.status.document import document_of
from vcenter_operator.command.status.model import Pipeline
from vcenter_operator.command.status.reading import named, stages_of, template_of, vcenter_of
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.topology import Names, Queue
from vcenter_operator.common.messages import Stage

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TOPOLOGY = Topology(partitions=2)
NAMES = Names(TOPOLOGY, (0.5, 1.0))
DOMAIN = "cc.qa-de-1.cloud.sap"


def counts(**changes: tuple[int, int] | None) -> dict[str, tuple[int, int] | None]:
    """Every queue empty and worked on; `changes` by what comes after the generation, `_` for a dot."""
    found: dict[str, tuple[int, int] | None] = {
        item.name: (0, 1) for item in NAMES.everything() if isinstance(item, Queue)
    }
    return found | {f"vcenter-operator.g1.{key.replace('_', '.')}": value for key, value in changes.items()}


def leases(**changes: str) -> dict[str, dict[str, Any]]:
    names = [f"{stage}-{number}" for stage in Stage for number in range(TOPOLOGY.partitions_of(stage))]
    taken = (AT - timedelta(hours=3)).isoformat()
    return {
        f"vcenter-operator-{name}": {
            "spec": {"holderIdentity": changes.get(name, "pod-1-7"), "leaseTransitions": 4, "acquireTime": taken}
        }
        for name in names
    }


def condition(kind: str, status: str = "True", reason: str = "Fine", message: str = "") -> dict[str, str]:
    since = (AT - timedelta(minutes=5)).isoformat()
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}


def vcenter(
    name: str, *conditions: dict[str, str], present: bool = True, held: list[str] | None = None
) -> dict[str, Any]:
    fine = {kind: condition(kind) for kind in ("Discovered", "Connected", "Collected", "Rendered", "Applied", "Ready")}
    fine["DeletionHeld"] = condition("DeletionHeld", "False", "WithinBudget")
    stated = fine | {one["type"]: one for one in conditions}
    return {
        "metadata": {"name": f"{name}.{DOMAIN}"},
        "status": {
            "discovery": {"present": present, "serial": 7, "revision": "1.1"},
            "collector": {"revision": "3.2", "clusterCount": 2},
            "applier": {
                "actedOn": {"inventory": "3.2"}, "objects": 12, "held": held or [],
                "lastChange": (AT - timedelta(days=2)).isoformat(),
            } | ({"heldPlan": "abc"} if held else {}),
            "conditions": list(stated.values()),
        },
    }  # fmt: skip


def template(name: str, *conditions: dict[str, str], suspended: bool = False, **rollout: Any) -> dict[str, Any]:
    annotations = {"vcenter-operator.stable.sap.cc/suspend": "true"} if suspended else {}
    status: dict[str, Any] = {"conditions": list(conditions)} | ({"rollout": rollout} if rollout else {})
    return {"metadata": {"namespace": "monsoon3", "name": name, "annotations": annotations}, "status": status}


def pipeline(
    *vcenters: dict[str, Any],
    templates: Sequence[dict[str, Any]] = (),
    not_asked: dict[str, str] | None = None,
    **queues: Any,
) -> Pipeline:
    stages = stages_of(counts(**queues), leases(), NAMES)
    shown = tuple(vcenter_of(one, TOPOLOGY) for one in vcenters)
    return Pipeline(AT, stages, shown, tuple(map(template_of, templates)), not_asked or {})


def text(shown: RenderableType) -> str:
    console = Console(width=180, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(shown)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


HEALTHY = """\
STAGE      REPLICA  PARTITIONS (EPOCH)  SINCE  WAITING  RETRYING  PARKED
discovery  pod-1-7  0 (4)               3h           0         0       0
collector  pod-1-7  0 (4), 1 (4)        3h           0         0       0
renderer   pod-1-7  0 (4), 1 (4)        3h           0         0       0
applier    pod-1-7  0 (4), 1 (4)        3h           0         0       0

VCENTER (.cc.qa-de-1.cloud.sap)  STATE  SINCE  CLUSTERS  OBJECTS  HELD  REVISION  CHANGED  TROUBLE
vc-a-0                           ready  5m            2       12     0  3.2       2d
vc-b-0                           ready  5m            2       12     0  3.2       2d

2 vCenters: 2 ready"""


def test_all_is_well() -> None:
    seen = pipeline(vcenter("vc-a-0"), vcenter("vc-b-0"))
    assert text(screen.overview(seen)) == HEALTHY
    assert seen.troubles == []
    assert exit_code(seen) == 0


def test_templates_are_shown_whose_edits_do_not_go_everywhere() -> None:
    seen = pipeline(
        vcenter("vc-a-0"),
        templates=[
            template("done", condition("Rendered"), phase="Done", version=7),
            template("fails", condition("Rendered", "False", "Fails", "cluster bb1: line 3: 'x' is undefined")),
            template("paused", phase="Paused", version=8, canary="vc-a-0", reason="nova-compute-bb1 is not available"),
            template("plain", condition("Rendered")),
            template("quiet", condition("Rendered"), suspended=True),
            template("under-way", condition("Rendered"), phase="Canary", version=9, canary="vc-a-0"),
        ],
    )
    shown = text(screen.overview(seen))
    assert (
        """\
TEMPLATE            ROLLOUT  VERSION  CANARY  SUSPENDED
monsoon3/paused     Paused   8        vc-a-0  -
monsoon3/quiet      -        -        -       suspended
monsoon3/under-way  Canary   9        vc-a-0  -
"""
        in shown
    )
    assert seen.troubles == [
        "template monsoon3/fails: Rendered Fails: cluster bb1: line 3: 'x' is undefined",
        "template monsoon3/paused: its rollout is paused: nova-compute-bb1 is not available",
    ]
    assert all(trouble in shown for trouble in seen.troubles)
    assert exit_code(seen) == 1
    assert [one["phase"] for one in document_of(seen)["templates"]] == [
        "Done", None, "Paused", None, None, "Canary",
    ]  # fmt: skip


def test_what_is_wrong_stands_out() -> None:
    held = [f"apps/Deployment/monsoon3/nova-compute-bb{number}" for number in (1, 2)]
    seen = pipeline(
        vcenter("vc-a-0", condition("DeletionHeld", "True", "BeyondBudget", "too much"), held=held),
        vcenter(
            "vc-b-0",
            condition("Collected", "False", "Partial", "one cluster"),
            condition("Applied", "False", "Refused", "Deployment x: no"),
            condition("Ready", "False", "Refused", "Deployment x: no"),
        ),
        vcenter("vc-c-0", condition("Discovered", "False", "NotInZone"), present=False),
        applier_1=(5, 0), collector_parked=(1, 0), renderer_retry_500ms=(2, 0),
    )  # fmt: skip
    lines = text(screen.overview(seen)).splitlines()
    assert lines[3].split() == ["renderer", "pod-1-7", "0", "(4),", "1", "(4)", "3h", "0", "2", "0"]
    assert lines[4].split() == ["applier", "pod-1-7", "0", "(4)", "3h", "5", "(5", "in", "1)", "0", "0"]
    assert lines[5].split() == ["NOBODY", "(last", "pod-1-7)", "1", "(4)", "3h"]
    assert lines[8].endswith("2  3.2       2d       DeletionHeld BeyondBudget: too much")
    assert lines[9].endswith("Applied Refused: Deployment x: no")  # what Ready speaks of, not the first
    assert lines[10].split()[:2] == ["vc-c-0", "gone"]
    assert lines[12] == "3 vCenters: 2 trouble, 1 gone"
    assert seen.troubles[:2] == [
        "collector: 1 parked, which can never work as they stand: see vcenter-operator messages parked list",
        "applier: nobody works on partition 1",
    ]
    assert exit_code(seen) == 1
    assert document_of(seen)["stages"][3]["unowned"] == [1]
    one = text(screen.detail(seen.vcenters[0], seen))  # type: ignore[index]
    assert f"release exactly these: vcenter-operator approve vc-a-0.{DOMAIN} --plan abc" in one
    assert "  Deployment monsoon3/nova-compute-bb2" in one


def test_one_that_was_never_applied_is_starting_and_one_that_is_gone_is_no_trouble() -> None:
    starting = vcenter("vc-a-0", condition("Ready", "Unknown", "Starting", "not yet applied"))
    gone = vcenter("vc-b-0", condition("Ready", "False", "NotInZone"), condition("Applied", "Unknown"), present=False)
    assert exit_code(pipeline(starting)) == 1
    assert pipeline(starting).troubles == [f"vc-a-0.{DOMAIN}: Ready Starting: not yet applied"]
    assert exit_code(pipeline(gone)) == 0
    held = vcenter("vc-b-0", condition("DeletionHeld", "True", "BeyondBudget"), present=False)
    assert exit_code(pipeline(held)) == 1


def test_what_could_not_be_asked_counts_more_than_what_is_wrong() -> None:
    seen = pipeline(vcenter("vc-a-0"), not_asked={"RabbitMQ": "away"}, applier_1=(5, 0))
    assert exit_code(seen) == 2
    assert "could not be asked: RabbitMQ: away" in text(screen.overview(seen))


def test_queues_that_do_not_exist_are_told_once_a_stage() -> None:
    stages = stages_of(dict.fromkeys(counts()), {}, NAMES)
    seen = Pipeline(AT, stages, None, None, {})
    assert [trouble.partition(":")[0] for trouble in seen.troubles] == list(Stage)
    assert all("do not exist" in trouble for trouble in seen.troubles)


def test_no_vcenter_at_all_is_a_trouble() -> None:
    assert pipeline().troubles == ["no vCenter was found yet: has discovery read the zone?"]


@pytest.mark.parametrize(
    "status", [None, [], "text", {"conditions": "none", "collector": {"clusters": [1]}, "applier": 3}]
)
def test_a_record_that_somebody_damaged_stops_nothing(status: Any) -> None:
    seen = vcenter_of({"metadata": {"name": "vc-a-0"}, "status": status}, TOPOLOGY)
    assert seen.state == "starting"


def test_a_vcenter_is_named_in_full_or_by_its_first_label_where_that_is_clear() -> None:
    vcenters = [vcenter_of({"metadata": {"name": name}}, TOPOLOGY) for name in ("vc-a.one", "vc-a.two", "vc-b.one")]
    assert named(vcenters, "VC-A.two.") is vcenters[1]
    assert named(vcenters, "vc-b") is vcenters[2]
    assert named(vcenters, "vc-a") is None
    assert named(vcenters, "vc") is None
