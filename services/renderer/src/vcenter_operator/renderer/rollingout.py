"""Decides how far the templates go that are rolled out step by step, in the status of each.

There is one decider, the owner of the first partition. All it knows stands in the cluster: what was decided last in the
template's status, what came of it in the vCenters' records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.errors import OperatorError, OwnershipLost, PermanentError
from vcenter_operator.common.events import Events
from vcenter_operator.common.labels import API_VERSION, TEMPLATE_KIND
from vcenter_operator.common.record.orders import is_suspended, released_rollout
from vcenter_operator.common.record.port import Record, Store
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.watching import Watched
from vcenter_operator.renderer.core.rollout import Decision, Phase, decide, decided, progress_of
from vcenter_operator.renderer.core.templates import Template
from vcenter_operator.renderer.inputs import WatchedInputs
from vcenter_operator.renderer.ports import TemplateStatus

log = logger(__name__)

_DECIDER = 0
"""The owner of this partition decides."""


class RollingOut:
    """Looks at the records every so many seconds while a rollout is under way; at nothing where there is none."""

    def __init__(
        self,
        store: Store,
        templates: Watched,
        inputs: WatchedInputs,
        status: TemplateStatus | None,
        events: Events,
        *,
        every: float = 2.0,
    ) -> None:
        """`status` None: nothing is rolled out step by step (a folder, or a dry run)."""
        self._store, self._templates, self._inputs = store, templates, inputs
        self._status, self._events = status, events
        self._every = every
        self._ownership: Ownership | None = None
        self._due = asyncio.Event()
        self._refused: set[str] = set()

    def take(self, ownership: Ownership) -> None:
        """With the first partition comes the decision."""
        if ownership.partition == _DECIDER:
            self._ownership = ownership
            self._due.set()

    def release(self, ownership: Ownership) -> None:
        """It is another's."""
        if self._ownership is ownership:
            self._ownership = None

    async def run(self) -> None:
        """Decides until cancelled."""
        if self._status is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._keep_deciding(self._status))

    async def _follow(self) -> None:
        async for _ in self._templates.changes():
            self._due.set()

    async def _keep_deciding(self, status: TemplateStatus) -> None:
        while True:
            under_way = True
            try:
                under_way = await self._decide(status)
            except OwnershipLost:
                pass  # whoever has it now decides
            except OperatorError as error:
                log.info("rollouts stand still", error=str(error))
            except Exception:
                log.exception("unexpected error")
            await asyncio.sleep(self._every)
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if under_way else None):
                    await self._due.wait()
            self._due.clear()

    async def _decide(self, status: TemplateStatus) -> bool:
        """One step of each. Whether any is under way."""
        snapshot, inputs, ownership = self._templates.snapshot, self._inputs.current, self._ownership
        if snapshot is None or inputs is None or not inputs.complete or ownership is None:
            return False
        versions = inputs.templates.rollouts
        parsed = {template.key: template for template in inputs.templates.values()}
        records: Sequence[Record] | None = None
        for (namespace, name), resource in sorted(snapshot.items.items()):
            template = parsed.get(f"{namespace}/{name}")
            if template is None or template.uid != resource["metadata"].get("uid"):
                continue
            version, known = versions.get(template.key), decided(resource)
            if version is None:
                if "rollout" in (resource.get("status") or {}):
                    await self._write(status, ownership, template, resource, None)
            elif known is None or (known.version, known.phase) != (version, Phase.DONE):
                records = records if records is not None else await self._store.list(fresh=False)
                vcenters = [progress_of(record, template.key, version) for record in records]
                released, suspended = released_rollout(resource) == str(version), is_suspended(resource)
                now = decide(known, version, vcenters, released=released, suspended=suspended)
                if now != known and await self._write(status, ownership, template, resource, now):
                    await self._tell(template, known, now)
        return records is not None

    async def _write(
        self,
        status: TemplateStatus,
        ownership: Ownership,
        template: Template,
        resource: Mapping[str, Any],
        now: Decision | None,
    ) -> bool:
        """Whether it is written. One that is refused keeps no other; one that changed meanwhile is decided anew."""
        ownership.verify()
        version = resource["metadata"]["resourceVersion"]
        try:
            return await status.state_rollout(template, now.as_status() if now else None, version=version)
        except PermanentError as error:
            if template.key not in self._refused:
                log.warning("the status of a template cannot be written", template=template.key, error=str(error))
            self._refused.add(template.key)
        return False

    async def _tell(self, template: Template, before: Decision | None, now: Decision) -> None:
        told = {"template": template.key, "version": now.version, "canary": now.canary, "reason": now.reason}
        if before is None or (before.version, before.phase) != (now.version, now.phase):
            log.info("rollout", phase=now.phase.value, **told)
            if now.phase is Phase.PAUSED:
                metadata = {"name": template.name, "namespace": template.namespace, "uid": template.uid}
                regarding = {"apiVersion": API_VERSION, "kind": TEMPLATE_KIND, "metadata": metadata}
                await self._events.tell(regarding, "Warning", "RolloutPaused", now.reason)
