"""Says what became of rendering where people look: in the status of templates, and in the record of vCenters.

Written only where it differs from what stands there, when things have settled, and at a bounded rate: a template that
is edited changes the outcome for every vCenter, and is told a handful of times.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.errors import OperatorError, OwnershipLost, PermanentError
from vcenter_operator.common.events import Events
from vcenter_operator.common.labels import API_VERSION, TEMPLATE_KIND
from vcenter_operator.common.record.port import Condition, Rendered, Store
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.watching import Watched
from vcenter_operator.renderer.core.account import (
    Account,
    hindered,
    notice,
    partition_entry,
    summarized,
    summary,
    vcenter_section,
)
from vcenter_operator.renderer.core.templates import Template
from vcenter_operator.renderer.inputs import WatchedInputs
from vcenter_operator.renderer.ports import TemplateStatus
from vcenter_operator.renderer.vcenter import VCenter

log = logger(__name__)

_SUMMARY = 0
"""The owner of this partition writes what all partitions come to: so there is one writer of the condition."""


@dataclass(frozen=True)
class Pace:
    """How soon and how often is written, in seconds."""

    settle: float = 1.0
    """Without a change, before anything is written."""
    longest: float = 30.0
    """After which it is written though things go on changing."""
    between: float = 0.05
    """Two writes."""
    knows_all: float = 60.0
    """After taking a partition, before its owner believes that none of its vCenters is to come any more."""


class Reporting:
    """What this replica says, of the partitions that it owns.

    Each partition has an entry of its own in a template's status. What all of them come to is written by the owner of
    the first partition, who sees the others' entries in the watch of templates that it has anyway.
    """

    def __init__(
        self,
        store: Store,
        templates: Watched,
        inputs: WatchedInputs,
        status: TemplateStatus | None,
        events: Events,
        *,
        partitions: int,
        pace: Pace | None = None,
    ) -> None:
        """`status` None: templates are told nothing (a folder, or a dry run)."""
        self._store, self._templates, self._inputs = store, templates, inputs
        self._status, self._events = status, events
        self._partitions = partitions
        self._pace = pace or Pace()
        self._taken: dict[int, tuple[Ownership, float]] = {}
        self._dirty = asyncio.Event()
        self._vcenters: Callable[[], Mapping[str, VCenter]] = dict
        self._secret_problem: Callable[[], str | None] = lambda: None
        self._refused: set[str] = set()

    def take(self, ownership: Ownership) -> None:
        """The partition's entries are this replica's to write."""
        self._taken[ownership.partition] = ownership, time.monotonic()
        asyncio.get_running_loop().call_later(self._pace.knows_all + self._pace.settle, self._dirty.set)

    def release(self, ownership: Ownership) -> None:
        """They are another's."""
        if self._taken.get(ownership.partition, (None,))[0] is ownership:
            del self._taken[ownership.partition]
            self._dirty.set()

    def changed(self) -> None:
        """Something was rendered, or cannot be."""
        self._dirty.set()

    async def run(
        self, vcenters: Callable[[], Mapping[str, VCenter]], secret_problem: Callable[[], str | None]
    ) -> None:
        """Reports until cancelled. `vcenters` are those of the owned partitions, by FQDN."""
        self._vcenters, self._secret_problem = vcenters, secret_problem
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._report())

    async def _follow(self) -> None:
        async for _ in self._templates.changes():
            self._dirty.set()

    async def _report(self) -> None:
        delays, failures = RetryDelays(first=1.0, longest=300.0), 0
        while True:
            await self._dirty.wait()
            await self._settled()
            self._dirty.clear()
            try:
                await self._write_vcenters()
                await self._write_templates()
                failures = 0
                continue
            except OperatorError as error:
                failures += 1
                tell = log.warning if failures == 1 else log.debug
                tell("what became of rendering cannot be told yet", error=str(error))
            except Exception:
                failures += 1
                log.exception("unexpected error")
            self._dirty.set()
            await asyncio.sleep(delays.after(failures))

    async def _settled(self) -> None:
        until = time.monotonic() + self._pace.longest
        await asyncio.sleep(self._pace.settle)
        while self._busy() and time.monotonic() < until:
            await asyncio.sleep(self._pace.settle)

    def _busy(self) -> bool:
        just = time.monotonic() - 2 * self._pace.settle
        taking = any(since > just for _, since in self._taken.values())
        return taking or any(vcenter.busy for vcenter in self._vcenters().values())

    def _hindrance(self) -> Condition | None:
        if (problem := self._secret_problem()) is not None:
            return hindered("SecretUnusable", problem)
        return hindered(*found) if (found := self._inputs.hindrance) is not None else None

    async def _write_vcenters(self) -> None:
        hindrance = self._hindrance()
        for vcenter in sorted(self._vcenters().values(), key=lambda each: each.host):
            if vcenter.account is None and hindrance is None:
                continue
            account, present = vcenter.account or Account(), vcenter.inventory.present
            section = vcenter_section(account, present=present, hindrance=hindrance)
            if section != vcenter.recorded:
                await self._record(vcenter, section)
                vcenter.recorded = section
                await asyncio.sleep(self._pace.between)

    async def _record(self, vcenter: VCenter, section: Rendered) -> None:
        # Whoever deletes the record of one that is gone wants it forgotten.
        if vcenter.inventory.present or await self._store.get(vcenter.host, fresh=False) is not None:
            with suppress(OwnershipLost):
                await self._store.write(vcenter.host, section, verify=vcenter.ownership.verify)

    async def _write_templates(self) -> None:
        snapshot, inputs = self._templates.snapshot, self._inputs.current
        if self._status is None or snapshot is None or inputs is None:
            return
        parsed = {template.key: template for template in inputs.templates.values()}
        for (namespace, name), resource in sorted(snapshot.items.items()):
            template = parsed.get(f"{namespace}/{name}")
            if template is not None and template.uid == resource["metadata"].get("uid"):
                known = resource.get("status") or {}
                try:
                    entries = await self._write_entries(self._status, template, known)
                    await self._write_summary(self._status, template, known, entries)
                except OwnershipLost:
                    continue
                except PermanentError as error:
                    self._report_refusal(template, error)

    async def _write_entries(
        self, status: TemplateStatus, template: Template, known: Mapping[str, Any]
    ) -> list[Mapping[str, Any]]:
        """Those of the owned partitions; returns the entries of all as they are then."""
        entries = {int(entry["partition"]): entry for entry in known.get("partitions") or ()}
        wanted: dict[int, tuple[Ownership, Mapping[str, Any] | None]] = {}
        for partition, (ownership, since) in sorted(self._taken.items()):
            there, outcomes = entries.get(partition), self._outcomes(ownership, template)
            if outcomes is None:
                continue
            knows_all = time.monotonic() > since + self._pace.knows_all
            wanted[partition] = ownership, partition_entry(partition, outcomes) or (None if knows_all else there)
        if _SUMMARY in self._taken:
            ownership, _ = self._taken[_SUMMARY]
            wanted |= {stray: (ownership, None) for stray in entries if stray >= self._partitions}
        for partition, (ownership, entry) in wanted.items():
            if entry != entries.get(partition):
                ownership.verify()
                await status.state_partition(template, partition, entry)
                await asyncio.sleep(self._pace.between)
        now = entries | {partition: entry for partition, (_, entry) in wanted.items()}
        return [entry for entry in now.values() if entry is not None]

    async def _write_summary(
        self, status: TemplateStatus, template: Template, known: Mapping[str, Any], entries: list[Mapping[str, Any]]
    ) -> None:
        if _SUMMARY not in self._taken:
            return
        ownership, _ = self._taken[_SUMMARY]
        wanted = summary(template, entries, self._hindrance(), known=known, now=datetime.now(UTC))
        if not summarized(known, wanted):
            ownership.verify()
            await status.state_summary(template, wanted)
            await self._tell(template, known, wanted)
            await asyncio.sleep(self._pace.between)

    def _outcomes(self, ownership: Ownership, template: Template) -> dict[str, Any] | None:
        """By vCenter of a partition; None: not all of them are rendered yet."""
        outcomes = {}
        for host, vcenter in self._vcenters().items():
            if vcenter.ownership is ownership and vcenter.inventory.present:
                if vcenter.account is None:
                    return None
                if (outcome := vcenter.account.outcomes.get(template.path)) is not None:
                    outcomes[host] = outcome
        return outcomes

    async def _tell(self, template: Template, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        if (told := notice(known, wanted)) is not None:
            metadata = {"name": template.name, "namespace": template.namespace, "uid": template.uid}
            regarding = {"apiVersion": API_VERSION, "kind": TEMPLATE_KIND, "metadata": metadata}
            await self._events.tell(regarding, *told)

    def _report_refusal(self, template: Template, error: PermanentError) -> None:
        if template.key not in self._refused:
            log.warning("the status of a template cannot be written", template=template.key, error=str(error))
        self._refused.add(template.key)
