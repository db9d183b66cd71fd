"""What the conditions of a vCenter come to, and which of their changes people are told of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.records import APPLIED, COLLECTED, DISCOVERED, LATER, NOW, RENDERED
from vcenter_operator.common.record.document import record_of, status_with
from vcenter_operator.common.record.notices import LASTING, Notice, lasting, notices
from vcenter_operator.common.record.port import Condition
from vcenter_operator.common.record.readiness import readiness

AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def condition(
    kind: str, status: str = "True", reason: str = "Well", message: str = "", ago: float = 0
) -> dict[str, Any]:
    since = (AT - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}


WELL = {
    kind: condition(kind)
    for kind in ("Discovered", "Connected", "Collected", "Rendered", "Applied")
} | {"DeletionHeld": condition("DeletionHeld", "False", "WithinBudget")}  # fmt: skip


def ready(*changed: dict[str, Any], without: str = "") -> tuple[str, str, str]:
    stated = WELL | {each["type"]: each for each in changed}
    found = readiness(each for kind, each in stated.items() if kind != without)
    assert found.type == "Ready"
    return found.status, found.reason, found.message


def test_all_well_is_ready() -> None:
    as_stated = condition("Applied", "True", "AsStated")
    assert ready(as_stated) == ("True", "AsStated", "")
    assert ready(as_stated, condition("OfALaterVersion", "False", "Odd")) == ("True", "AsStated", "")


def test_ready_says_that_a_person_left_something_undone() -> None:
    suspended = condition("Applied", "True", "Suspended", "the vCenter is suspended")
    assert ready(suspended) == ("True", "Suspended", "the vCenter is suspended")


@pytest.mark.parametrize("kind", ["Discovered", "Connected", "Collected", "Rendered", "Applied"])
def test_every_condition_counts(kind: str) -> None:
    assert ready(condition(kind, "False", "Broken", "it is  broken")) == ("False", "Broken", "it is broken")
    assert ready(condition(kind, "Unknown", "Odd", "who knows")) == ("Unknown", "Odd", "who knows")
    assert ready(without=kind) == ("Unknown", "Starting", f"not yet {kind.lower()}")


def test_a_deletion_that_is_held_is_what_a_person_hears_of_first() -> None:
    held = condition("DeletionHeld", "True", "BeyondBudget", "9 objects")
    assert ready(held, condition("Connected", "False", "Unreachable")) == ("False", "DeletionHeld", "9 objects")


def test_of_a_vcenter_that_is_gone_nothing_else_is_said() -> None:
    gone = condition("Discovered", "False", "NotInZone", "the complete zone lacks it")
    assert ready(gone, condition("Applied", "Unknown", "Retained"))[:2] == ("False", "NotInZone")


def test_false_is_said_before_unknown_and_a_long_text_is_cut() -> None:
    found = ready(condition("Connected", "Unknown", "Odd"), condition("Rendered", "False", "TemplateFails", "x" * 500))
    assert found[:2] == ("False", "TemplateFails")
    assert len(found[2]) == 100


def test_what_a_refused_request_was_is_left_to_the_condition() -> None:
    refused = condition("Applied", "False", "Refused", "Deployment a: PATCH /apis/apps/v1/deployments/a: 422 too small")
    assert ready(refused)[2] == "Deployment a: 422 too small"


def test_whoever_writes_a_section_brings_ready_up_to_date() -> None:
    status: dict[str, Any] = {}
    well = [Condition(type=kind, status="True", reason="Well") for kind in WELL if kind != "DeletionHeld"]
    sections = [DISCOVERED, COLLECTED, RENDERED, APPLIED]
    for section, conditions in zip(sections, (well[:1], well[1:3], well[3:4], well[4:]), strict=True):
        status = status_with(status, section.model_copy(update={"conditions": tuple(conditions)}), NOW)
        stated = {each["type"]: each for each in status["conditions"]}
        assert stated["Ready"]["status"] == ("True" if section is APPLIED else "Unknown")
    status = status_with(status, RENDERED, LATER)
    (now,) = [each for each in status["conditions"] if each["type"] == "Ready"]
    assert (now["status"], now["reason"], now["lastTransitionTime"]) == (
        "False",
        "TemplateFails",
        "2030-01-02T04:00:00Z",
    )
    record = record_of({"metadata": {"name": "vc-a-0"}, "status": status})
    assert record.rendered == RENDERED
    assert record.applied is not None
    assert "Ready" not in {each.type for each in record.applied.conditions}, "it is nobody's own"


def told(before: dict[str, Any] | None, after: dict[str, Any]) -> list[Notice]:
    return list(notices([before] if before else [], [after], AT))


@pytest.mark.parametrize(
    ("trouble", "well"),
    [
        (condition("Connected", "False", "LoginRefused", "wrong password"), condition("Connected", reason="LoggedOn")),
        (condition("Discovered", "Unknown", "ZoneHeld", "lacks 3 of 4"), condition("Discovered", reason="InZone")),
        (condition("Applied", "False", "Refused", "Deployment a: x"), condition("Applied", reason="AsStated")),
    ],
)
def test_a_trouble_is_told_once_and_so_is_its_end(trouble: dict[str, Any], well: dict[str, Any]) -> None:
    assert told(well, trouble) == told(None, trouble) == [Notice("Warning", trouble["reason"], trouble["message"])]
    assert told(trouble, trouble) == []
    (relief,) = told(trouble, well)
    assert (relief.type, relief.reason) == ("Normal", well["reason"])
    assert told(well, well) == told(None, well) == []


def test_deletions_are_told_of_when_they_are_held_and_when_they_are_not_any_more() -> None:
    held = condition("DeletionHeld", "True", "BeyondBudget", "9 objects")
    more = held | {"message": "12 objects"}
    assert told(None, held) == told(WELL["DeletionHeld"], held) == [Notice("Warning", "DeletionHeld", "9 objects")]
    assert told(held, more) == [Notice("Warning", "DeletionHeld", "12 objects")]
    assert told(held, held) == told(None, WELL["DeletionHeld"]) == []
    assert [each.reason for each in told(held, WELL["DeletionHeld"])] == ["DeletionReleased"]


def test_what_mends_itself_is_told_of_only_when_it_lasts() -> None:
    brief = condition("Connected", "False", "Unreachable", "refused", ago=LASTING - 1)
    long = condition("Connected", "False", "Unreachable", "refused", ago=LASTING)
    well = condition("Connected", reason="LoggedOn")
    assert told(well, brief) == told(brief, well) == list(lasting([brief], AT)) == []
    assert list(lasting([long, WELL["Applied"]], AT)) == [Notice("Warning", "Unreachable", "since 02:59 UTC: refused")]
    assert [each.type for each in told(long, well)] == ["Normal"]
    assert told(WELL["Applied"], condition("Applied", "False", "Retrying", "x")) == []
