"""`vcenter-operator diff` on a region of real servers: what would change, what is hidden, and that nothing does."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.e2e.asking import ask
from tests.e2e.region import SEED, USERNAME, Region, of_cluster, of_zone
from tests.waiting import eventually
from vcenter_operator.common import labels
from vcenter_operator.common.masterpassword import derive_password

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")
NOTE = {
    "apiVersion": f"{labels.GROUP}/v1",
    "kind": "VCenterTemplate",
    "metadata": {"name": "note"},
    "options": {"scope": "cluster"},
    "template": "{apiVersion: v1, kind: ConfigMap, metadata: {name: 'note-{{ name }}'}, data: {pw: '{{ password }}'}}",
}


def diff(region: Region, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return ask(region, "diff", *arguments, **settings)


def headings(told: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """`Kind/name` to what becomes of it."""
    found: dict[str, str] = {}
    for line in told.stdout.splitlines():
        if one := re.match(r"# \S+: (\S+) [^ /]+/(\S+): (.*)", line):
            found[f"{one[1]}/{one[2]}"] = one[3]
        elif several := re.match(r"# \S+: \d+ objects: (.*)", line):
            what = several[1]
        elif one := re.match(r"#   (\S+) [^ /]+/(\S+)$", line):
            found[f"{one[1]}/{one[2]}"] = what
    return found


def changed_lines(told: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in told.stdout.splitlines() if re.match(r"[-+](?![-+]{2} )", line)]


def ready(region: Region, vcenter: str) -> bool:
    return bool(region.condition(vcenter, "Ready").get("status") == "True")


def written(region: Region) -> dict[str, str]:
    """Everything in the region's namespace that the operator writes, with resourceVersions."""
    found = {}
    for path in (
        f"/apis/{labels.GROUP}/v1/namespaces/{region.namespace}/vcenters",
        f"/apis/{labels.GROUP}/v1/namespaces/{region.namespace}/vcenter-templates",
        f"/apis/coordination.k8s.io/v1/namespaces/{region.namespace}/leases",
        f"/api/v1/namespaces/{region.namespace}/events",
    ):
        for item in region.kubernetes.request("GET", path)["items"]:
            found[f"{path}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
    return found | region.versions()


def test_from_nothing_to_the_whole_region_and_back_to_no_difference(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.vcenter("vc-b-0", "QA-DE-1B")
    empty = written(region)
    first = diff(region)
    assert first.returncode == 1, first.stderr
    expected = of_cluster(10, 11, 20, 21) | of_zone("qa-de-1a", "qa-de-1b")
    assert headings(first).keys() == expected
    assert all(what.startswith(f"created by {region.namespace}/") for what in headings(first).values())
    assert written(region) == empty

    # What the server adds by itself is on both sides, so that it is no difference: it is in what would be created.
    assert "+      terminationGracePeriodSeconds: 30" in first.stdout
    assert "creationTimestamp" not in first.stdout
    for host in (f"vc-a-0.{region.zone.zone}", f"vc-b-0.{region.zone.zone}"):
        assert derive_password(USERNAME, SEED, host) not in first.stdout + first.stderr
    assert "  nova-compute-secrets.conf: '***'" in first.stdout

    one = diff(region, "--vcenter", "vc-b-0", "--template", "nova-compute")
    assert one.returncode == 1, one.stderr
    assert headings(one).keys() == {"Deployment/nova-compute-bb20", "Deployment/nova-compute-bb21"}

    fleet = region.fleet()
    region.expect(expected, within=120)
    eventually(lambda: ready(region, "vc-b-0"), "all is ready", otherwise=region.logs)
    before = region.versions()
    same = diff(region)  # beside the operator, which it takes nothing from
    assert (same.returncode, same.stdout) == (0, ""), same.stderr
    assert f"vc-a-0.{region.zone.zone}: nothing to do, 12 unchanged" in same.stderr
    fleet.check_alive()
    assert region.versions() == before


def test_updates_creates_deletes_and_holds_with_their_reasons(region: Region) -> None:
    region.vcenter("vc-a-0", clusters=3)
    region.vcenter("vc-b-0", "QA-DE-1B", clusters=3)
    fleet = region.fleet()
    region.expect(of_cluster(10, 11, 12, 20, 21, 22), of_zone("qa-de-1a", "qa-de-1b"), within=120)
    eventually(lambda: ready(region, "vc-b-0"), "all is ready", otherwise=region.logs)
    fleet.close()
    region.edit_template("nova-compute", "replicas: 1", "replicas: 2")
    region.put(NOTE)
    region.vcenters["vc-a-0"].rename_cluster("productionbb010", "decommissioned10")
    for number in (20, 21):
        region.vcenters["vc-b-0"].rename_cluster(f"productionbb{number:03}", f"decommissioned{number}")
    before = written(region)

    told = diff(region)
    assert told.returncode == 1, told.stderr
    found = headings(told)
    gone = {key: what for key, what in found.items() if what.startswith("deleted: ")}
    assert gone.keys() == of_cluster(10)
    assert set(gone.values()) == {"deleted: cluster productionbb010 in qa-de-1a is gone"}
    held = {key for key, what in found.items() if what.startswith("deletion held: 10 deletions inferred")}
    assert held == of_cluster(20, 21)
    created = {key for key, what in found.items() if what.startswith("created by")}
    assert created == {f"ConfigMap/note-bb{number}" for number in (11, 12, 22)}
    updated = {key for key, what in found.items() if what.startswith("updated by")}
    assert updated == {f"Deployment/nova-compute-bb{number}" for number in (11, 12, 22)}

    assert "+  pw: '***'" in told.stdout  # no Secret, and a password all the same
    assert derive_password(USERNAME, SEED, f"vc-a-0.{region.zone.zone}") not in told.stdout + told.stderr

    update = diff(region, "--vcenter", "vc-b-0", "--template", f"{region.namespace}/nova-compute")
    assert changed_lines(update) == ["-  replicas: 1", "+  replicas: 2"]
    assert f"+++ planned/{region.namespace}/deployment-nova-compute-bb22.yaml" in update.stdout
    assert written(region) == before


def test_what_cannot_be_found_out_is_told_and_exits_with_2(region: Region) -> None:
    region.vcenter("vc-a-0")
    region.zone.add("vc-x-0", "A", "127.0.0.99")
    region.edit_template("neutron-dvs-agent", r"replicas: 1", "replicas: {= 'many' =}")
    region.edit_template("cinder-volume", r"replicas: 1", "replicas: {= 1 | nope =}")
    told = diff(region)
    assert told.returncode == 2
    assert headings(told).keys() == of_cluster(10, 11) - {f"Deployment/neutron-dvs-agent-bb{n}" for n in (10, 11)}
    problems = told.stderr
    assert re.search(r"^vc-x-0\S+: unknown, so that nothing of it would change: Unreachable: ", problems, re.MULTILINE)
    assert re.search(r"unknown, and left as it is: \S+/cinder-volume: availability zone qa-de-1a: .*line \d+", problems)
    assert re.search(r"Deployment \S+/neutron-dvs-agent-bb10: .*replicas", problems)
    assert "Traceback" not in problems

    strange = diff(region, "--vcenter", "vc-q-9")
    assert (strange.returncode, strange.stdout) == (2, "")
    assert f"the zone has no such vCenter; it has: vc-a-0.{region.zone.zone}, vc-x-0" in strange.stderr
    strange = diff(region, "--vcenter", "vc-a-0", "--template", "nova-computer")
    assert (strange.returncode, strange.stdout) == (2, "")
    assert f"there is no such VCenterTemplate; there are: {region.namespace}/cinder-storage" in strange.stderr

    region.put_secret(dns_port="1")
    away = diff(region, "--timeout", "8")
    assert (away.returncode, away.stdout) == (2, "")
    assert "the DNS zone was not read in time" in away.stderr
    assert "the zone cannot be read" in away.stderr  # what the stage said
