"""The changes whose latency is measured: what makes each, and by which object it is recognised."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.bare import Session
from bench.observing import Observer, Written
from tests.e2e.region import Region
from vcenter_operator.collector.adapters.connection import vim
from vcenter_operator.common.messages import DnsChange, Inventory, ManifestDelta, Statement

Make = Callable[[], Awaitable[float]]
Wanted = Callable[[float], Written | None]


@dataclass(frozen=True)
class Step:
    """One change: what makes it (and returns when that began), and what it leads to, if it happened since then."""

    name: str
    make: Make
    wanted: Wanted


async def nothing(_: int) -> None:
    """There is nothing to prepare."""


@dataclass
class Change:
    """One kind of change. `steps(number)` are made and waited for one after the other, after `prepare`."""

    name: str
    steps: Callable[[int], list[Step]]
    prepare: Callable[[int], Awaitable[None]] = nothing
    in_vcenter: bool = True


@dataclass
class Changes:
    """All of them, on a region: most in the first vCenter, those of DNS to the second. Made by blocking calls."""

    region: Region
    observer: Observer
    bodies: list[bytes] = field(default_factory=list)
    """A DnsChange, an Inventory and a ManifestDelta, as they were sent last."""
    manifest: dict[str, Any] = field(default_factory=dict)
    """A ConfigMap that the operator applied."""

    def __post_init__(self) -> None:
        self._first = Session(self.region.vcenters["vc-a-0"])
        self._second = Session(self.region.vcenters["vc-a-1"])
        self._cluster = self._first.cluster("productionbb010")
        self._renamed = self._first.cluster("productionbb011")
        self._hosts = self._cluster.parent
        self._port_group = next(each for each in self._cluster.network if each.name == "br-bb010")
        self._host = self._cluster.host[0]
        self._listed = self._second.cluster("productionbb014")
        self._name = "productionbb011"
        self._said: dict[type[Statement], bytes] = {}
        self._template = self.region.get("VCenterTemplate", "nova-compute-etc")["template"]
        self.kinds = [
            Change("cluster renamed", self._rename),
            Change("cluster added", self._add_and_remove),
            Change("port group renamed", self._rename_port_group),
            Change("datastore added", self._mount),
            Change("template edited", self._edit, in_vcenter=False),
        ]

    def in_dns(self, how: str) -> Change:
        """A vCenter that joins the zone; `how` the operator comes to know."""
        name = f"vCenter in DNS, {how}"
        return Change(name, partial(self._list, name), self._unlist, in_vcenter=False)

    def close(self) -> None:
        """Ends the sessions."""
        self._first.close()
        self._second.close()

    def remember(self) -> None:
        """What was said and written last is what the bare chain carries."""
        self._said |= {type(said.statement): said.body for said in self.observer.said}
        default = b"\0" * 400
        self.bodies = [self._said.get(kind, default) for kind in (DnsChange, Inventory, ManifestDelta)]
        for written in self.observer.written:
            if written.key.startswith("ConfigMap/nova-compute-") and written.event != "DELETED":
                item = written.item
                self.manifest = {name: item[name] for name in ("apiVersion", "kind", "data")}

    # -- in the vCenter

    def _rename(self, number: int) -> list[Step]:
        block = 200 + number
        step = self._blocking(lambda: self._renamed.Rename_Task(newName=f"productionbb{block}"))
        return [Step("cluster renamed", step, self._there(block))]

    def _add_and_remove(self, number: int) -> list[Step]:
        block = 600 + number
        name = f"productionbb{block}"

        def create() -> None:
            self._hosts.CreateClusterEx(name=name, spec=vim.cluster.ConfigSpecEx())

        def destroy() -> None:  # vcsim has no call of the vSphere API for it
            self.region.vcenters["vc-a-0"].control(destroy_cluster=name)

        def gone(began: float) -> Written | None:
            return self.observer.object(_config_map(block), began, lambda each: each.event == "DELETED")

        return [
            Step("cluster added", self._blocking(create), self._there(block)),
            Step("cluster removed", self._blocking(destroy), gone),
        ]

    def _rename_port_group(self, number: int) -> list[Step]:
        name = f"br-pg{number}"
        step = self._blocking(lambda: self._port_group.Rename_Task(newName=name))
        return [Step("port group renamed", step, self._there(10, f"port group {name}\n"))]

    def _mount(self, _: int) -> list[Step]:
        name = "eph_bb010_ds02"
        path = self.region.folder / name
        path.mkdir(exist_ok=True)
        made: list[Any] = []

        def mount() -> None:
            made.append(self._host.configManager.datastoreSystem.CreateLocalDatastore(name=name, path=str(path)))

        return [
            Step("datastore added", self._blocking(mount), self._there(10, "datastore_regex = ^eph_bb010_ds0.*")),
            Step(
                "datastore removed",
                self._blocking(lambda: made.pop().Destroy_Task()),
                self._there(10, "datastore_regex = ^eph_bb010_ds01.*"),
            ),
        ]

    # -- templates

    def _edit(self, number: int) -> list[Step]:
        text, count = re.subn(r"( *)\[DEFAULT\]", rf"\1[DEFAULT]\n\1# edited {number}", self._template)
        assert count
        path = f"/apis/vcenter-operator.stable.sap.cc/v1/namespaces/{self.region.namespace}/vcenter-templates"

        async def edit() -> float:
            began = time.perf_counter()
            await self.observer.patch(f"{path}/nova-compute-etc", {"template": text})
            return began

        return [Step("template edited", edit, self._there(10, f"# edited {number}\n"))]

    # -- DNS

    async def _unlist(self, number: int) -> None:
        """The vCenter leaves the zone; what is in it then changes, so that there is something to write later."""
        began = time.perf_counter()
        await asyncio.to_thread(self.region.zone.remove, "vc-a-1")

        def gone() -> bool:
            return any(
                said.at > began and isinstance(said.statement, ManifestDelta) and not said.statement.present
                for said in self.observer.said
            )

        await self.observer.see(gone, "vc-a-1 is gone")
        await asyncio.to_thread(lambda: self._listed.Rename_Task(newName=f"productionbb{400 + number}"))

    def _list(self, name: str, number: int) -> list[Step]:
        address = self.region.vcenters["vc-a-1"].address
        step = self._blocking(lambda: self.region.zone.add("vc-a-1", "A", address))
        return [Step(name, step, self._there(400 + number))]

    # -- by what they are recognised

    def _there(self, block: int, text: str = "") -> Wanted:
        def found(began: float) -> Written | None:
            return self.observer.object(
                _config_map(block),
                began,
                lambda each: each.event != "DELETED" and text in each.item["data"]["nova-compute.conf"],
            )

        return found

    @staticmethod
    def _blocking(call: Callable[[], object]) -> Make:
        def timed() -> float:
            began = time.perf_counter()
            call()
            return began

        return lambda: asyncio.to_thread(timed)


def _config_map(block: int) -> str:
    return f"ConfigMap/nova-compute-bb{block}-etc"
