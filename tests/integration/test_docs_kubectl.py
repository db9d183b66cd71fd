"""The kubectl commands in the documentation, run by the real kubectl on a namespace that has what they speak of."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.kubectl import kubectl
from tests.stack.kubernetes import Kubernetes
from tests.unit.docs.commandlines import CommandLine, in_blocks, in_prose
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import ensure_crds
from vcenter_operator.common.labels import API_VERSION
from vcenter_operator.common.settings import Settings

pytestmark = pytest.mark.needs("kubernetes")

HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
RUN = re.compile(
    r"kubectl (get|describe|annotate|patch) (vc|vct|vcenters)\b|kubectl create configmap|kubectl set image "
)
LINES = sorted({line.text for line in (*in_blocks(), *in_prose()) if RUN.match(line.text)})
"""Those of the table `ELSEWHERE` in `tests/unit/docs/test_commands.py` that lead here."""
FILLED_IN = {"<fqdn>": HOST, "<digest>": "0123abcd", "<name>": "nova-compute", "<own namespace>": "NAMESPACE"}
DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "vcenter-operator-applier"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "applier", "image": "x"}]}},
    },
}  # fmt: skip


@pytest.fixture
async def place(kubernetes: Kubernetes, namespace: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    async with connect(Settings.load(namespace=namespace)) as (client, _):
        await ensure_crds(client)
    template: dict[str, Any] = {
        "apiVersion": API_VERSION, "kind": "VCenterTemplate", "metadata": {"name": "nova-compute"},
        "options": {"scope": "library"}, "template": "",
    }  # fmt: skip
    vcenter = {"apiVersion": API_VERSION, "kind": "VCenter", "metadata": {"name": HOST}, "spec": {}}
    given = yaml.safe_dump_all([template, vcenter, DEPLOYMENT])
    kubectl(kubernetes, "apply", "-n", namespace, "-f", "-", given=given)
    return namespace


def arguments(line: str, namespace: str, kubernetes: Kubernetes) -> list[str]:
    inner = re.search(r"\$\((kubectl [^)]*)\)", line)
    if inner:
        line = line.replace(inner[0], kubectl(kubernetes, *arguments(inner[1], namespace, kubernetes)) or "0")
    for what, value in FILLED_IN.items():
        line = line.replace(what, value)
    words = [word.replace("NAMESPACE", namespace).replace("monsoon3", namespace) for word in shlex.split(line)[1:]]
    return words if "-n" in words else [*words, "-n", namespace]


async def test_every_command_does_what_it_says(place: str, kubernetes: Kubernetes) -> None:
    assert len(LINES) > 8
    for line in LINES:
        kubectl(kubernetes, *arguments(line, place, kubernetes))


def test_a_command_that_is_wrong_is_noticed(kubernetes: Kubernetes, namespace: str) -> None:
    line = CommandLine("here", "kubectl get vc --no-such-option")
    with pytest.raises(AssertionError, match="no-such-option"):
        kubectl(kubernetes, *arguments(line.text, namespace, kubernetes))
