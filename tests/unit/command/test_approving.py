"""`vcenter-operator approve`: exactly the plan that was shown is released, whoever writes the resource meanwhile."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from tests.unit.applier.given import HOST, OTHER, OWN, deployment, provenance
from vcenter_operator.command.approving import approve_on
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.kubernetes.api import Api, Listing
from vcenter_operator.common.kubernetes.errors import Conflict
from vcenter_operator.common.record.document import section_status
from vcenter_operator.common.record.orders import APPROVE
from vcenter_operator.common.record.port import Applied, Condition

WHY = "2 deletions inferred, of at most 2 objects owned: more than 33% within an hour needs a person's word"


class Server:
    """As much of the API server as the command asks."""

    def __init__(self, *hosts: str, held: str | None = "abc") -> None:
        self.items = {host: self._resource(host, held) for host in hosts}
        self.patches: list[Mapping[str, Any]] = []

    def _resource(self, host: str, held: str | None) -> dict[str, Any]:
        condition = {"type": "DeletionHeld", "status": "True", "reason": "BeyondBudget"}
        message = f"{WHY}: Deployment monsoon3/a; release exactly these with ..."
        section = Applied(
            acted_on=provenance(),
            held=(deployment("b"), deployment("a")) if held else (),
            held_plan=held,
            conditions=(Condition.model_validate({**condition, "message": message}),),
        )
        metadata = {"name": host, "resourceVersion": "1", "annotations": {"kept": "yes"}}
        return {"metadata": metadata, "status": section_status({}, section, datetime.now(UTC))}

    def plan_becomes(self, host: str, held: str | None) -> None:
        version = str(int(self.items[host]["metadata"]["resourceVersion"]) + 1)
        self.items[host] = self._resource(host, held)
        self.items[host]["metadata"]["resourceVersion"] = version

    async def list(self, path: str) -> Listing:
        assert path.endswith(f"/namespaces/{OWN}/vcenters")
        return Listing(copy.deepcopy(list(self.items.values())), 1)

    async def get(self, path: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.items.get(path.rpartition("/")[2]))

    async def merge_patch(self, path: str, body: Mapping[str, Any], *, field_manager: str) -> None:
        assert field_manager == "vcenter-operator-approve"
        metadata = self.items[path.rpartition("/")[2]]["metadata"]
        if body["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Conflict("changed")
        self.patches.append(body)
        metadata["annotations"] |= body["metadata"]["annotations"]


async def approve(
    server: Server, name: str = HOST, plan: str | None = None, answer: Callable[[str], bool] = lambda _: True
) -> int:
    return await approve_on(cast(Api, server), OWN, name, plan, answer)


async def test_what_is_held_is_shown_and_released(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(HOST, OTHER)

    assert await approve(server, HOST.partition(".")[0]) == 0

    assert server.items[HOST]["metadata"]["annotations"] == {"kept": "yes", APPROVE: "abc"}
    assert APPROVE not in server.items[OTHER]["metadata"]["annotations"]
    assert capsys.readouterr().out.splitlines() == [
        f"{HOST}: {WHY}: Deployment monsoon3/a",
        "- Deployment monsoon3/a",
        "- Deployment monsoon3/b",
        "plan abc: 2 objects would be deleted",
        f"approved: {HOST} plan abc",
    ]


@pytest.mark.parametrize(
    ("held", "plan", "answer", "said"),
    [
        (None, None, True, "nothing is held"),
        ("abc", "abd", True, "plan abd is not the one that is held"),
        ("abc", "abc", False, "not approved"),
    ],
)
async def test_without_a_word_on_this_very_plan_nothing_is_written(
    held: str | None, plan: str | None, answer: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(HOST, held=held)

    assert await approve(server, plan=plan, answer=lambda _: answer) == 1

    assert server.patches == []
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(("becomes", "code"), [("abc", 0), ("abd", 1), (None, 1)])
async def test_a_plan_that_changed_while_it_was_read_is_not_approved(becomes: str | None, code: int) -> None:
    server = Server(HOST)

    def answer(_: str) -> bool:
        server.plan_becomes(HOST, becomes)
        return True

    assert await approve(server, answer=answer) == code
    assert len(server.patches) == (code == 0)


async def test_a_vcenter_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigurationError, match="vc-x: there is no such VCenter in this namespace; there are: vc-a-0"):
        await approve(Server(HOST), "vc-x")
