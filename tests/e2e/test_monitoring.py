"""What Prometheus makes of a real run: nothing fires while all is well, and an incident fires what it should."""

from __future__ import annotations

import pytest

from tests import monitoring
from tests.e2e.region import Region, of_cluster, of_zone
from tests.e2e.scraped import scraped
from tests.stack import Stack
from tests.stack.prometheus import Prometheus
from tests.waiting import eventually

pytestmark = [
    pytest.mark.needs("rabbitmq", "dns", "kubernetes", "prometheus"),
    pytest.mark.needs("vcsim", control=True),
]
INCIDENT = {"VCenterOperatorVCenterDisconnected", "VCenterOperatorTemplateFailing", "VCenterOperatorDeletionsHeld"}
BUSY = {
    f"VCenterOperator{name}"
    for name in ("NotReady", "ObjectsNotApplied", "PartitionsUnowned", "PublishingFails", "Retrying", "Slow")
}
"""What a busy machine may cause for a moment. As deployed they have to last for minutes, here they need not."""


def firing(prometheus: Prometheus, *expected: str) -> bool:
    found = prometheus.firing() - BUSY
    assert found == set(expected), found
    return True


def test_an_incident_fires_its_alerts_and_is_over_when_it_is_mended(stack: Stack, region: Region) -> None:
    a = region.vcenter("vc-a-0")
    b = region.vcenter("vc-b-0", "QA-DE-1B")
    region.vcenter("vc-c-0", "QA-DE-1D", clusters=1)
    _, prometheus = scraped(stack, region)
    region.expect(of_cluster(10, 11, 20, 21, 30), of_zone("qa-de-1a", "qa-de-1b", "qa-de-1d"))
    eventually(lambda: firing(prometheus), "nothing fires", otherwise=region.logs)

    b.kill()
    for number in (10, 11):
        a.rename_cluster(f"productionbb0{number}", f"decommissioned-{number}")
    region.edit_template("neutron-dvs-agent", r"\{= name =\}", "{= name | no_such_filter =}")
    eventually(lambda: firing(prometheus, *INCIDENT), "exactly these fire", within=90, otherwise=region.logs)
    described = [alert["annotations"]["description"] for alert in prometheus.ask("alerts")["alerts"]]
    assert not [text for text in described if "<error" in text or "<no value>" in text]

    for asked in [rule["expr"] for rule in monitoring.alerts().values()] + [
        expression for panel in monitoring.panels() for expression in monitoring.expressions(panel)
    ]:
        for selector in monitoring.selectors(asked):
            assert prometheus.query(str(selector)), f"{selector} yields nothing, in {asked}"

    b.start()
    for number in (10, 11):
        a.rename_cluster(f"decommissioned-{number}", f"productionbb0{number}")
    region.edit_template("neutron-dvs-agent", r" \| no_such_filter", "")
    eventually(lambda: firing(prometheus), "nothing fires any more", within=90, otherwise=region.logs)
