"""Each image has a locked file of its own, which says the same as the lock of all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vcenter_operator.common.messages import Stage

REQUIREMENTS = Path(__file__).parents[3] / "requirements"


def pins(name: str) -> dict[str, frozenset[str]]:
    """`name==version` to its hashes. (Markers differ: cffi, say, is needed on fewer platforms for less.)"""
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    entries = re.findall(r"^(\S+==\S+)(?: ;.*)? \\\n((?:    --hash=\S+(?: \\)?\n)+)", text, re.MULTILINE)
    return {pin: frozenset(re.findall(r"--hash=(\S+)", hashes)) for pin, hashes in entries}


def test_the_lock_is_read_whole() -> None:
    text = (REQUIREMENTS / "runtime.txt").read_text()
    assert len(pins("runtime")) == len(re.findall(r"^\S+==", text, re.MULTILINE))


@pytest.mark.parametrize("stage", Stage)
def test_a_service_has_a_part_of_the_lock(stage: Stage) -> None:
    own, everything = pins(stage), pins("runtime")
    assert own
    assert {pin: hashes for pin, hashes in own.items() if everything.get(pin) != hashes} == {}
    assert len(own) < len(everything)


@pytest.mark.parametrize(
    ("library", "stage"), [("pyvmomi", "collector"), ("jinja2", "renderer"), ("aiodns", "discovery")]
)
def test_a_library_is_where_it_is_needed_alone(library: str, stage: str) -> None:
    found = {each.value for each in Stage if any(pin.startswith(f"{library}==") for pin in pins(each))}
    assert found == {stage}
