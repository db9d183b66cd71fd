"""The Helm chart, rendered and installed as people do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.stack.helm import Helm

CHART = Path(__file__).parents[1] / "deploy" / "chart"
RELEASE = "vcenter-operator"
Manifest = dict[str, Any]


def render(helm: Helm, namespace: str, **values: Any) -> list[Manifest]:
    """What is sent to the API server; fails with what Helm says where it refuses the values."""
    done = helm.run("template", RELEASE, CHART, "--namespace", namespace, "-f", "-", given=yaml.safe_dump(values))
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def install(helm: Helm, kubeconfig: Path, namespace: str, **values: Any) -> str:
    """What `helm upgrade --install` prints; definitions that the services made are taken over."""
    given = yaml.safe_dump(values)
    return at(
        helm, kubeconfig, namespace, "upgrade", "--install", RELEASE, CHART, "--take-ownership", "-f", "-", given=given
    )


def at(helm: Helm, kubeconfig: Path, namespace: str, *arguments: str | Path, given: str | None = None) -> str:
    """What Helm prints when it talks to this cluster; fails with what it says where it fails."""
    done = helm.run(*arguments, "--kubeconfig", kubeconfig, "--namespace", namespace, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Those of a kind, by name."""
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}
