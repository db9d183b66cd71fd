"""A kube-apiserver with its etcd on loopback, or the cluster that ``VCO_TEST_KUBECONFIG`` names.

Only these two run, so nothing that controllers do happens: no default service accounts (the ServiceAccount admission
is off for that reason), no garbage collection by owner references, no endpoints, and a deleted namespace stays
``Terminating`` with all that is in it.
"""

from __future__ import annotations

import abc
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.stack import golang, progress
from tests.stack.certificates import CertificateAuthority, KeyPair, signing_key
from tests.stack.errors import NotOurs, StackError
from tests.stack.process import ServerProcess

KUBERNETES = "k8s.io/kubernetes"
ETCD = "go.etcd.io/etcd/server/v3"
OLDEST = (1, 30)
CLUSTER = "qa-de-1"  # the name that the kubeconfig's context gives its cluster: the operator reads the region from it


@dataclass(frozen=True)
class Binaries:
    """The programs, and where they come from."""

    apiserver: Path
    etcd: Path
    kubectl: Path | None
    version: str
    etcd_version: str
    source: str


def install(say: progress.Say) -> Binaries:
    """kube-apiserver, etcd and kubectl: from ``KUBEBUILDER_ASSETS`` where it is set, else built from modules."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        return _assets(Path(assets))
    version = golang.required_version("kubernetes", KUBERNETES)
    etcd_version = golang.required_version("etcd", ETCD)
    major, minor = version.lstrip("v").split(".")[:2]
    # Without these the server calls itself v0.0.0, and its emulated version falls back with it.
    stamp = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/component-base/version.gitTreeState": "clean",
    }

    def built(name: str) -> Path:
        return golang.build(name, "kubernetes", f"{KUBERNETES}/cmd/{name}", version, say, definitions=stamp)

    etcd = golang.build("etcd", "etcd", ETCD, etcd_version, say)
    return Binaries(built("kube-apiserver"), etcd, built("kubectl"), version, etcd_version, "built from the Go module")


def _assets(folder: Path) -> Binaries:
    apiserver, etcd = folder / "kube-apiserver", folder / "etcd"
    version = _first(r"v\d+\.\d+\.\S+", apiserver)
    numbers = tuple(int(part) for part in version.lstrip("v").split(".")[:2])
    if numbers < OLDEST:
        raise StackError(
            f"KUBEBUILDER_ASSETS has kube-apiserver {version}, and {OLDEST[0]}.{OLDEST[1]} is the oldest to do"
        )
    kubectl = folder / "kubectl"
    found = kubectl if kubectl.exists() else None
    return Binaries(apiserver, etcd, found, version, "v" + _first(r"\d+\.\d+\.\d+", etcd), "KUBEBUILDER_ASSETS")


def _first(pattern: str, program: Path) -> str:
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackError(f"KUBEBUILDER_ASSETS: {program}: {error}") from error
    found = re.search(pattern, text)
    if found is None:
        raise StackError(f"{program} --version does not tell a version: {text!r}")
    return found[0]


class KubernetesClient(abc.ABC):
    """The few calls that tests need to prepare a cluster, with the administrator's rights.

    Attributes: ``kubeconfig`` (path of the administrator's), ``kubectl`` (path, or None).
    """

    kubeconfig: Path
    kubectl: Path | None

    @abc.abstractmethod
    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        """The decoded answer of one call of the API; a StackError with status and message when it is none of 2xx."""

    def create_namespace(self, name: str) -> None:
        """Create a namespace; nothing when it is there."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            self.request("POST", "/api/v1/namespaces", body)
        except StackError as error:
            if "AlreadyExists" not in str(error):
                raise

    def server_version(self) -> str:
        """The version that the API server says it is (``v1.35.4``)."""
        return str(self.request("GET", "/version")["gitVersion"])


class Kubernetes(KubernetesClient):
    """One kube-apiserver with TLS, RBAC and no anonymous access, on an etcd of its own.

    ``kill``, ``pause``, ``resume`` and ``start`` after them concern the API server; etcd, which ``stop`` stops last, is
    at ``etcd``. What was written survives both being killed.
    """

    controllable = True

    def __init__(self, binaries: Binaries, folder: Path, ca: CertificateAuthority) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._ca = ca
        self._binaries = binaries
        self.version = f"{binaries.version} (etcd {binaries.etcd_version})"
        self.source = binaries.source
        self.kubectl = binaries.kubectl
        self.port = free_port()
        self._etcd_ports = free_port(), free_port()
        self._serving = ca.server("kube-apiserver", "localhost", "127.0.0.1", "kubernetes.default.svc")
        self._etcd_pair = ca.peer("etcd", "127.0.0.1")
        signing_key(folder / "accounts.key", folder / "accounts.pub")
        self._admin = ca.client("admin", "system:masters")
        self.kubeconfig = self._write_kubeconfig("admin", self._admin)
        self.etcd = ServerProcess("etcd", self._etcd_command(), log=folder / "etcd.log")
        self._process = ServerProcess("kube-apiserver", self._apiserver_command(), log=folder / "kube-apiserver.log")

    @property
    def url(self) -> str:
        """``https://`` address; trust ``ca``."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        """The authority of the server's certificate."""
        return self._ca.certificate

    def start(self) -> None:
        """Start etcd, where it does not run, and the API server, and wait until it is ready."""
        if not self.etcd.running:
            self.etcd.start(self._etcd_ready, timeout=30)
        self._process.start(self._ready, timeout=120)

    def stop(self) -> None:
        """Stop the API server, then etcd."""
        self._process.stop(timeout=20)
        self.etcd.stop(timeout=10)

    def kill(self) -> None:
        """SIGKILL the API server."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP the API server."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT the API server."""
        self._process.resume()

    def paused(self) -> AbstractContextManager[None]:
        """The API server paused inside the ``with`` block."""
        return self._process.paused()

    @property
    def running(self) -> bool:
        """Whether the API server's process is there."""
        return self._process.running

    def user_kubeconfig(self, user: str, *groups: str) -> Path:
        """A kubeconfig for a user with a client certificate, who may do what RBAC grants them (nothing, at first)."""
        return self._write_kubeconfig(user, self._ca.client(user, *groups))

    def service_account_token(self, namespace: str, name: str, seconds: int = 3600) -> str:
        """A token of a service account, from the TokenRequest API; the account is created where it is missing."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        try:
            self.request("POST", accounts, {"metadata": {"name": name}})
        except StackError as error:
            if "AlreadyExists" not in str(error):
                raise
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        return str(self.request("POST", f"{accounts}/{name}/token", body)["status"]["token"])

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        """See ``KubernetesClient``."""
        status, text = self._call(method, path, body, content_type)
        deadline = time.monotonic() + 15
        while status == 429 and time.monotonic() < deadline:  # just started: "storage is (re)initializing"
            time.sleep(0.2)
            status, text = self._call(method, path, body, content_type)
        if not 200 <= status < 300:
            raise StackError(f"{method} {path}: {status}: {text.strip()}")
        return json.loads(text)

    def metrics(self) -> str:
        """The API server's own metrics, in Prometheus' text format."""
        return self._call("GET", "/metrics", None, "text/plain")[1]

    def _call(self, method: str, path: str, body: object, content_type: str) -> tuple[int, str]:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self._admin.certificate, self._admin.key)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=15, context=context)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(
                method, path, payload, {"Content-Type": content_type, "Accept": "application/json, text/plain"}
            )
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def _ready(self) -> bool:
        try:
            status, _ = self._call("GET", "/readyz", None, "application/json")
        except http.client.HTTPException:
            return False
        return status == 200

    def _etcd_ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self._etcd_pair.certificate, self._etcd_pair.key)
        connection = http.client.HTTPSConnection("127.0.0.1", self._etcd_ports[0], timeout=5, context=context)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def _etcd_command(self) -> list[str | Path]:
        client, peer = (f"https://127.0.0.1:{port}" for port in self._etcd_ports)
        pair = self._etcd_pair
        return [
            self._binaries.etcd, "--name=vco", f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=vco={peer}",
            f"--cert-file={pair.certificate}", f"--key-file={pair.key}",
            f"--trusted-ca-file={self.ca}", "--client-cert-auth",
            f"--peer-cert-file={pair.certificate}", f"--peer-key-file={pair.key}",
            f"--peer-trusted-ca-file={self.ca}", "--peer-client-cert-auth",
            "--unsafe-no-fsync", "--logger=zap",
        ]  # fmt: skip

    def _apiserver_command(self) -> list[str | Path]:
        folder, pair = self._folder, self._etcd_pair
        return [
            self._binaries.apiserver,
            f"--etcd-servers=https://127.0.0.1:{self._etcd_ports[0]}",
            f"--etcd-cafile={self.ca}", f"--etcd-certfile={pair.certificate}", f"--etcd-keyfile={pair.key}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none", f"--cert-dir={folder}",
            f"--tls-cert-file={self._serving.certificate}", f"--tls-private-key-file={self._serving.key}",
            f"--client-ca-file={self.ca}", "--anonymous-auth=false", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            "--service-cluster-ip-range=10.96.0.0/16", "--disable-admission-plugins=ServiceAccount",
            "--profiling=false",
        ]  # fmt: skip

    def _write_kubeconfig(self, user: str, pair: KeyPair) -> Path:
        # JSON is YAML; the context is named like the cluster.
        cluster = {"server": self.url, "certificate-authority": str(self.ca)}
        credentials = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CLUSTER, "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": user}}],
            "current-context": CLUSTER,
        }
        file = self._folder / f"{user.replace(':', '_')}.kubeconfig"
        file.write_text(json.dumps(content, indent=2) + "\n")
        file.chmod(0o600)
        return file


class ExternalKubernetes(KubernetesClient):
    """The cluster of ``VCO_TEST_KUBECONFIG``, spoken to with ``kubectl``: not ours to stop."""

    controllable = False
    version = "as it runs"
    source = "VCO_TEST_KUBECONFIG"
    running = True

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        found = shutil.which("kubectl")
        self.kubectl = Path(found) if found else None

    def start(self) -> None:
        """Check that it answers."""
        self.version = self.server_version()

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        """See ``KubernetesClient``; POST, GET and DELETE only."""
        verbs = {"GET": "get", "POST": "create", "DELETE": "delete"}
        if self.kubectl is None or method not in verbs:
            raise StackError("an external cluster takes GET, POST and DELETE, and needs kubectl")
        argv = [str(self.kubectl), "--kubeconfig", str(self.kubeconfig), verbs[method], "--raw", path]
        given = None if body is None else json.dumps(body)
        done = subprocess.run(
            [*argv, *(["-f", "-"] if given else [])], input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StackError(f"{method} {path}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def stop(self) -> None:
        """Nothing: it goes on."""

    def kill(self) -> None:
        """Refused."""
        raise NotOurs("the cluster of VCO_TEST_KUBECONFIG is not ours to stop, kill or pause")

    def pause(self) -> None:
        """Refused."""
        self.kill()

    def resume(self) -> None:
        """Refused."""
        self.kill()

    def paused(self) -> AbstractContextManager[None]:
        """Refused."""
        raise NotOurs("the cluster of VCO_TEST_KUBECONFIG is not ours to pause")
