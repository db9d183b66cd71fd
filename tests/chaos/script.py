"""The script of a run: every change and every fault in its order, all from a seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.chaos import load
from tests.chaos.faults import Fault, Surroundings, deck
from tests.chaos.world import World


@dataclass(frozen=True)
class Size:
    """Seconds: how long the API server and a vCenter are down; the shortest and the longest of other faults; pauses."""

    outage: float
    faults: tuple[float, float]
    between_faults: tuple[float, float]
    between_changes: tuple[float, float]
    rounds: int = 1
    """So often every fault happens."""
    at_once: int = 3
    """So many faults at a time, at most."""


SHORT = Size(outage=8, faults=(1, 5), between_faults=(0.5, 3), between_changes=(0.3, 1.0))
NIGHTLY = Size(outage=60, faults=(1, 12), between_faults=(1, 6), between_changes=(0.3, 1.5))


@dataclass(frozen=True)
class Step:
    """What is done after a pause (seconds). The same seed has the same steps."""

    pause: float
    text: str
    act: Callable[[Surroundings], Any]


@dataclass(frozen=True)
class Script:
    """The steps, and the world after the last of them."""

    steps: tuple[Step, ...]
    end: World


def script(seed: int, size: Size, world: World) -> Script:
    """Plays the world to its end. Changes go only to servers that are there; a thing has one fault at a time."""
    return Script(tuple(_Playwright(random.Random(seed), size, world).steps()), world)


class _Playwright:
    """Keeps the time of the script, in seconds since its begin."""

    def __init__(self, dice: random.Random, size: Size, world: World) -> None:
        self._dice = dice
        self._size = size
        self._world = world
        self._deck = list(itertools.chain.from_iterable(deck(dice, sorted(world.vcenters)) for _ in range(size.rounds)))
        dice.shuffle(self._deck)
        self._going_on: list[tuple[float, Fault]] = []
        self._now = self._told = 0.0
        self._next_change = self._next_fault = 0.0

    def steps(self) -> list[Step]:
        found: list[Step] = []
        while self._deck or self._going_on:
            if (step := self._next()) is not None:
                found.append(step)
        for change in load.closing(self._world):
            self._now += self._dice.uniform(*self._size.between_changes)
            found.append(self._changed(change))
        return found

    def _next(self) -> Step | None:
        over = min((end for end, _ in self._going_on), default=float("inf"))
        fault = self._next_fault if self._fitting() else float("inf")
        self._now = min(over, fault, self._next_change)
        if self._now == over:
            return self._heal()
        if self._now == fault:
            return self._strike()
        self._next_change = self._now + self._dice.uniform(*self._size.between_changes)
        return self._changed(load.draw(self._world, self._dice))

    def _fitting(self) -> Fault | None:
        """The next fault of the deck that leaves alone what is broken already."""
        if len(self._going_on) >= self._size.at_once:
            return None
        broken = {each for _, fault in self._going_on for each in fault.struck}
        return next((fault for fault in self._deck if broken.isdisjoint(fault.struck)), None)

    def _strike(self) -> Step:
        fault = self._fitting()
        assert fault is not None
        self._deck.remove(fault)
        lasts = self._size.outage if fault.outage else self._dice.uniform(*self._size.faults)
        self._going_on.append((self._now + lasts, fault))
        self._world.away.update(fault.struck)
        self._next_fault = self._now + self._dice.uniform(*self._size.between_faults)
        return self._step(f"! {fault}", fault.strike)

    def _heal(self) -> Step:
        over = min(self._going_on, key=lambda each: each[0])
        self._going_on.remove(over)
        fault = over[1]
        self._world.away.difference_update(fault.struck)
        self._next_fault = max(self._next_fault, self._now)
        return self._step(f"  over: {fault}", fault.heal)

    def _changed(self, change: load.Change) -> Step:
        self._world.note()
        return self._step(f"  {change.text}", lambda surroundings: change.make(surroundings.region))

    def _step(self, text: str, act: Callable[[Surroundings], Any]) -> Step:
        pause, self._told = self._now - self._told, self._now
        return Step(pause, text, act)
