"""Settings come from the environment; an error names the variable, and no text of them has the broker's password."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.settings import Settings


class Extended(Settings):
    """A stage's own, with a value that is given as JSON."""

    pattern: dict[str, str] = Field(default_factory=dict)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("VCENTER_OPERATOR_")]:
        monkeypatch.delenv(name)
    for name in ("SERVICE_DOMAIN", "LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)


def test_defaults() -> None:
    settings = Settings.load()
    assert (settings.partitions, settings.generation, settings.heartbeat) == (11, 1, 10)
    assert (settings.log_level, settings.service_domain, settings.bus_ca) == ("INFO", None, None)


def test_the_environment_and_what_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "VCENTER_OPERATOR_PARTITIONS": "16",
        "VCENTER_OPERATOR_BUS_CA": "/ca.pem",
        "VCENTER_OPERATOR_SOMETHING_ELSE": "ignored",
        "SERVICE_DOMAIN": "cc.qa-de-1.cloud.sap",
        "LOG_LEVEL": "DEBUG",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load(partitions=4, generation=None)
    assert (settings.partitions, settings.generation, settings.bus_ca) == (4, 1, Path("/ca.pem"))
    assert (settings.service_domain, settings.log_level) == ("cc.qa-de-1.cloud.sap", "DEBUG")


@pytest.mark.parametrize("level", ["WARN", "CRITICAL", "FATAL"])
def test_every_level_that_the_deployed_operator_takes_is_taken(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    monkeypatch.setenv("LOG_LEVEL", level)
    assert Settings.load().log_level == level


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VCENTER_OPERATOR_PARTITIONS", "0"),
        ("VCENTER_OPERATOR_PARTITIONS", "many"),
        ("VCENTER_OPERATOR_HEARTBEAT", "-1"),
        ("VCENTER_OPERATOR_STOP_WITHIN", "0"),
        ("VCENTER_OPERATOR_PATTERN", "{not json"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_one_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"^{variable}: "):
        Extended.load()


def test_a_wrong_override_is_named_as_its_variable() -> None:
    for name, variable in {"partitions": "VCENTER_OPERATOR_PARTITIONS", "log_level": "LOG_LEVEL"}.items():
        with pytest.raises(ConfigurationError, match=f"^{variable}: "):
            Settings.load(**{name: "wrong"})


def test_the_brokers_password_is_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCENTER_OPERATOR_BUS", "amqp://user:s3cret@broker/")
    settings = Settings.load()
    assert "s3cret" in settings.bus
    assert "s3cret" not in f"{settings} {settings!r}"
