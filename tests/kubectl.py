"""The real kubectl, as people use it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from tests.stack.kubernetes import ExternalKubernetes, Kubernetes


def kubectl(
    kubernetes: Kubernetes | ExternalKubernetes,
    *arguments: str,
    given: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What it prints; fails with what it says where it fails. `given` is its standard input."""
    done = run(kubernetes, *arguments, given=given, environment=environment)
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def run(
    kubernetes: Kubernetes | ExternalKubernetes,
    *arguments: str,
    given: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """The process, ended."""
    assert kubernetes.kubectl is not None, "kubectl is needed"
    command = [str(kubernetes.kubectl), "--kubeconfig", str(kubernetes.kubeconfig), *arguments]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
