"""What earlier releases sent is read, and what they can read is sent: the same bytes, while nothing new is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recorded import BUS_KEY, RELEASES
from tests.recorded.vocabulary import vocabulary
from vcenter_operator.common import wire
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.messages import ManifestDelta

MESSAGES = [
    pytest.param(path, id=f"{path.parent.name}-{path.stem}")
    for each in RELEASES
    for path in sorted(each.glob("*.msgpack"))
]


@pytest.mark.parametrize("path", MESSAGES)
def test_it_is_read_and_said_in_the_same_words(path: Path) -> None:
    message = wire.decode(path.read_bytes())
    assert type(message).__name__ == path.stem.partition("-")[0]
    assert wire.encode(message) == path.read_bytes()


@pytest.mark.parametrize("path", [each for each in MESSAGES if "ManifestDelta" in str(each.id)])
def test_what_it_sealed_is_opened(path: Path) -> None:
    delta = wire.decode(path.read_bytes())
    assert isinstance(delta, ManifestDelta)
    keyring = Configuration({"bus_key": BUS_KEY}).keyring
    for each, body in delta.manifests.items():
        manifest = keyring.open(delta.host, each, delta.index[each].digest, body)
        assert (manifest["kind"], manifest["metadata"]["name"]) == (each.kind, each.name)
        assert keyring.digest(manifest) == delta.index[each].digest, "else every object would be written anew"


def test_there_is_one_of_each_kind_from_each_release() -> None:
    assert RELEASES
    for release in RELEASES:
        assert {path.stem.partition("-")[0] for path in release.glob("*.msgpack")} == set(wire.KINDS)


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: str(each.name))
def test_nothing_went_and_what_was_added_is_left_out_while_it_says_nothing(release: Path) -> None:
    """Only a message's own fields can be left out: one within its parts would be parked by whoever does not know it."""
    now, kinds = vocabulary(), set(wire.KINDS)
    for name, known in json.loads((release / "vocabulary.json").read_text()).items():
        added = set(now[name]) - set(known)
        assert added <= (wire.ADDED.keys() if name in kinds else set()), f"{name}: {release.name} parks {added}"
        assert {field: now[name][field] for field in known} == known if isinstance(known, dict) else now[name] == known


def test_it_is_recorded_whatever_this_release_can_say() -> None:
    """Else the next one would not be held to it: `python -m tests.recorded`."""
    assert vocabulary() == json.loads((RELEASES[-1] / "vocabulary.json").read_text())
