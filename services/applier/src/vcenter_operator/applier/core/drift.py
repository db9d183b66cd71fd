"""Which objects others have changed where they are ours.

An object names the fields that we applied last (`managedFields`). Whoever changes or takes out one of these takes it
from us; status, and what others add, leave our fields as they are. So an object whose fields of ours are other ones
than our last write left has been edited. Pure: the clock is handed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from math import inf
from typing import NamedTuple

from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.common.identity import ObjectId, Unit

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0
"""Seconds until an object that was put right is put right again: doubled each time."""
_FORGIVEN_AFTER = 600.0
"""Seconds without an edit beyond the pause, after which the next one is the first again."""
_FOUGHT_OVER_FROM = 3
"""So many repairs in a row are more than a person who tries something."""
_ANYTHING = "?"

Content = tuple[str | None, str | None, Unit | None]
"""What an object is said to be by its annotations: digest, template, unit."""


class Fight(NamedTuple):
    """An object that others undo again and again."""

    id: ObjectId
    times: int
    """How often in a row it was put right."""
    by: str
    """The field manager that wrote it last, where that can be told: not of one that was deleted."""

    def __str__(self) -> str:
        last = f", last by {self.by}" if self.by else ""
        return f"undone by others {self.times} times in a row{last}; it is put right ever more rarely"


class _Repair(NamedTuple):
    times: int
    at: float
    by: str

    @property
    def again_at(self) -> float:
        return self.at + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.times - 1, 16))


class Drift:
    """The fields of ours as our last writes left them, of one vCenter's objects."""

    def __init__(self) -> None:
        self._fields: dict[ObjectId, str] = {}
        self._looked = False
        self._contents: dict[ObjectId, Content] = {}
        self._editors: dict[ObjectId, str] = {}
        self._repairs: dict[ObjectId, _Repair] = {}

    def seen(self, objects: Mapping[ObjectId, Observed], wanted: Collection[ObjectId], recorded: str | None) -> None:
        """Takes over what is seen for the first time as it is, but for the first look of all.

        Then `recorded`, the `name` of all fields as an earlier owner of the partition left them, tells whether anything
        was edited meanwhile. What, it does not: so everything counts as edited. None: nothing was recorded yet.
        """
        for object_id, one in objects.items():
            self._fields.setdefault(object_id, one.fields)
        if not self._looked and recorded is not None and recorded != self.name(objects):
            self._fields = dict.fromkeys(objects, _ANYTHING)
        self._looked = True
        for object_id in self._fields.keys() - objects.keys() - set(wanted):
            del self._fields[object_id]
            self.ended(object_id)

    def wrote(self, one: Observed, *, edited: bool, now: float) -> int:
        """Our write left it so. How often in a row by now, if that put right what others did; `now` is monotonic.

        They did if it was `edited`, and also where it was so already by our last write: it was deleted, or another
        digest written on it.
        """
        before, self._fields[one.id] = self._fields.get(one.id), one.fields
        content = one.digest, one.template, one.unit
        repeated, self._contents[one.id] = self._contents.get(one.id) == content, content
        by = self._editors.pop(one.id, "")
        if not repeated and (not edited or before == _ANYTHING):
            return 0
        last = self._repairs.get(one.id)
        again = last is not None and now < last.again_at + _FORGIVEN_AFTER
        self._repairs[one.id] = repair = _Repair(last.times + 1 if last is not None and again else 1, now, by)
        return repair.times

    def ended(self, object_id: ObjectId) -> None:
        """We deleted it, or gave it away: that it is made again some day puts nothing right."""
        for remembered in (self._repairs, self._contents, self._editors):
            remembered.pop(object_id, None)

    def paused(
        self, objects: Mapping[ObjectId, Observed], wanted: Mapping[ObjectId, Content], now: float
    ) -> dict[ObjectId, float]:
        """What others undid and is not put right yet, and when (monotonic) it is: edited, or deleted.

        What is `wanted` otherwise than it was written last is written at once.
        """
        waiting = {
            object_id: repair.again_at
            for object_id, repair in self._repairs.items()
            if now < repair.again_at and wanted.get(object_id) == self._contents.get(object_id)
        }
        return {
            object_id: again_at
            for object_id, again_at in waiting.items()
            if (one := objects.get(object_id)) is None or one.fields != self._fields.get(object_id)
        }

    def fights(self, now: float) -> tuple[tuple[Fight, ...], float]:
        """What others undo again and again, and when (monotonic) the first of it is over if they stop."""
        there = {
            object_id: repair
            for object_id, repair in self._repairs.items()
            if repair.times >= _FOUGHT_OVER_FROM and now < repair.again_at + _FORGIVEN_AFTER
        }
        over = min((repair.again_at + _FORGIVEN_AFTER for repair in there.values()), default=inf)
        return tuple(Fight(object_id, repair.times, repair.by) for object_id, repair in sorted(there.items())), over

    def edited(self, objects: Mapping[ObjectId, Observed], now: float) -> tuple[frozenset[ObjectId], float]:
        """What others edited and is to be put right now, and when (monotonic) the rest of it is."""
        due: set[ObjectId] = set()
        later = inf
        for object_id, one in objects.items():
            if one.fields == self._fields.get(object_id, one.fields):
                continue
            self._editors[object_id] = one.editor
            repair = self._repairs.get(object_id)
            if repair is None or now >= repair.again_at:
                due.add(object_id)
            else:
                later = min(later, repair.again_at)
        return frozenset(due), later

    def name(self, objects: Collection[ObjectId]) -> str:
        """Names which fields of these objects our last writes left us: 16 hex digits."""
        lines = sorted(f"{object_id} {self._fields.get(object_id, '')}" for object_id in objects)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
