"""What four real processes serve after the main job: what the table names, in its bounds, and the truth."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.processes import STAGES, Fleet, Service, probed
from tests.e2e.region import Region, of_cluster, of_zone
from tests.metrics import Scrape, documented
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")


class Served:
    """The processes of a region, each on a port of its own."""

    def __init__(self, region: Region, fleet: Fleet, ports: dict[str, int]) -> None:
        self.region = region
        self.fleet = fleet
        self.ports = ports

    def scrape(self, stage: str) -> Scrape:
        return Scrape.of(self.ports[stage])

    def until(self, stage: str, condition: Callable[[Scrape], bool], what: str) -> Scrape:
        """What the stage serves as soon as it fulfils the condition."""

        def seen() -> Scrape | None:
            try:
                scrape = self.scrape(stage)
            except OSError:
                return None
            return scrape if condition(scrape) else None

        return eventually(seen, f"{stage}: {what}", otherwise=self.region.logs)


@pytest.fixture
def served(region: Region) -> Served:
    """A region with one vCenter, and a fleet that was started."""
    region.vcenter("vc-a-0")
    ports = {stage: free_port() for stage in STAGES}
    return Served(region, region.start(Fleet(region.environment(), region.folder, own=probed(ports))), ports)


def test_what_is_served_is_the_table_and_the_truth(served: Served) -> None:
    region = served.region
    began = time.time()
    region.expect(of_cluster(10, 11), of_zone("qa-de-1a"))
    host = f"vc-a-0.{region.zone.zone}"

    discovery = served.until("discovery", lambda seen: seen.value("zone_vcenters", state="present") == 1, "a vCenter")
    assert discovery.value("zone_serial") > 0
    assert abs(discovery.value("zone_last_seen_timestamp_seconds") - time.time()) < 30
    assert discovery.value("dns_request_duration_seconds_count", kind="soa", outcome="ok") > 0
    assert discovery.value("dns_request_duration_seconds_count", kind="transfer", outcome="ok") > 0
    assert discovery.value("statements_published_total", stage="discovery", outcome="confirmed") > 0

    collector = served.until("collector", lambda seen: seen.value("vcenter_connected", vcenter=host) == 1, "a session")
    assert collector.value("logins_total", outcome="ok") == 1
    assert collector.value("clusters", vcenter=host, state="known") == 2
    assert collector.value("vcenter_last_read_timestamp_seconds", vcenter=host) > began - 60
    assert collector.value("soap_request_duration_seconds_count", kind="Login", outcome="ok") == 1
    assert collector.value("soap_request_duration_seconds_count", kind="RetrievePropertiesEx", outcome="ok") > 0
    assert collector.value("resyncs_received_total", stage="collector") > 0, "the renderer asked when it took over"

    renderer = served.until("renderer", lambda seen: seen.value("renderings_total", outcome="ok") > 0, "renderings")
    assert renderer.value("templates", state="usable") == 5
    assert renderer.value("template_failures") == renderer.value("rendering_hindered") == 0

    applier = served.until("applier", lambda seen: seen.value("objects", state="as_stated") == 12, "objects as stated")
    assert applier.value("objects_owned", vcenter=host) == 12
    assert applier.value("objects_applied_total", operation="create", outcome="done") == 12
    assert applier.value("kubernetes_request_duration_seconds_count", kind="apply", outcome="ok") >= 12
    assert applier.value("cause_to_effect_seconds_count") >= 1
    assert 0 < applier.value("cause_to_effect_seconds_sum") < time.time() - began + 60
    assert applier.value("deletion_budget_remaining_objects", vcenter=host) == 4
    assert applier.value("frozen") == 0

    for stage in STAGES:
        seen = served.scrape(stage)
        assert seen.out_of_bounds({host}) == []
        table = {name: row.kind for name, row in documented().items() if row.served_by in {"all", stage}}
        assert seen.kinds == table
        assert seen.values_of("stage") == {stage}
        assert seen.value("build_info") == seen.value("bus_connected") == 1
        assert seen.value("partitions_owned", stage=stage) == seen.value("partitions", stage=stage)
        assert seen.value("kubernetes_request_duration_seconds_count", outcome="ok") > 0
        if stage != "discovery":
            assert seen.value("statements_answered_total", stage=stage, outcome="done") > 0
            assert 0 < seen.value("statement_lag_seconds_sum", stage=stage) < time.time() - began + 60


def test_what_is_wrong_is_seen(served: Served) -> None:
    region = served.region
    host = f"vc-a-0.{region.zone.zone}"
    refusing = region.vcenter("vc-b-0", "QA-DE-1B", clusters=1)
    everything = region.expect(of_cluster(10, 11, 20), of_zone("qa-de-1a", "qa-de-1b"))

    region.edit_template("neutron-dvs-agent", "{= name =}", "{= 1 // 0 =}")
    served.until("renderer", lambda seen: seen.value("template_failures", vcenter=host) == 2, "a template that fails")
    served.until("applier", lambda seen: seen.value("objects", vcenter=host, state="unknown") == 4, "left as they are")

    for name in ("productionbb010", "productionbb011"):
        region.vcenters["vc-a-0"].rename_cluster(name, f"gone-{name}")
    served.until("applier", lambda seen: seen.value("objects", vcenter=host, state="held") > 0, "held deletions")
    assert region.objects().keys() == everything.keys()

    region.vcenters["vc-a-0"].stop()
    refusing.refuse_logins()
    refusing.expire_sessions()
    seen = served.until(
        "collector",
        lambda seen: seen.value("sessions", state="probing") == seen.value("sessions", state="refused") == 1,
        "a vCenter that is away, and one that refuses the account",
    )
    assert seen.value("vcenter_connected") == 0
    assert seen.value("logins_total", outcome="Unreachable") > 0
    assert seen.value("logins_total", outcome="LoginRefused") > 0
    assert seen.out_of_bounds({host, refusing.fqdn}) == []


def test_the_log_level_changes_without_a_restart(served: Served) -> None:
    process = served.fleet["renderer"][0]
    url = f"http://127.0.0.1:{served.ports['renderer']}/log-level"
    served.until("renderer", lambda seen: seen.value("bus_connected") == 1, "connected")
    assert asked(url) == (200, "INFO\n")
    assert asked(url, "loud") == (
        400,
        "not a level; these are: DEBUG, INFO, WARNING, WARN, ERROR, CRITICAL, FATAL\n",
    )
    assert asked(url) == (200, "INFO\n")
    assert logged(process, level="debug") == []

    assert asked(url, "debug") == (200, "DEBUG\n")
    eventually(lambda: logged(process, level="debug"), "lines of that level", otherwise=served.region.logs)
    assert logged(process, event="log level changed") == [{"before": "INFO", "now": "DEBUG"}]
    assert process.running


def asked(url: str, level: str | None = None) -> tuple[int, str]:
    """What the process answers: to a question, or to the wish for a level."""
    request = urllib.request.Request(url, None if level is None else level.encode(), method="PUT" if level else "GET")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def logged(process: Service, **fields: str) -> list[dict[str, Any]]:
    """The lines of its log that have these fields: what else they have, but for where and when."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in {*fields, "level", "event", "logger", "timestamp"}}
        for line in lines
        if fields.items() <= line.items()
    ]
