"""The applier's process on a cluster and a record in memory: the product's own, without bus and timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextlib import ExitStack
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from tests.fakes.record import MemoryStore
from tests.unit.applier.stage import Secrets
from vcenter_operator.applier import asking, carrying, concluding, looking, reconciling, rollingout, service
from vcenter_operator.applier.adapters.unfrozen import NeverFrozen
from vcenter_operator.applier.core.decisions import Policy
from vcenter_operator.applier.ports import Cluster, OnPlan
from vcenter_operator.applier.service import ApplierService
from vcenter_operator.common.bus.port import Ownership, Topology
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.errors import PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import ManifestDelta, ResyncRequest, Stage
from vcenter_operator.common.record.document import record_of, status_with
from vcenter_operator.common.record.orders import Orders
from vcenter_operator.common.record.port import ABSENT, Record, Section, Store, anybody

_TIMED = (asking, carrying, concluding, looking, reconciling, rollingout, service)
_RUNNER = asyncio.Runner()


class Records(MemoryStore):
    """A store in which people and other stages write too; `before_write` may raise."""

    def __init__(self, before_write: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._before_write = before_write
        self.lagging: dict[str, Record] = {}
        """What is answered, until it is written again, to who does not ask for what is there now."""

    def put(self, host: str, **fields: Any) -> None:
        """Somebody else writes."""
        found = self.records.get(host) or Record(host=host, version=ABSENT)
        self.records[host] = found.model_copy(update={**fields, "version": str(next(self._versions))})

    def orders(self, host: str) -> Orders:
        """What people say."""
        return self.records[host].orders if host in self.records else Orders()

    def read_back(self, now: datetime) -> None:
        """Every record is as it is stored."""
        self.lagging = {}
        for host, record in self.records.items():
            status: dict[str, Any] = {}
            for section in (record.discovered, record.applied):
                status = status_with(status, section, now) if section is not None else status
            read = record_of({"metadata": {"name": host}, "status": status})
            assert not read.problems
            self.records[host] = record.model_copy(update={"discovered": read.discovered, "applied": read.applied})

    async def get(self, host: str, *, fresh: bool = True) -> Record | None:
        if fresh or host not in self.lagging:
            return await super().get(host)
        return self.lagging[host]

    async def write(
        self, host: str, section: Section, *, version: str | None = None, verify: Callable[[], None] = anybody
    ) -> Record:
        self._before_write()
        written = await super().write(host, section, version=version, verify=verify)
        self.lagging.pop(host, None)
        return written


class _Asked:
    """Of the bus: what the renderer is asked for."""

    topology = Topology(partitions=1)

    def __init__(self, ask: Callable[[str, Collection[ObjectId]], None]) -> None:
        self._ask = ask

    async def request(self, request: ResyncRequest) -> None:
        if request.host is not None:
            self._ask(request.host, request.objects)


class _Configured(Secrets):
    """Read once."""

    _known: Configuration | None = None

    async def current(self) -> Configuration:
        if self._known is None:
            type(self)._known = await super().current()
        assert self._known is not None
        return self._known


class Process:
    """From its start to its end. `clock` is the time; `ask` is told whose manifests are asked for."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        policy: Policy,
        clock: Callable[[], datetime],
        *,
        ask: Callable[[str, Collection[ObjectId]], None],
        on_plan: OnPlan,
    ) -> None:
        self._clock = clock
        self._ownership = Ownership(Stage.APPLIER, 0, epoch=1)
        self._service = ApplierService(
            _Asked(ask),  # type: ignore[arg-type]
            store,
            _Configured(),
            cluster,
            NeverFrozen(),
            policy=policy,
            on_plan=on_plan,
            now=clock,
        )
        self._run(self._service.take(self._ownership))

    def kill(self) -> None:
        """It has no effect any more."""
        self._ownership.end()

    @property
    def killed(self) -> bool:
        return not self._ownership.held

    def handle(self, delta: ManifestDelta) -> Exception | None:
        """A statement arrives. Returns why it has to be delivered again."""
        try:
            self._run(self._service.handle(delta, self._ownership))
        except (TransientError, PermanentError) as error:
            return error
        return None

    def look(self, host: str) -> bool:
        """The process looks at everything again by itself. Returns whether nothing was left to be done."""
        state = self._service._states[host]
        self._run(self._service._look_again(state, afresh=True))
        return state.failures == 0 and not self.killed

    def acts_on(self, host: str) -> ManifestDelta | None:
        """The newest delta that was accepted."""
        state = self._service._states.get(host)
        return state.delta if state is not None else None

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """The process's own clock goes as the region's does."""
        clock = SimpleNamespace(monotonic=lambda: self._clock().timestamp())
        with ExitStack() as timed:
            for module in _TIMED:
                timed.enter_context(patch.object(module, "time", clock))
            _RUNNER.run(work)
