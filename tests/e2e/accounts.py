"""The service accounts of the chart, as the four services have them."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.chart import RELEASE, at, install
from tests.e2e.processes import STAGES
from tests.stack.helm import Helm
from tests.stack.kubernetes import Kubernetes

KEYS = {
    "discovery": {"dns_ip", "dns_port", "tsig_key"},
    "collector": {"username", "password"},
    "applier": {"bus_key"},
}
"""What each needs of the Secret's keys; the renderer, for templates, all but what DNS is asked with."""


@contextmanager
def installed(helm: Helm, kubernetes: Kubernetes, namespace: str, **values: Any) -> Iterator[dict[str, str]]:
    """The chart installed; yields a token for each service."""
    install(helm, kubernetes.kubeconfig, namespace, **values)
    try:
        yield {stage: kubernetes.service_account_token(namespace, f"vcenter-operator-{stage}") for stage in STAGES}
    finally:
        at(helm, kubernetes.kubeconfig, namespace, "uninstall", RELEASE)


def kubeconfig_of(kubernetes: Kubernetes, token: str, path: Path) -> Path:
    """The administrator's, with the token for the certificate."""
    config: dict[str, Any] = yaml.safe_load(kubernetes.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path.write_text(yaml.safe_dump(config))
    return path


def secrets_of(shared: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A Secret for each service, with what it needs of the shared one."""
    for stage in STAGES:
        keys = KEYS.get(stage, shared["data"].keys() - KEYS["discovery"])
        data = {key: value for key, value in shared["data"].items() if key in keys}
        metadata = {**shared["metadata"], "name": f"{shared['metadata']['name']}-{stage}"}
        yield {**shared, "metadata": metadata, "data": data}


def status(kubernetes: Kubernetes, token: str, request: str) -> int:
    """What the API server answers to `METHOD /path` with this token; rights are looked at before anything else."""
    method, path = request.split()
    place = urlsplit(kubernetes.url)
    context = ssl.create_default_context(cafile=str(kubernetes.ca))
    connection = http.client.HTTPSConnection(place.netloc, timeout=15, context=context)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps({}) if method != "GET" else None, headers)
        return connection.getresponse().status
    finally:
        connection.close()
