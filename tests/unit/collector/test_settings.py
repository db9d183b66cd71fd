"""Thumbprints from the environment."""

from __future__ import annotations

import pytest

from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.common.errors import ConfigurationError

VARIABLE = "VCENTER_OPERATOR_VCENTER_THUMBPRINTS"


def test_thumbprints_are_read_from_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f'{{"VC-A-0.example.org": "{":".join(["AB"] * 32)}"}}')
    assert CollectorSettings.load().vcenter_thumbprints == {"vc-a-0.example.org": {"ab" * 32}}


@pytest.mark.parametrize("value", ["AB:CD", '["AB"]', '{"vc-a-0.example.org": "AB:CD"}'])
def test_wrong_ones_are_refused_by_the_name_of_the_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigurationError, match=VARIABLE):
        CollectorSettings.load()
