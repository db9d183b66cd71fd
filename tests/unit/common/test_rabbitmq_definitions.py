"""deploy/rabbitmq/definitions.json is what the code declares, and gives each service what is its own and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.rabbitmq.definitions import definitions, rights_of
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.messages import Stage

DEPLOYED = Path(__file__).parents[3] / "deploy" / "rabbitmq" / "definitions.json"
NAMES = Names(Topology(), RetryDelays().steps)
EVERYTHING = {item.name for item in NAMES.everything()} | {NAMES.owner(stage, 0) for stage in Stage}


def test_the_file_is_up_to_date() -> None:
    """`vcenter-operator topology definitions > deploy/rabbitmq/definitions.json` makes it."""
    assert json.loads(DEPLOYED.read_text()) == definitions(NAMES, "/")


def matching(pattern: str) -> set[str]:
    return {name for name in EVERYTHING if re.search(pattern, name)}


def test_everything_belongs_to_one_service() -> None:
    owned = [matching(rights_of(stage).configure) for stage in Stage]
    assert set().union(*owned) == EVERYTHING
    assert sum(map(len, owned)) == len(EVERYTHING)


@pytest.mark.parametrize("stage", Stage)
def test_a_service_reaches_beyond_what_is_its_own_only_to_ask_and_to_be_told(stage: Stage) -> None:
    rights = rights_of(stage)
    own = matching(rights.configure)
    assert own >= {item.name for item in NAMES.of(stage)}
    before = list(Stage)[list(Stage).index(stage) - 1] if stage is not Stage.DISCOVERY else None
    assert matching(rights.write) - own == ({NAMES.resync(before)} if before else set())
    assert matching(rights.read) - own == ({NAMES.arrow(stage)} if before else set())
    assert own <= matching(rights.write) & matching(rights.read)


def test_rights_hold_for_every_generation_and_for_dry_runs_and_nothing_else() -> None:
    configure = rights_of(Stage.APPLIER).configure
    for topology in (Topology(3, 12), Topology(3, 1, dry_run=True)):
        assert re.search(configure, Names(topology, ()).partition(Stage.APPLIER, 2))
    for name in (
        "amq.default",
        "applier.0",
        "x.vcenter-operator.g1.applier.0",
        "vcenter-operator.g1.collector.applier.0",
    ):
        assert not re.search(configure, name)
