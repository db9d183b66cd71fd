"""The four services of a region with a real Prometheus that scrapes them and evaluates the alerts that are deployed."""

from __future__ import annotations

import re

import yaml

from tests import monitoring
from tests.e2e.processes import STAGES, Fleet, probed
from tests.e2e.region import Region
from tests.ports import free_port
from tests.stack import Stack
from tests.stack.prometheus import Prometheus


def scraped(stack: Stack, region: Region, patience: str = "0s") -> tuple[Fleet, Prometheus]:
    """Started, a replica of each stage. Every second it is scraped, and alerts are judged.

    `patience` stands for the time for which each alert has to hold before it fires, minutes to a day as deployed.
    """
    ports = {stage: free_port() for stage in STAGES}
    fleet = region.start(Fleet(region.environment(heartbeat="10"), region.folder, own=probed(ports)))
    rules = re.sub(r"\bfor: \w+", f"for: {patience}", monitoring.ALERTS.read_text())
    (region.folder / "alerts.yaml").write_text(rules)
    targets = {
        "targets": [f"127.0.0.1:{port}" for port in ports.values()],
        "labels": {"namespace": region.namespace},
    }
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "vcenter-operator", "static_configs": [targets]}],
    }
    path = region.folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return fleet, stack.start_prometheus(path)
