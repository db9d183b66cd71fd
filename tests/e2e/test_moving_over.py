"""A running installation of the deployed operator, moved over through the whole pipeline, back, and over again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

from tests.e2e.asking import ask
from tests.e2e.region import Region, of_cluster, of_zone
from tests.waiting import eventually
from vcenter_operator.common import labels

pytestmark = pytest.mark.needs("rabbitmq", "dns", "vcsim", "kubernetes")

FORGOTTEN = "ConfigMap/nova-compute-bb99-etc"
"""Of a cluster that was taken away while the deployed operator was restarted: it never deleted that."""


def as_deployed(region: Region, managed: dict[str, Any]) -> dict[str, Any]:
    """A managed object as the deployed operator applies it: without what is ours, owned by its template."""
    metadata = managed["metadata"]
    template = region.get("VCenterTemplate", metadata["annotations"][labels.TEMPLATE].partition("/")[2])
    owner = {
        "apiVersion": labels.API_VERSION,
        "kind": labels.TEMPLATE_KIND,
        "name": template["metadata"]["name"],
        "uid": template["metadata"]["uid"],
        "blockOwnerDeletion": False,
    }
    content = {key: value for key, value in managed.items() if key not in ("metadata", "status")}
    return {**content, "metadata": {"name": metadata["name"], "ownerReferences": [owner]}}


def existing(region: Region, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Objects' metadata, by `Kind/name`."""
    return {key: region.get(*key.split("/"))["metadata"] for key in keys}


def said_of(region: Region, reason: str) -> str:
    """Waits until the vCenter's condition `Applied` has this reason; its message."""

    def shown() -> str | None:
        condition = region.condition("vc-a-0", "Applied")
        assert condition.get("reason") == reason, condition
        return condition["message"] or reason

    return eventually(shown, f"Applied is {reason}", otherwise=region.logs)


def test_a_running_installation_is_moved_over_and_back_and_over_again(region: Region) -> None:
    region.vcenter("vc-a-0", clusters=2)
    wanted = (of_cluster(10, 11), of_zone("qa-de-1a"))
    fleet = region.fleet()
    managed = region.expect(*wanted)
    said_of(region, "AsStated")
    fleet.close()

    installed = {key: as_deployed(region, one) for key, one in managed.items()}
    forgotten = as_deployed(region, managed["ConfigMap/nova-compute-bb10-etc"])
    forgotten["metadata"]["name"] = FORGOTTEN.partition("/")[2]
    installed["ConfigMap/nova-compute-bb10-etc"]["data"]["dropped"] = "since"
    for key in managed:
        region.delete(*key.split("/"))
    region.kubernetes.request("DELETE", region.record_path("vc-a-0"))
    for manifest in (*installed.values(), forgotten):
        region.put(manifest, labels.FIELD_MANAGER)
    first = existing(region, [*managed, FORGOTTEN])

    # The first start only looks.
    fleet = region.fleet()
    assert f"{len(managed)} to adopt" in said_of(region, "Adopting")
    told = ask(region, "diff", "--vcenter", "vc-a-0")
    assert told.returncode == 1, told.stderr
    assert len(re.findall(r"^# .*: adopted from the deployed operator by ", told.stdout, re.MULTILINE)) == len(managed)
    assert re.search(r"^-  dropped: since$", told.stdout, re.MULTILINE)
    assert re.search(r"^-  ownerReferences:$", told.stdout, re.MULTILINE)
    left = ask(region, "leftovers")
    assert (left.returncode, "kubectl delete" in left.stdout) == (2, False), left.stderr
    assert "vc-a-0" in left.stderr
    assert existing(region, first) == first, "nothing was written"

    # A person's word.
    region.say("vc-a-0", adopt=True)
    adopted = region.expect(*wanted)
    said_of(region, "AsStated")
    assert {key: one["metadata"]["uid"] for key, one in adopted.items()} == {
        key: metadata["uid"] for key, metadata in first.items() if key != FORGOTTEN
    }
    assert not [key for key, one in adopted.items() if "ownerReferences" in one["metadata"]]
    assert "dropped" not in region.get("ConfigMap", "nova-compute-bb10-etc")["data"]
    left = ask(region, "leftovers")
    assert (left.returncode, left.stderr) == (1, ""), left.stdout
    assert f"kubectl delete -n {region.namespace} configmaps/nova-compute-bb99-etc\n" in left.stdout
    assert existing(region, [FORGOTTEN]) == {FORGOTTEN: first[FORGOTTEN]}

    # Back: the deployed operator applies the same manifests again.
    fleet.close()
    for manifest in installed.values():
        region.put(manifest, labels.FIELD_MANAGER)
    assert region.objects() == {}, "no label of ours is left"
    back = existing(region, first)
    assert {key: one["uid"] for key, one in back.items()} == {key: one["uid"] for key, one in first.items()}

    # And over again.
    region.say("vc-a-0", adopt=None)
    fleet = region.fleet()
    said_of(region, "Adopting")
    assert existing(region, first) == back
    fleet.close()
    region.fleet(adopt="true")
    again = region.expect(*wanted)
    assert {key: one["metadata"]["uid"] for key, one in again.items()} == {
        key: metadata["uid"] for key, metadata in first.items() if key != FORGOTTEN
    }
    region.delete(*FORGOTTEN.split("/"))
    eventually(lambda: ask(region, "leftovers").returncode == 0, "nothing is left over", otherwise=region.logs)
