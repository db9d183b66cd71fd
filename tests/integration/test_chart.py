"""The Helm chart: what it renders, what it refuses, and what a real API server takes of it.

`python -m tests.integration.test_chart` writes the golden files anew.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import monitoring
from tests.chart import CHART, Manifest, at, install, of_kind, render
from tests.stack import Stack
from tests.stack.errors import StackError
from tests.stack.helm import Helm, foreign_definitions
from tests.stack.kubernetes import Kubernetes
from tests.stack.progress import say_on_stdout
from tests.waiting import eventually
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.messages import Stage

pytestmark = pytest.mark.needs("helm")

GOLDEN = Path(__file__).with_name("golden")
PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"
OWN_ACCESS: dict[str, Any] = {
    "domain": "cc.qa-de-1.example.com",
    "secret": {"perService": True},
    "rabbitmq": {"url": "amqps://rabbitmq.example.com/", "tls": {"enabled": True}},
    "vcenters": {"ca": {"configMap": "vcenter-cas"}},
    "applier": {"namespaces": ["openstack", "storage"]},
    "dns": {"namespace": "dns"},
}
RUNBOOKS = "https://git.example.org/vcenter-operator/blob/main/"
EVERY_OPERATOR: dict[str, Any] = {
    "rabbitmq": {"cluster": {"enabled": True}},
    "services": {
        "collector": {"autoscaling": {"enabled": True}},
        "applier": {"autoscaling": {"enabled": True, "maxReplicas": 3}, "settings": {"POLICY": "observe"}},
        "renderer": {"settings": {"RENDER_OUTPUT": 16777216}},
    },
    "metrics": {
        "podMonitor": {"enabled": True},
        "alerts": {"enabled": True, "labels": {"release": "prometheus"}, "runbooks": RUNBOOKS},
        "dashboard": {"enabled": True},
    },
    "validation": {"enabled": True},
    "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.monitoring:4318"}],
    "networkPolicy": {"egress": [{"ports": [{"port": 4318}]}]},
}
VALUES = {"default": {}, "own-access": OWN_ACCESS, "every-operator": EVERY_OPERATOR}


# -- rendered


def rendered(helm: Helm, values: dict[str, Any]) -> str:
    """In a fixed order, without labels, and what has a test of its own: CRDs, admission policies, what watches it."""
    without = {"crds": {"install": False}, "validation": {"enabled": False}}
    watches = {"PrometheusRule/vcenter-operator", "ConfigMap/vcenter-operator-dashboard"}
    shown = [
        manifest
        for manifest in render(helm, "monsoon3", **{**values, **without})
        if f"{manifest['kind']}/{manifest['metadata']['name']}" not in watches
    ]
    for manifest in shown:
        del manifest["metadata"]["labels"]
    shown.sort(key=lambda each: (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]))
    return yaml.safe_dump_all(shown, width=120, default_flow_style=None)


def golden(helm: Helm, name: str) -> str:
    """All of it for the default values; for others what is different."""
    default = rendered(helm, {})
    if name == "default":
        return default
    lines = difflib.unified_diff(default.splitlines(), rendered(helm, VALUES[name]).splitlines(), n=2, lineterm="")
    return "\n".join(re.sub(r"^@@.*@@$", "@@", line) for line in list(lines)[2:]) + "\n"


@pytest.mark.parametrize("name", VALUES)
def test_what_is_rendered_is_as_in_the_golden_file(helm: Helm, name: str) -> None:
    assert golden(helm, name) == _golden_file(name).read_text()


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_helm_finds_nothing_to_criticise(helm: Helm, values: dict[str, Any]) -> None:
    done = helm.run("lint", "--strict", CHART, "-f", "-", given=yaml.safe_dump(values))
    assert done.returncode == 0, done.stdout + done.stderr


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt value": ({"rbac": {"crate": True}}, "additional properties 'crate' not allowed"),
    "a setting that no service has": ({"settings": {"LOGLEVEL": "INFO"}}, "invalid propertyName 'LOGLEVEL'"),
    "a setting of another service": (
        {"services": {"renderer": {"settings": {"ADOPT": True}}}},
        "invalid propertyName 'ADOPT'",
    ),
    "a setting that the chart makes": ({"settings": {"PARTITIONS": 7}}, "invalid propertyName 'PARTITIONS'"),
    "no replica": ({"services": {"applier": {"replicas": 0}}}, "minimum: got 0, want 1"),
    "more partitions than there may be": ({"partitions": 300}, "maximum: got 300, want 256"),
    "a password in the values": ({"rabbitmq": {"url": "amqp://user:word@host/"}}, "does not match pattern"),
    "a domain with a dot at its end": ({"domain": "cc.qa-de-1.example.com."}, "at '/domain'"),
    "text for a number": ({"services": {"collector": {"replicas": "two"}}}, "got string, want integer"),
    "autoscaling of what has one partition": (
        {"services": {"discovery": {"autoscaling": {"enabled": True}}}},
        "additional properties 'autoscaling' not allowed",
    ),
    "more replicas than partitions": (
        {"services": {"renderer": {"autoscaling": {"enabled": True, "maxReplicas": 12}}}},
        "services.renderer.autoscaling.maxReplicas: more replicas than partitions (11) would idle",
    ),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_values_are_refused_with_what_is_wrong(helm: Helm, values: dict[str, Any], message: str) -> None:
    done = helm.run("template", CHART, "-f", "-", given=yaml.safe_dump(values))
    assert done.returncode != 0
    assert message in done.stderr


def test_the_commands_of_the_documentation_are_understood(helm: Helm) -> None:
    """Rendered instead of installed: what Helm says of their values and of the chart it says here as well."""
    text = PAGE.read_text().replace("\\\n", " ").replace("$service", "applier")
    commands = re.findall(r"^ *helm upgrade (?:--install )?vcenter-operator deploy/chart (.*)", text, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        arguments = [each for each in shlex.split(command) if each != "--reset-then-reuse-values"]
        done = helm.run("template", "vcenter-operator", CHART, *arguments)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        if "image.tag=0.1.0" in command:
            assert re.findall(r"image: .*:(.*)", done.stdout) == ["0.1.0"] * 4, "the version that runs"


def test_autoscaling_counts_what_waits_in_the_partitions_of_this_generation(helm: Helm) -> None:
    names = Names(Topology(generation=12), RetryDelays().steps)
    scaled = of_kind(render(helm, "monsoon3", **EVERY_OPERATOR, generation=12), "ScaledObject")
    for stage in (Stage.COLLECTOR, Stage.APPLIER):
        (trigger,) = scaled[f"vcenter-operator-{stage}"]["spec"]["triggers"]
        every = {item.name for item in names.everything()} | {names.owner(stage, 0)}
        counted = {name for name in every if re.search(trigger["metadata"]["queueName"], name)}
        assert counted == {names.partition(stage, number) for number in range(11)}


def test_alerts_and_dashboard_are_those_that_are_tested(helm: Helm) -> None:
    shown = render(helm, "monsoon3", **EVERY_OPERATOR)
    rule = of_kind(shown, "PrometheusRule")["vcenter-operator"]
    expected = yaml.safe_load(
        monitoring.ALERTS.read_text().replace("docs/runbooks.md#", f"{RUNBOOKS}docs/runbooks.md#")
    )
    assert rule["spec"] == expected
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    dashboard = of_kind(shown, "ConfigMap")["vcenter-operator-dashboard"]
    assert json.loads(dashboard["data"]["vcenter-operator.json"]) == json.loads(monitoring.DASHBOARD.read_text())
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


# -- taken by the API server


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[Kubernetes]:
    """One of its own, with the CRDs of the operators that the chart has resources for."""
    made = stack.start_kubernetes()
    for definition in foreign_definitions(say_on_stdout):
        made.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    eventually(lambda: {"keda.sh", "rabbitmq.com", "monitoring.coreos.com"} <= _groups(made), "the CRDs are served")
    yield made
    stack.discard(made)


def _groups(server: Kubernetes) -> set[str]:
    return {group["name"] for group in server.request("GET", "/apis")["groups"]}


def _restricted(server: Kubernetes, name: str) -> str:
    """A namespace that takes no pod which is not as the Pod Security standard `restricted` wants it."""
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": enforced}}
    server.request("POST", "/api/v1/namespaces", body)
    return name


def _pod(deployment: Manifest) -> Manifest:
    """As the controllers, of which there are none, would make it."""
    template = deployment["spec"]["template"]
    metadata = {"generateName": f"{deployment['metadata']['name']}-", "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.mark.needs("kubernetes", control=True)
@pytest.mark.parametrize("name", VALUES)
def test_a_release_is_installed_upgraded_and_removed(helm: Helm, server: Kubernetes, name: str) -> None:
    namespace = _restricted(server, f"release-{name}")
    for other in OWN_ACCESS["applier"]["namespaces"] + [OWN_ACCESS["dns"]["namespace"]]:
        server.create_namespace(other)
    told = install(helm, server.kubeconfig, namespace)
    assert "It waits for: Secret vcenter-operator; RabbitMQ (bus_url in the Secret)." in told
    install(helm, server.kubeconfig, namespace, **VALUES[name])
    stored = yaml.safe_load_all(at(helm, server.kubeconfig, namespace, "get", "manifest", "vcenter-operator"))
    deployments = of_kind([manifest for manifest in stored if manifest], "Deployment")
    assert deployments.keys() == {f"vcenter-operator-{stage}" for stage in Stage}
    for deployment in deployments.values():
        server.request("POST", f"/api/v1/namespaces/{namespace}/pods", _pod(deployment))
    assert "uninstalled" in at(helm, server.kubeconfig, namespace, "uninstall", "vcenter-operator")
    assert "vcenter-operator.stable.sap.cc" in _groups(server), "the records of vCenters would be gone with their kind"


UNSAFE: dict[str, dict[str, Any]] = {
    "system calls": {"seccompProfile": {"type": "Unconfined"}},
    "a capability": {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}},
    "root": {"runAsUser": 0},
    "more rights later": {"allowPrivilegeEscalation": True},
}


@pytest.mark.needs("kubernetes", control=True)
@pytest.mark.parametrize("change", UNSAFE.values(), ids=UNSAFE.keys())
def test_a_pod_that_asks_for_more_is_refused(
    helm: Helm, server: Kubernetes, change: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """So that being taken means something."""
    namespace = _restricted(server, re.sub(r"[^a-z]+", "-", request.node.callspec.id))
    deployment = of_kind(render(helm, namespace), "Deployment")["vcenter-operator-collector"]
    deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"] |= change
    with pytest.raises(StackError, match="violates PodSecurity"):
        server.request("POST", f"/api/v1/namespaces/{namespace}/pods", _pod(deployment))


def _golden_file(name: str) -> Path:
    return GOLDEN / ("chart-default.yaml" if name == "default" else f"chart-{name}.diff")


@contextmanager
def _helm() -> Iterator[Helm]:
    stack = Stack()
    try:
        yield stack.helm()
    finally:
        stack.close()


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    with _helm() as found:
        for each in VALUES:
            _golden_file(each).write_text(golden(found, each))
