"""What the Kubernetes adapter decides by itself: which errors show what, and when kinds are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vcenter_operator.applier.adapters.kubernetes import freeze
from vcenter_operator.applier.adapters.kubernetes.failures import at_the_port, without_values
from vcenter_operator.applier.adapters.kubernetes.kinds import Kinds
from vcenter_operator.applier.core.observed import GroupKind
from vcenter_operator.applier.ports import Changed, ClusterAway
from vcenter_operator.common.errors import PermanentError, TransientError
from vcenter_operator.common.kubernetes.api import Api, Kind
from vcenter_operator.common.kubernetes.errors import Conflict, Rejected, Unavailable, Unreachable
from vcenter_operator.common.watching import Snapshot

_INVALID = 'Job.batch "x" is invalid: '


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            'spec.template: Invalid value: core.PodTemplateSpec{Env:[]core.EnvVar{{Name:"P", Value:"s3cret"}}}: field '
            "is immutable",
            "spec.template: Invalid value: …: field is immutable",
        ),
        (
            'spec.template: Invalid value: core.PodTemplateSpec{Env:[]core.EnvVar{{Name:"P", Value:"s3cr',
            "spec.template: Invalid value: …",
        ),
        (
            '[spec.a: Invalid value: "s3\\"cret": must be short, spec.b: Unsupported value: "s3cret": supported: "x"]',
            '[spec.a: Invalid value: …: must be short, spec.b: Unsupported value: …: supported: "x"]',
        ),
        ('spec.a: Invalid value: "s3cret and cut', "spec.a: Invalid value: …"),
        ("spec.replicas: Invalid value: -1: must be positive", "spec.replicas: Invalid value: …: must be positive"),
        ("spec.a: Required value", "spec.a: Required value"),
    ],
    ids=["dump", "dump cut off", "texts", "text cut off", "number", "none"],
)
def test_a_refusal_shows_no_values(text: str, shown: str) -> None:
    assert without_values(_INVALID + text) == _INVALID + shown
    with pytest.raises(PermanentError) as raised, at_the_port():
        raise Rejected(_INVALID + text)
    assert str(raised.value) == _INVALID + shown


@pytest.mark.parametrize(
    ("error", "at_port"), [(Conflict, Changed), (Unreachable, ClusterAway), (Unavailable, Unavailable)]
)
def test_what_an_error_means_at_the_port(error: type[Exception], at_port: type[Exception]) -> None:
    with pytest.raises(at_port), at_the_port():
        raise error("x")


class Discovery:
    """An API that serves what it is told, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.served: dict[str, dict[str, Kind]] = {}

    async def get(self, path: str, *, metadata_only: bool = False) -> dict[str, Any] | None:
        self.asked.append(path)
        versions = [{"version": name} for name in self.served]
        return {"preferredVersion": {"version": "v1"}, "versions": versions} if versions else None

    async def kinds(self, group: str, version: str) -> dict[str, Kind] | None:
        self.asked.append(f"{group}/{version}")
        return self.served.get(version)


async def test_kinds_are_asked_for_once_and_again_a_while_after_one_was_missing() -> None:
    now, api = [100.0], Discovery()
    kinds = Kinds(cast(Api, api), clock=lambda: now[0])
    widget = GroupKind("example.org", "Widget")

    assert [await kinds.find(widget) for _ in range(3)] == [None] * 3
    assert api.asked == ["/apis/example.org"]
    api.served = {"v1beta1": {}, "v1": {"Widget": Kind("widgets", True, frozenset())}}
    assert await kinds.find(widget) is None
    now[0] += 1.5
    found = await kinds.find(widget)
    assert found is not None
    assert (found.resource.path("x", namespace="ns"), found.namespaced) == (
        "/apis/example.org/v1/namespaces/ns/widgets/x",
        True,
    )
    asked = len(api.asked)
    assert await kinds.find(widget, "v1") == found
    assert len(api.asked) == asked
    assert await kinds.find(widget, "v1beta1") is None
    kinds.forget("example.org")
    api.served = {}
    assert await kinds.find(widget) is None, "it was asked for again, though no time has passed"


class Silent:
    """A watched freeze that was read once, of which nothing is heard any more."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()

    async def fresh(self) -> Snapshot:
        raise TransientError("away")

    def changes(self) -> AsyncIterator[Snapshot]:
        raise AssertionError


async def test_what_is_long_under_way_stops_where_the_freeze_cannot_be_read_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(freeze, "time", SimpleNamespace(monotonic=lambda: clock.now))
    made = freeze.ConfigMapFreeze(Silent())
    clock.now += 60
    made.check()
    async with made.attended(), made.attended():
        clock.now += 4
        made.check()
        clock.now += 2
        with pytest.raises(ClusterAway, match="could not be read"):
            made.check()
    made.check()
