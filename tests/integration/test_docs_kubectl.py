"""The kubectl commands in the documentation, run by the real kubectl on a namespace that has what they speak of."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.kubectl import kubectl
from tests.stack.kubernetes import Kubernetes
from tests.unit.docs.commandlines import KUBECTL_RUN, CommandLine, in_blocks, in_prose
from vcenter_operator.common.kubernetes.client import connect
from vcenter_operator.common.kubernetes.crds import ensure_crds
from vcenter_operator.common.labels import API_VERSION
from vcenter_operator.common.settings import Settings

pytestmark = pytest.mark.needs("kubernetes")

HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
FIRST, LAST = "create", "delete"
"""Verbs: what is made and taken away again is there for all others."""


def order(line: str) -> tuple[int, str]:
    verb = line.split()[1]
    return (verb != FIRST) + (verb == LAST), line


LINES = sorted({line.text for line in (*in_blocks(), *in_prose()) if KUBECTL_RUN.match(line.text)}, key=order)
FILLED_IN = {
    "<fqdn>": HOST, "<digest>": "0123abcd", "<name>": "nova-compute", "secret NAME": "secret vcenter-operator",
    "namespace vcenter-operator": "namespace NAMESPACE-2", "<own namespace>": "NAMESPACE",
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
    given = yaml.safe_dump_all([template, vcenter])
    kubectl(kubernetes, "apply", "-n", namespace, "-f", "-", given=given)
    return namespace


def arguments(line: str, namespace: str, kubernetes: Kubernetes) -> list[str]:
    inner = re.search(r"\$\((kubectl [^)]*)\)", line)
    if inner:
        line = line.replace(inner[0], kubectl(kubernetes, *arguments(inner[1], namespace, kubernetes)) or "0")
    for what, value in FILLED_IN.items():
        line = line.replace(what, value)
    words = [word.replace("NAMESPACE", namespace) for word in shlex.split(line)[1:]]
    if "-n" not in words:
        return [*words, "-n", namespace]
    words[words.index("-n") + 1] = namespace
    return words


async def test_kubectl_and_the_server_take_every_command(place: str, kubernetes: Kubernetes) -> None:
    assert len(LINES) > 15
    for words in dict.fromkeys(tuple(arguments(line, place, kubernetes)) for line in LINES):
        kubectl(kubernetes, *words)


def test_a_command_that_is_wrong_is_noticed(kubernetes: Kubernetes, namespace: str) -> None:
    line = CommandLine("here", "kubectl get vc --no-such-option")
    with pytest.raises(AssertionError, match="no-such-option"):
        kubectl(kubernetes, *arguments(line.text, namespace, kubernetes))
