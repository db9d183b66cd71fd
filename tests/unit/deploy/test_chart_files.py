"""What the chart repeats of the code, since a chart can hold only files of its own, is what the code has.

`python -m tests.unit.deploy.test_chart_files` copies definitions and rights anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from vcenter_operator.command.pipeline import SETTINGS
from vcenter_operator.common.bus.rabbitmq.definitions import COMMAND, rights_of, rights_of_command, user_of
from vcenter_operator.common.kubernetes.crds import definitions
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.settings import ManifestSettings, Settings

CHART = Path(__file__).parents[3] / "deploy" / "chart"
DEFINITIONS, RIGHTS = CHART / "files" / "crds", CHART / "files" / "rabbitmq.yaml"
MADE_BY_THE_CHART = {
    "bus", "bus_ca", "bus_certificate", "bus_certificate_key", "namespace", "partitions", "generation", "secret",
    "probe_port", "notify_port", "service_domain", "vcenter_ca",
}  # fmt: skip
SECTIONS: dict[str, type[Settings]] = {
    "common": ManifestSettings,
    **{str(stage): its for stage, its in SETTINGS.items()},
}


def rights() -> dict[str, dict[str, str]]:
    """Of every user of RabbitMQ."""
    every = {**{user_of(stage): rights_of(stage) for stage in Stage}, COMMAND: rights_of_command()}
    return {user: asdict(its) for user, its in every.items()}


def test_the_definitions_are_those_of_the_package() -> None:
    copies = sorted(DEFINITIONS.glob("*.yaml"))
    assert [yaml.safe_load(file.read_text()) for file in copies] == definitions()
    assert [f"{file.stem}.{each['spec']['group']}" for file, each in zip(copies, definitions(), strict=True)] == [
        each["metadata"]["name"] for each in definitions()
    ], "roles name them by their files"


def test_the_users_of_rabbitmq_have_the_rights_of_their_stages() -> None:
    assert yaml.safe_load(RIGHTS.read_text()) == rights()


@pytest.mark.parametrize("service", SECTIONS)
def test_the_values_take_every_setting_but_those_that_the_chart_makes(service: str) -> None:
    schema: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    wanted = {name.upper() for name in SECTIONS[service].model_fields.keys() - MADE_BY_THE_CHART}
    assert schema["$defs"][f"{service}Settings"]["propertyNames"]["enum"] == sorted(wanted)


if __name__ == "__main__":
    heading = "# The users of RabbitMQ and their rights, as in deploy/rabbitmq/definitions.json.\n"
    RIGHTS.write_text(heading + yaml.safe_dump(rights(), sort_keys=False, width=200))
    for shipped in (files("vcenter_operator.common.kubernetes") / "definitions").iterdir():
        (DEFINITIONS / shipped.name).write_text(shipped.read_text())
