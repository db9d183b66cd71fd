"""What `docs/metrics.md` says is what is served, in the bounds that it names, whatever a region is like."""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.metrics import MetricWrapperBase

import vcenter_operator.applier.metrics
import vcenter_operator.collector.metrics
import vcenter_operator.discovery.metrics
import vcenter_operator.renderer.metrics  # noqa: F401
from tests.metrics import PREFIX, Row, Scrape, bounds, documented
from tests.ports import free_port
from vcenter_operator.command import pipeline
from vcenter_operator.common import labels
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.metrics import LiveGauge

EXAMPLES = Path(__file__).parents[2] / "examples" / "site" / "manifests"
DOMAIN = "cc.qa-de-1.cloud.sap"
A, B = f"vc-a-0.{DOMAIN}", f"vc-b-0.{DOMAIN}"
HOSTILE = ['" 1\nvcenter_operator_frozen{x="', "\\", "ünï", "{}", "a" * 300]
"""What names of clusters may be."""


def registered() -> dict[str, Row]:
    """What is served by a process that runs every stage, but for what it is not known who serves it."""
    found = {}
    for collector in set(REGISTRY._names_to_collectors.values()):
        if isinstance(collector, LiveGauge):
            found[collector.name] = Row(collector.name, "gauge", frozenset(collector.labels), "")
        elif isinstance(collector, MetricWrapperBase) and collector._type is not None:
            name = f"{collector._name}_total" if collector._type == "counter" else collector._name
            found[name] = Row(name, collector._type, frozenset(collector._labelnames), "")
    return {name: row for name, row in found.items() if name.startswith(PREFIX)}


def test_the_table_is_what_is_registered() -> None:
    table = {name: Row(row.name, row.kind, row.labels, "") for name, row in documented().items()}
    assert table == registered()


def test_every_label_of_the_table_has_a_bound() -> None:
    named = bounds()
    for row in documented().values():
        for label in row.labels:
            assert (row.name, label) in named or ("", label) in named, f"{row.name}: {label}"


class Site:
    """A region of files, whatever its clusters and templates are called."""

    def __init__(self, folder: Path) -> None:
        self.files = pipeline.Files(folder / "site.yaml", folder / "manifests", folder / "output")
        self.files.templates.mkdir()
        for name in ("secret.yaml", "cells.yaml"):
            shutil.copy(EXAMPLES / name, self.files.templates)
        self.port = free_port()

    def describe(self, **vcenters: list[str]) -> None:
        """The vCenters, by short name with `_`, and their production clusters."""
        described: dict[str, Any] = {
            name.replace("_", "-"): {
                "datacenters": {
                    "DC": {"clusters": {cluster: {"datastores": [], "networks": []} for cluster in clusters}}
                }
            }
            for name, clusters in vcenters.items()
        }
        region = {"region": "qa-de-1", "domain": DOMAIN, "namespace": "monsoon3"}
        self._replace(self.files.site, {**region, "vcenters": described})

    def template(self, name: str, text: str) -> None:
        """A template for clusters."""
        self._replace(
            self.files.templates / f"{name}.yaml",
            {
                "apiVersion": labels.API_VERSION,
                "kind": labels.TEMPLATE_KIND,
                "metadata": {"name": name, "namespace": "monsoon3"},
                "options": {"scope": "cluster"},
                "template": text,
            },
        )

    def _replace(self, path: Path, content: Any) -> None:
        new = path.with_suffix(".new")
        new.write_text(yaml.safe_dump(content))
        new.replace(path)

    @asynccontextmanager
    async def operated(self) -> AsyncIterator[None]:
        """All four stages in this process."""
        assert self.files.output is not None
        work = pipeline.run(self.files, list(Stage), dry_run=False, bus="in-process", probe_port=self.port)
        task = asyncio.create_task(work)
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, condition: Callable[[Scrape], bool], what: str) -> Scrape:
        """What is served as soon as it fulfils the condition."""
        scrape = None
        with suppress(TimeoutError):
            async with asyncio.timeout(60), aiohttp.ClientSession() as session:
                while True:
                    with suppress(aiohttp.ClientError):
                        async with session.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
                            scrape = Scrape(await answer.text())
                        if condition(scrape):
                            return scrape
                    await asyncio.sleep(0.1)
        raise AssertionError(f"not within a minute: {what}; last:\n{scrape and scrape.samples}")


CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'of-{{ name }}'}\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name, value in {"GONE_POLICY": "delete", "GONE_AFTER": "0", "DELETION_SHARE": "1"}.items():
        monkeypatch.setenv(f"VCENTER_OPERATOR_{name}", value)
    made = Site(tmp_path)
    made.template("config", CONFIG_MAP)
    made.describe(vc_a_0=["productionbb001"], vc_b_0=["productionbb041"])
    return made


async def test_no_name_is_a_label_and_a_vcenter_that_leaves_takes_its_series_with_it(site: Site) -> None:
    async with site.operated():
        before = await site.until(
            lambda seen: (
                seen.value("objects", state="as_stated") == 2 and seen.value("cause_to_effect_seconds_count") > 1
            ),
            "an object of each vCenter",
        )
        assert before.out_of_bounds({A, B}) == []
        assert before.value("vcenter_connected", vcenter=A) == before.value("vcenter_connected", vcenter=B) == 1
        assert before.value("zone_vcenters", state="present") == 2
        assert {stage: before.value("partitions_owned", stage=stage) for stage in Stage} == {
            Stage.DISCOVERY: 1,
            Stage.COLLECTOR: 11,
            Stage.RENDERER: 11,
            Stage.APPLIER: 11,
        }
        assert before.value("deletion_budget_remaining_objects", vcenter=A) == math.inf
        failed = before.value("renderings_total", outcome="failed")

        names = [f"productionbb{number:03}" for number in range(100, 120)]
        site.describe(vc_a_0=[*names, *(f"production{name}" for name in HOSTILE)], vc_b_0=["productionbb041"])
        for number in range(5):
            site.template(
                f"kind-{number}", f"apiVersion: e/v1\nkind: Evil{number}\nmetadata: {{name: 'x-{{{{ name }}}}'}}"
            )
            site.template(f"failing-{number}", "{{ 1 / 0 }}")
        hostile = await site.until(
            lambda seen: seen.value("template_failures", vcenter=A) >= 5 * 25 and seen.value("objects_owned") > 100,
            "many objects, and many failures",
        )
        assert hostile.out_of_bounds({A, B}) == []
        assert hostile.series == before.series, "more clusters, templates, kinds and failures are no more series"
        assert hostile.value("renderings_total", outcome="failed") >= failed + 5 * 25

        site.describe(vc_a_0=names)
        left = await site.until(lambda seen: seen.values_of("vcenter") == {A}, "no series of the vCenter that left")
        assert left.value("zone_vcenters", state="gone") == 1
        assert left.value("objects_applied_total", operation="delete", outcome="done") > 0

    assert Scrape(generate_latest().decode()).values_of("vcenter") == set(), "nothing is served of what is not owned"
