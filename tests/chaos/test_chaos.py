"""Under a steady load of changes everything fails in turn: afterwards all is as one undisturbed run makes it.

`make chaos SEEDS=20` runs twenty seeds with outages of a minute; `make chaos SEEDS=1 SEED=7` that one again. The
journal of a run, in its folder and in the message of a failure, has every change and every fault with its time.
"""

from __future__ import annotations

import copy
import os
import random
import time
from pathlib import Path

import pytest

from tests.chaos.expected import Expectation, leaks
from tests.chaos.faults import REPLICAS, Surroundings
from tests.chaos.script import NIGHTLY, SHORT, Script, script
from tests.chaos.world import World
from tests.contract.proxy import Proxy
from tests.e2e.processes import Fleet
from tests.e2e.region import BUS_KEY, Region
from tests.stack.rabbitmq import RabbitMQ
from tests.waiting import eventually

pytestmark = [pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes", control=True), pytest.mark.timeout(1500)]

SETTLED_WITHIN = 120.0
NEVER = "36000"
SETTINGS = {
    "partitions": "5",
    "template_grace": "2",
    "zone_confirm_after": "3",
    "retry_longest": "5",
    "deletion_share": "1",  # a budget that is held back would make the end depend on the order in which things are seen
    "repeat_every": NEVER,  # what was lost has to be found missing, and not be repeated by and by
}


def seeds() -> range:
    """One fixed seed in every run of all tests; `SEEDS` of them, from `SEED` on (drawn, else), where that is set."""
    count = os.environ.get("SEEDS")
    first = int(os.environ.get("SEED") or (random.randrange(10**6) if count else 1))
    return range(first, first + int(count or 1))


@pytest.mark.parametrize("seed", seeds())
def test_after_any_order_of_faults_all_is_as_an_undisturbed_run_makes_it(
    seed: int, region: Region, broker: RabbitMQ, wires: dict[str, tuple[Proxy, str]], world: World, tmp_path: Path
) -> None:
    beginning = copy.deepcopy(world)
    play = script(seed, NIGHTLY if os.environ.get("SEEDS") else SHORT, world)
    own = {name: {"VCENTER_OPERATOR_BUS": url} for name, (_, url) in wires.items()}
    fleet = region.start(Fleet(region.environment(**SETTINGS), region.folder, REPLICAS, own=own))
    proxies = {name: proxy for name, (proxy, _) in wires.items()}
    Run(seed, Surroundings(region, broker, proxies, fleet), tmp_path).through(play, beginning)


class Run:
    """One seed."""

    def __init__(self, seed: int, surroundings: Surroundings, folder: Path) -> None:
        self._surroundings = surroundings
        self._region = surroundings.region
        self._folder = folder
        self._began = time.monotonic()
        self._journal = folder / "journal"
        self._say(f"seed {seed}: make chaos SEEDS=1 SEED={seed}")

    def through(self, play: Script, beginning: World) -> None:
        """From the beginning to the end of the script, and what has to hold then."""
        self._expect(beginning, "before")
        lasting = self._uids(play.end)
        for step in play.steps:
            time.sleep(step.pause)
            self._say(step.text)
            step.act(self._surroundings)
            self._restart_what_ended()
        self._say("everything is over")
        settled = time.monotonic()
        self._expect(play.end, "after")
        self._say(f"as expected after {time.monotonic() - settled:.1f} s")
        self._expect_nothing_left_on_the_bus()
        self._expect_acted_on_the_newest(play.end)
        assert self._uids(play.end) == lasting, f"some were deleted meanwhile\n{self._story()}"
        self._expect_nothing_readable()
        self._expect_no_defect_logged()

    # -- on the way

    def _say(self, line: str) -> None:
        line = f"{time.monotonic() - self._began:7.2f} s  {line}"
        with self._journal.open("a") as journal:
            journal.write(line + "\n")

    def _restart_what_ended(self) -> None:
        """As a Deployment does."""
        for service in self._surroundings.fleet.all:
            if service.name not in self._surroundings.killed and not service.running:
                self._say(f"? {service.name} ended by itself with {service.process.returncode}, and is started again")
                service.start()

    def _uids(self, world: World) -> dict[str, str]:
        """Of the objects that nothing ever was a reason to delete."""
        found = self._region.objects()
        return {key: found[key]["metadata"]["uid"] for key in sorted(world.always())}

    # -- at the end

    def _expect(self, world: World, name: str) -> None:
        """Waits until the cluster is as an undisturbed run would make it, and stays so."""
        expectation = Expectation(self._region, world, self._folder / name)

        def as_expected() -> bool:
            self._restart_what_ended()
            differences = expectation.differences(self._region.objects())
            assert not differences, "\n".join(differences)
            return True

        eventually(
            as_expected, "the objects of an undisturbed run", within=SETTLED_WITHIN, every=0.5, otherwise=self._story
        )
        self._region.stays(as_expected, "what was right is undone", 3)

    def _expect_nothing_left_on_the_bus(self) -> None:
        """Nothing is parked, nothing waits for a retry, and nothing for its owner."""

        def drained() -> bool:
            told = self._surroundings.broker.rabbitmqctl("list_queues", "name", "messages", "--no-table-headers")
            queues = dict(line.split("\t") for line in told.splitlines())
            left = {name: count for name, count in queues.items() if count != "0" and not name.endswith(".archive")}
            assert queues, told
            assert not left, left
            return True

        # What was superseded while it waited for its retry comes back once more, after a minute at most.
        eventually(drained, "queues without messages", within=90, every=1, otherwise=self._story)

    def _expect_acted_on_the_newest(self, world: World) -> None:
        """The newest inventory of each vCenter is the one that was acted on: no statement was lost on its way."""

        def acted() -> bool:
            records = {
                name: self._region.record(name)["status"] for name, each in world.vcenters.items() if each.listed
            }
            newest = {name: status["collector"]["revision"] for name, status in records.items()}
            assert {name: status["applier"]["actedOn"]["inventory"] for name, status in records.items()} == newest
            return True

        eventually(acted, "the newest of every vCenter is acted on", within=30, otherwise=self._story)

    def _expect_no_defect_logged(self) -> None:
        """An error that nobody foresaw is logged with its traceback."""
        logs = [path.read_text() for path in sorted(self._region.folder.glob("*.log"))]
        lines = [line for log in logs for line in log.splitlines()]
        assert [line for line in lines if '"exception":' in line or not line.startswith("{")] == []

    def _expect_nothing_readable(self) -> None:
        """Neither on the broker's disk, where what is archived or parked is as well, nor in the logs."""
        secrets = {f"password of {name}": each.password.encode() for name, each in self._region.vcenters.items()}
        secrets |= {"the seed of the passwords": self._region.seed.encode(), "the bus key": BUS_KEY.encode()}
        bodies = {
            text: text.encode() for text in ("host_password", "nova-compute-secrets.conf", "loci-nova", "datastores: ")
        }
        broker = self._surroundings.broker.folder
        assert leaks(broker, secrets | bodies) == set()
        assert leaks(broker / "data", {"a host": f"vc-a-0.{self._region.zone.zone}".encode()}), "it looks in vain"
        logged = {**secrets, "the broker's password": self._surroundings.broker.password.encode()}
        assert leaks(self._region.folder, logged) == set()

    def _story(self) -> str:
        return f"{self._journal.read_text()}\n{self._region.logs()}"
