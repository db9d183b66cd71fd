"""A region on real servers: a zone, vCenters, a namespace with Secret, cells and templates, a virtual host."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests import recorded
from tests.e2e.processes import Fleet, Service
from tests.stack.errors import StackError
from tests.waiting import eventually
from vcenter_operator.common import labels
from vcenter_operator.common.identity import partition_of
from vcenter_operator.common.kubernetes import crds
from vcenter_operator.common.kubernetes.leases import lease_name
from vcenter_operator.common.masterpassword import derive_password

EXAMPLES = Path(__file__).parents[2] / "examples" / "site" / "manifests"
SEED = "a seed for tests"
USERNAME = "m3nova"
PARTITIONS = 4
BUS_KEY = recorded.BUS_KEY
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TEMPLATES = f"/apis/{labels.GROUP}/v1/vcenter-templates"
KINDS = {
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "VCenterTemplate": f"/apis/{labels.GROUP}/v1/namespaces/{{namespace}}/vcenter-templates",
}


class Region:
    """Everything around the operator, and what it made of it."""

    def __init__(
        self, kubernetes: Any, zone: Any, amqp_url: str, namespace: str, vcsim_factory: Callable[..., Any], folder: Path
    ) -> None:
        self.kubernetes = kubernetes
        self.zone = zone
        self.amqp_url = amqp_url
        self.namespace = namespace
        self.folder = folder
        self.seed = SEED
        self.vcenters: dict[str, Any] = {}
        self._start_vcsim = vcsim_factory
        self._fleets: list[Fleet] = []

    # -- set-up

    def prepare(self, templates: Collection[str] = ()) -> None:
        """CRDs, Secret, cells and the example's templates, or only some of them."""
        for manifest in crds.definitions():
            self.apply(f"{DEFINITIONS}/{manifest['metadata']['name']}", manifest)
        eventually(self._knows_templates, "the API server serves VCenterTemplates", within=30)
        self.clear()
        self.put_secret()
        for path in sorted(EXAMPLES.glob("*.yaml")):
            if path.name != "secret.yaml" and (not templates or path.stem in {"cells", *templates}):
                for manifest in self.example(path.name):
                    self.put(manifest)

    def _knows_templates(self) -> bool:
        try:
            self.kubernetes.request("GET", TEMPLATES)
        except StackError:
            return False
        return True

    def clear(self) -> None:
        """Templates and cells are read from all namespaces: takes away those of other tests."""
        self.clear_templates()
        cells = "/api/v1/configmaps?labelSelector=system%3Dopenstack%2Ccomponent%3Dnova%2Ctype%3Dnova-cell"
        for found in self.kubernetes.request("GET", cells)["items"]:
            self.delete("ConfigMap", found["metadata"]["name"], found["metadata"]["namespace"])

    def clear_templates(self) -> None:
        """Deletes every template there is."""
        for template in self.kubernetes.request("GET", TEMPLATES)["items"]:
            self.delete("VCenterTemplate", template["metadata"]["name"], template["metadata"]["namespace"])

    def put_secret(self, **changes: str | None) -> None:
        """Applies the Secret `vcenter-operator`."""
        self.put(self.secret(**changes))

    def secret(self, **changes: str | None) -> dict[str, Any]:
        """The Secret `vcenter-operator`; None takes a key out."""
        values: dict[str, str | None] = {
            "namespace": self.namespace,
            "username": USERNAME,
            "password": self.seed,
            "bus_key": BUS_KEY,
            "tsig_key": self.zone.tsig_key,
            "dns_ip": self.zone.address,
            "dns_port": str(self.zone.port),
            "global_registry": "registry.example.org/ccloud",
            "nova_image_version": "1",
            "cinder_image_version": "1",
            "neutron_image_version": "1",
            **changes,
        }
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items() if value is not None}
        metadata = {"name": "vcenter-operator", "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}

    def vcenter(
        self,
        name: str,
        datacenter: str = "QA-DE-1A",
        clusters: int = 2,
        *,
        listed: bool = True,
        block: int | None = None,
    ) -> Any:
        """A vCenter in the zone with production clusters, from building block `block` on (10 for the first, 20...)."""
        host = f"{name}.{self.zone.zone}"
        vcenter = self._start_vcsim(host, password=derive_password(USERNAME, self.seed, host), username=USERNAME)
        vcenter.add_datacenter(datacenter)
        self.vcenters[name] = vcenter
        first = len(self.vcenters) * 10 if block is None else block
        for number in range(first, first + clusters):
            self.cluster(name, number, datacenter)
        if listed:
            self.zone.add(name, "A", vcenter.address)
        return vcenter

    def cluster(self, vcenter: str, number: int, datacenter: str = "QA-DE-1A") -> None:
        """Adds the production cluster of a building block."""
        self.vcenters[vcenter].add_cluster(
            datacenter, f"productionbb{number:03}", [f"eph_bb{number:03}_ds01"], ["Management", f"br-bb{number:03}"]
        )

    def change_password(self, seed: str) -> None:
        """The Secret has another password, and the vCenters the accounts that follow from it."""
        self.seed = seed
        for vcenter in self.vcenters.values():
            vcenter.set_password(derive_password(USERNAME, seed, vcenter.fqdn))
        self.put_secret()

    def credentials(self, cluster: int, vcenter: str) -> bool:
        """Whether the Secret of a cluster's agent has the password that follows from the present seed."""
        secret = self.objects()[f"Secret/nova-compute-bb{cluster}-credentials"]["data"]["nova-compute-secrets.conf"]
        password = derive_password(USERNAME, self.seed, self.vcenters[vcenter].fqdn)
        return password.replace("$", "$$") in base64.b64decode(secret).decode()

    def owner(self, fleet: Fleet, stage: str, vcenter: str) -> Service:
        """The replica that owns the vCenter's partition, as the Lease of its epoch names it."""
        partition = 0 if stage == "discovery" else partition_of(f"{vcenter}.{self.zone.zone}", PARTITIONS)
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"
        lease = self.kubernetes.request("GET", f"{leases}/{lease_name(f'{stage}-{partition}')}")
        pid = int(lease["spec"]["holderIdentity"].rpartition("-")[2])
        return next(service for service in fleet[stage] if service.process.pid == pid)

    def environment(self, kubeconfig: str | None = None, log_level: str = "INFO", **settings: str) -> dict[str, str]:
        """What a process of the operator is told."""
        return {
            "KUBECONFIG": kubeconfig or str(self.kubernetes.kubeconfig),
            "SERVICE_DOMAIN": self.zone.zone,
            "LOG_LEVEL": log_level,
            **{
                f"VCENTER_OPERATOR_{key.upper()}": value
                for key, value in {
                    "bus": self.amqp_url,
                    "namespace": self.namespace,
                    "partitions": str(PARTITIONS),
                    "heartbeat": "2",
                    "vcenter_port": str(next(iter(self.vcenters.values())).port),
                    "vcenter_ca": str(next(iter(self.vcenters.values())).ca),
                    "dns_poll_every": "1",
                    "log_format": "json",
                    **settings,
                }.items()
            },
        }

    def fleet(self, replicas: int = 1, arguments: Sequence[str] = (), **settings: str) -> Fleet:
        """The four services, started."""
        return self.start(Fleet(self.environment(**settings), self.folder, replicas, arguments))

    def start(self, fleet: Fleet) -> Fleet:
        """Starts a fleet, which ends with the region."""
        self._fleets.append(fleet)
        fleet.start()
        return fleet

    def close(self) -> None:
        """Ends every process and takes the templates away."""
        for fleet in self._fleets:
            fleet.close()
        self.clear()

    # -- manifests

    def example(self, name: str) -> list[dict[str, Any]]:
        """The documents of a file of the example region, moved to this region's namespace."""
        text = (EXAMPLES / name).read_text().replace("monsoon3", self.namespace)
        return [document for document in yaml.safe_load_all(text) if document]

    def put(self, manifest: dict[str, Any], manager: str = "kubectl") -> None:
        """Server-side apply into the region's namespace."""
        manifest["metadata"]["namespace"] = self.namespace
        self.apply(f"{self._path(manifest['kind'])}/{manifest['metadata']['name']}", manifest, manager)

    def apply(self, path: str, manifest: dict[str, Any], manager: str = "kubectl") -> None:
        """Server-side apply as a person would with kubectl, or as another field manager."""
        self.kubernetes.request(
            "PATCH", f"{path}?fieldManager={manager}&force=true", manifest, content_type="application/apply-patch+yaml"
        )

    def edit_template(self, name: str, pattern: str, replacement: str) -> None:
        """Replaces text in a template, which has to be there."""
        template = self.get("VCenterTemplate", name)
        text, count = re.subn(pattern, replacement, template["template"])
        assert count, f"{pattern!r} is not in the template {name}"
        del template["metadata"]["managedFields"]
        self.put({**template, "template": text, "metadata": {"name": name}})

    def delete(self, kind: str, name: str, namespace: str | None = None) -> None:
        """Deletes an object; one that is gone already is fine (a list may be a moment behind)."""
        try:
            self.kubernetes.request("DELETE", f"{self._path(kind, namespace)}/{name}")
        except StackError as error:
            if "NotFound" not in str(error):
                raise

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Reads an object."""
        found: dict[str, Any] = self.kubernetes.request("GET", f"{self._path(kind)}/{name}")
        return found

    def _path(self, kind: str, namespace: str | None = None) -> str:
        return KINDS[kind].format(namespace=namespace or self.namespace)

    # -- what the operator made of it

    def objects(self) -> dict[str, dict[str, Any]]:
        """Every managed object, `Kind/name` to its manifest."""
        found = {}
        for kind in ("Secret", "ConfigMap", "Deployment"):
            path = f"{self._path(kind)}?labelSelector={labels.PART_OF}"
            for item in self.kubernetes.request("GET", path)["items"]:
                version = "apps/v1" if kind == "Deployment" else "v1"
                found[f"{kind}/{item['metadata']['name']}"] = {"apiVersion": version, "kind": kind, **item}
        return found

    def versions(self) -> dict[str, str]:
        """`Kind/name` to uid and resourceVersion: equal where nothing was written."""
        return {
            key: f"{item['metadata']['uid']}/{item['metadata']['resourceVersion']}"
            for key, item in self.objects().items()
        }

    def record_path(self, vcenter: str) -> str:
        """Where the VCenter resource is."""
        return f"/apis/{labels.GROUP}/v1/namespaces/{self.namespace}/vcenters/{vcenter}.{self.zone.zone}"

    def record(self, vcenter: str) -> dict[str, Any]:
        """The VCenter resource."""
        found: dict[str, Any] = self.kubernetes.request("GET", self.record_path(vcenter))
        return found

    def say(self, vcenter: str, **spec: Any) -> None:
        """As `kubectl patch vc` would."""
        patch = "application/merge-patch+json"
        self.kubernetes.request("PATCH", self.record_path(vcenter), {"spec": spec}, content_type=patch)

    def condition(self, vcenter: str, kind: str) -> dict[str, Any]:
        """A condition of the VCenter resource; empty where there is none."""
        try:
            conditions = self.record(vcenter).get("status", {}).get("conditions", [])
        except StackError:
            return {}
        return next((condition for condition in conditions if condition["type"] == kind), {})

    def expect(self, *names: set[str], within: float = 60) -> dict[str, dict[str, Any]]:
        """Waits until exactly these objects are there. Returns them."""
        wanted = set().union(*names)

        def there() -> dict[str, dict[str, Any]] | None:
            found = self.objects()
            missing, extra = sorted(wanted - found.keys()), sorted(found.keys() - wanted)
            assert (missing, extra) == ([], []), f"missing {missing}, extra {extra}"
            return found or {"": {}}

        found = eventually(there, "exactly the expected objects", within=within, otherwise=self.logs)
        return {key: value for key, value in found.items() if key}

    def stays(self, check: Callable[[], bool], what: str, seconds: float) -> None:
        """Fails as soon as `check` does not hold, within a time in which a wrong operator would have acted."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert check(), f"{what}\n{self.logs()}"
            time.sleep(0.2)

    def logs(self) -> str:
        """The last lines of every service's log."""
        return "\n".join(fleet.logs() for fleet in self._fleets)


def of_cluster(*numbers: int) -> set[str]:
    """What the example's templates yield for building blocks."""
    return {
        name.format(number)
        for number in numbers
        for name in (
            "ConfigMap/nova-compute-bb{}-etc",
            "Secret/nova-compute-bb{}-credentials",
            "Deployment/nova-compute-bb{}",
            "ConfigMap/neutron-dvs-agent-bb{}",
            "Deployment/neutron-dvs-agent-bb{}",
        )
    }


def of_zone(*zones: str) -> set[str]:
    """What they yield for availability zones."""
    return {f"{kind}/cinder-volume-vmware-{zone}" for zone in zones for kind in ("Secret", "Deployment")}


def region_of(
    kubernetes: Any, zone: Any, amqp_url: str, namespace: str, vcsim_factory: Any, folder: Path
) -> Iterator[Region]:
    """For fixtures: a prepared region, taken down afterwards."""
    region = Region(kubernetes, zone, amqp_url, namespace, vcsim_factory, folder)
    region.prepare()
    yield region
    region.close()
