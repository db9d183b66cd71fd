"""Helm, built from its Go module, and the CRDs of operators that the chart has resources for."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.stack import cache, golang, progress
from tests.stack.errors import ServerUnavailable

MODULE = "helm.sh/helm/v3"
KUBERNETES = ("1", "35")
"""The version that charts are rendered for where no server is asked; without it Helm says v1.20."""


class Published(NamedTuple):
    """A release of an operator as a Go module: its checksum (as in a go.sum), and the files of its CRDs."""

    module: str
    version: str
    checksum: str
    files: tuple[str, ...]


OPERATORS = (
    Published(
        "github.com/rabbitmq/cluster-operator/v2",
        "v2.11.0",
        "h1:t1s8n1HLdYk52ZDv4FzRntm/iv2w61l1nJKSXzn9Iy8=",
        ("config/crd/bases/rabbitmq.com_rabbitmqclusters.yaml",),
    ),
    Published(
        "github.com/rabbitmq/messaging-topology-operator",
        "v1.15.0",
        "h1:OsvwWqxQFh0c3RbHgEkxMk+wTtqLMFhSlY/DZOh3mdc=",
        ("config/crd/bases/rabbitmq.com_users.yaml", "config/crd/bases/rabbitmq.com_permissions.yaml"),
    ),
    Published(
        "github.com/kedacore/keda/v2",
        "v2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ),
    Published(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
)


def version() -> str:
    """Helm's."""
    return golang.required_version("helm", MODULE)


def install(say: progress.Say) -> Path:
    """The binary; the CRDs are fetched as well."""
    foreign_definitions(say)
    stamp = {f"{MODULE}/internal/version.version": version()}
    for package in ("pkg/chartutil", "pkg/lint/rules"):
        stamp |= {
            f"{MODULE}/{package}.k8sVersion{name}": part
            for name, part in zip(("Major", "Minor"), KUBERNETES, strict=True)
        }
    return golang.build("helm", "helm", f"{MODULE}/cmd/helm", version(), say, definitions=stamp)


def foreign_definitions(say: progress.Say) -> Iterator[dict[str, Any]]:
    """The CustomResourceDefinitions of `OPERATORS`."""
    folders = [_fetched(operator, say) for operator in OPERATORS]
    return (yaml.safe_load(path.read_text()) for folder in folders for path in sorted(folder.glob("*.yaml")))


def _fetched(operator: Published, say: progress.Say) -> Path:
    name = operator.module.removeprefix("github.com/").replace("/", "-")
    key = f"{operator.version}-{hashlib.sha256(repr(operator.files).encode()).hexdigest()[:12]}"
    return cache.cached(f"crds-{name}", key, lambda target: _fetch(operator, target), say)


def _fetch(operator: Published, target: Path) -> None:
    argv = [golang.go_command("helm"), "mod", "download", "-json", f"{operator.module}@{operator.version}"]
    done = subprocess.run(argv, cwd=target, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise ServerUnavailable(f"{operator.module}: {done.stderr or done.stdout}")
    told = json.loads(done.stdout)
    if told["Sum"] != operator.checksum:
        raise ServerUnavailable(f"{operator.module}: its checksum is {told['Sum']}, and should be {operator.checksum}")
    for file in operator.files:
        path = Path(told["Dir"]) / file
        (target / path.name).write_bytes(path.read_bytes())


class Helm:
    """Runs Helm with folders of its own."""

    def __init__(self, binary: Path, home: Path) -> None:
        self._binary = binary
        self._environment = {
            **os.environ, **{f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        }  # fmt: skip

    def run(self, *arguments: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """The process, ended."""
        return subprocess.run(
            [self._binary, *arguments],
            input=given, env=self._environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
