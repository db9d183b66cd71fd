"""What goes wrong: each fault strikes one thing, and is over later."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from tests.contract.proxy import Proxy
from tests.e2e.processes import STAGES, Fleet, Service
from tests.e2e.region import Region
from tests.stack.rabbitmq import RabbitMQ

REPLICAS = 2


@dataclass
class Surroundings:
    """What faults strike."""

    region: Region
    broker: RabbitMQ
    wires: Mapping[str, Proxy]
    """Between each replica (`applier-0`) and the broker."""
    fleet: Fleet
    killed: set[str] = field(default_factory=set)
    """Replicas that are down on purpose; one that ends by itself is started again."""

    def service(self, name: str) -> Service:
        """A replica by its name."""
        return next(service for service in self.fleet.all if service.name == name)

    def server(self, name: str) -> Any:
        """A server that the operator does not run: `kubernetes`, `zone`, or a vCenter."""
        own = {"kubernetes": self.region.kubernetes, "zone": self.region.zone}
        return own.get(name) or self.region.vcenters[name]


@dataclass(frozen=True)
class Fault(abc.ABC):
    """One fault, on a server, on a replica (`applier-0`), or on every replica of a stage (`applier`) at once."""

    on: str
    does: ClassVar[str]
    outage: ClassVar[bool] = False
    """Whether it lasts as long as an outage of a server that the operator does not run."""

    def __str__(self) -> str:
        return f"{'every ' if self.on in STAGES else ''}{self.on} {self.does}"

    @property
    def struck(self) -> list[str]:
        """What it strikes: nothing else strikes that meanwhile."""
        return [f"{self.on}-{number}" for number in range(REPLICAS)] if self.on in STAGES else [self.on]

    @abc.abstractmethod
    def strike(self, around: Surroundings) -> None:
        """Begins. Returns when it holds."""

    @abc.abstractmethod
    def heal(self, around: Surroundings) -> None:
        """Ends. Returns when what was struck serves again (a replica: when it is started)."""


# -- replicas


class Killed(Fault):
    does = "is killed"

    def strike(self, around: Surroundings) -> None:
        around.killed.update(self.struck)
        for replica in map(around.service, self.struck):
            if replica.running:
                replica.kill()

    def heal(self, around: Surroundings) -> None:
        for replica in map(around.service, self.struck):
            replica.start()
        around.killed.difference_update(self.struck)


class Hung(Fault):
    does = "hangs"

    def strike(self, around: Surroundings) -> None:
        for replica in map(around.service, self.struck):
            replica.pause()

    def heal(self, around: Surroundings) -> None:
        for replica in map(around.service, self.struck):
            replica.resume()


class CutInAFrame(Fault):
    """The one connection: what it publishes is lost where nobody notices, and it does not lose its partitions."""

    does = "is cut off the broker in the middle of a frame"
    statement: ClassVar[int] = 250
    """Bytes that hardly anything but a statement has."""

    def strike(self, around: Surroundings) -> None:
        around.wires[self.on].cut_in_a_frame(longer_than=self.statement)

    def heal(self, around: Surroundings) -> None:
        """It connects anew by itself. Where it said nothing meanwhile it is cut at whatever it sends next."""
        if around.wires[self.on].is_to_cut:
            around.wires[self.on].cut_in_a_frame()


# -- the broker


class BrokerStopped(Fault):
    does = "is stopped"

    def strike(self, around: Surroundings) -> None:
        around.broker.stop()

    def heal(self, around: Surroundings) -> None:
        around.broker.start()


class BrokerKilled(Fault):
    does = "is killed"

    def strike(self, around: Surroundings) -> None:
        around.broker.kill()

    def heal(self, around: Surroundings) -> None:
        around.broker.start()


class BrokerRestarted(Fault):
    does = "is restarted"

    def strike(self, around: Surroundings) -> None:
        around.broker.stop()
        around.broker.start()

    def heal(self, around: Surroundings) -> None:
        """It was over at once."""


class BrokerHangs(Fault):
    does = "hangs"

    def strike(self, around: Surroundings) -> None:
        around.broker.pause()

    def heal(self, around: Surroundings) -> None:
        around.broker.resume()


class BrokerLostAll(Fault):
    does = "loses all its data"

    def strike(self, around: Surroundings) -> None:
        around.broker.lose_everything()

    def heal(self, around: Surroundings) -> None:
        around.broker.start()


class BrokerAlarm(Fault):
    does = "raises a memory alarm"

    def strike(self, around: Surroundings) -> None:
        around.broker.rabbitmqctl("set_vm_memory_high_watermark", "0.0001")

    def heal(self, around: Surroundings) -> None:
        around.broker.rabbitmqctl("set_vm_memory_high_watermark", "0.4")


# -- other people's servers


class Down(Fault):
    does = "is down"
    outage = True

    def strike(self, around: Surroundings) -> None:
        around.server(self.on).kill()

    def heal(self, around: Surroundings) -> None:
        around.server(self.on).start()


class Silent(Fault):
    does = "answers nothing"

    def strike(self, around: Surroundings) -> None:
        around.server(self.on).pause()

    def heal(self, around: Surroundings) -> None:
        around.server(self.on).resume()


BROKER = (BrokerStopped, BrokerKilled, BrokerRestarted, BrokerHangs, BrokerLostAll, BrokerAlarm)


def deck(dice: Random, vcenters: list[str]) -> list[Fault]:
    """Every fault once, those on replicas once for every stage: on one of them, and on all that can be at once."""
    on_replicas = [
        fault(f"{stage}-{dice.randrange(REPLICAS)}") for stage in STAGES for fault in (Killed, Hung, CutInAFrame)
    ]
    on_stages = [fault(stage) for stage in STAGES for fault in (Killed, Hung)]
    on_broker = [fault("broker") for fault in BROKER]
    on_others = [fault(name) for name in ("kubernetes", "zone", dice.choice(vcenters)) for fault in (Down, Silent)]
    return [*on_replicas, *on_stages, *on_broker, *on_others]
