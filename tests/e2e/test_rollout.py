"""An edit of a template that rolls out step by step, on a region of two vCenters."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.e2e.asking import ask
from tests.e2e.region import KINDS, Region, of_cluster, of_zone
from tests.kubectl import kubectl
from tests.waiting import eventually
from vcenter_operator.common.labels import GROUP

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes", control=True)

TEMPLATE = "neutron-dvs-agent"
BOTH = "neutron-dvs-agent-bb10", "neutron-dvs-agent-bb20"
TOO_LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}


def rollout(region: Region) -> dict[str, Any]:
    found: dict[str, Any] = region.get("VCenterTemplate", TEMPLATE).get("status", {}).get("rollout", {})
    return found


def becomes(region: Region, phase: str) -> dict[str, Any]:
    """Waits for a phase. Returns what is told."""

    def there() -> dict[str, Any] | None:
        told = rollout(region)
        assert told.get("phase") == phase, told
        return told

    return eventually(there, f"the rollout is {phase}", within=60, otherwise=region.logs)


def edit(region: Region, tag: str) -> None:
    """Every Deployment of the template gets another image."""
    template = region.get("VCenterTemplate", TEMPLATE)
    source = re.sub(r"neutron_image_version =\}.*", f"neutron_image_version =}}-{tag}", template["template"])
    options = {**template["options"], "rollout": "canary"}
    del template["metadata"]["managedFields"]
    region.put({**template, "template": source, "options": options, "metadata": {"name": TEMPLATE}})


def tags(region: Region) -> tuple[str, str]:
    """What follows on the image's version, of the canary and the other."""
    found = [region.get("Deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"] for name in BOTH]
    canary, other = (image.partition(":1")[2] for image in found)
    return canary, other


def replicas_are(region: Region, name: str, **status: Any) -> None:
    """As the controller of Deployments would say, which this API server has not."""
    found = region.get("Deployment", name)
    wanted = found["spec"]["replicas"]
    done = {
        "observedGeneration": found["metadata"]["generation"],
        "replicas": wanted,
        "updatedReplicas": wanted,
        "readyReplicas": wanted,
    }
    path = f"{KINDS['Deployment'].format(namespace=region.namespace)}/{name}/status"
    body = {"status": {**done, "availableReplicas": wanted, "conditions": [], **status}}
    region.kubernetes.request("PATCH", path, body, content_type="application/merge-patch+json")


def test_an_edit_goes_to_one_vcenter_and_wider_only_when_that_works(region: Region) -> None:
    region.vcenter("vc-a-0", clusters=1)
    region.vcenter("vc-b-0", "QA-DE-1B", clusters=1)
    region.fleet(available_for="0.5")
    everything = of_cluster(10, 20) | of_zone("qa-de-1a", "qa-de-1b")
    region.expect(everything)
    before = region.versions()

    edit(region, "one")
    assert becomes(region, "Canary")["canary"] == f"vc-a-0.{region.zone.zone}"
    eventually(lambda: tags(region) == ("-one", ""), "the canary has it", otherwise=region.logs)
    region.stays(lambda: tags(region) == ("-one", ""), "it went on though nothing was available", 4)
    replicas_are(region, BOTH[0])
    eventually(lambda: tags(region) == ("-one", "-one"), "both have it", otherwise=region.logs)
    becomes(region, "Done")

    edit(region, "two")
    becomes(region, "Canary")
    eventually(lambda: tags(region) == ("-two", "-one"), "the canary has it", otherwise=region.logs)
    replicas_are(region, BOTH[0], availableReplicas=0, conditions=[TOO_LATE])
    paused = becomes(region, "Paused")
    reason = f"vc-a-0.{region.zone.zone}: Deployment {region.namespace}/{BOTH[0]}: ProgressDeadlineExceeded: timed out"
    assert paused["reason"] == reason
    row = kubectl(region.kubernetes, "get", "vct", TEMPLATE, "-n", region.namespace, "-o", "wide").splitlines()[1]
    assert "Paused" in row.split()
    assert row.endswith(reason)
    told = ask(region, "status")
    assert told.returncode == 1
    assert f"template {region.namespace}/{TEMPLATE}: its rollout is paused: {reason}" in told.stdout
    assert re.search(rf"{TEMPLATE} +Paused +{paused['version']} +vc-a-0\.", told.stdout), told.stdout
    region.stays(lambda: tags(region) == ("-two", "-one"), "it went on though it was paused", 4)
    word = f"{GROUP}/rollout={paused['version']}"
    kubectl(region.kubernetes, "annotate", "vct", TEMPLATE, "-n", region.namespace, word)
    eventually(lambda: tags(region) == ("-two", "-two"), "a person sent it everywhere", otherwise=region.logs)
    becomes(region, "Done")

    edit(region, "three")
    assert becomes(region, "Canary")["version"] != paused["version"], "a word is for one version"
    eventually(lambda: tags(region) == ("-three", "-two"), "the canary has it", otherwise=region.logs)
    after = region.versions()
    rolled = {f"Deployment/{name}" for name in BOTH}
    assert {key for key in before if before[key] != after[key]} == rolled, "nothing else was touched"


def test_what_a_server_refuses_goes_nowhere(region: Region) -> None:
    region.vcenter("vc-a-0", clusters=1)
    region.vcenter("vc-b-0", "QA-DE-1B", clusters=1)
    region.fleet()
    everything = of_cluster(10, 20) | of_zone("qa-de-1a", "qa-de-1b")
    region.expect(everything)
    before = region.versions()
    template = region.get("VCenterTemplate", TEMPLATE)
    del template["metadata"]["managedFields"]
    broken = template["template"].replace("replicas: 1", "replicas: -1")
    options = {**template["options"], "rollout": "canary"}
    region.put({**template, "template": broken, "options": options, "metadata": {"name": TEMPLATE}})
    assert "spec.replicas" in becomes(region, "Paused")["reason"]
    assert region.versions() == before
    region.put({**template, "options": options, "metadata": {"name": TEMPLATE}})
    becomes(region, "Done")
    assert region.versions() == before
