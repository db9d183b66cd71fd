"""Each image has a locked file of its own, which says the same as the lock of all."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def needed(package: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """What a package needs on this platform, and what that needs, as far as it is not ours."""
    found: set[str] = set()
    waiting, seen = [(package, extras)], set()
    while waiting:
        if (one := waiting.pop()) in seen:
            continue
        seen.add(one)
        name, wanted = one
        for line in requires(name) or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
        found.add(name)
    return {name for name in found if not name.startswith("vcenter-operator")}


@pytest.mark.parametrize("stage", Stage)
def test_a_service_has_what_it_needs_and_nothing_else(stage: Stage) -> None:
    locked = {pin.partition("==")[0] for pin in pins(stage)}
    own = needed(f"vcenter-operator-{stage}")
    assert own <= locked, f"make lock: {sorted(own - locked)} is missing"
    elsewhere = {"colorama", "exceptiongroup", "typing-extensions", "pywin32", "tzdata", "async-timeout"}
    assert locked - own <= elsewhere, f"{sorted(locked - own)} is not needed"
