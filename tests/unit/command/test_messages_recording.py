"""What is exported: nothing secret, and all that is needed to find out what happened."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.command.statements import BEGAN, HOST, TEMPLATE, delta, inventory, object_of, said, unit, zone
from vcenter_operator.command.messages.recording import Recording, read_recording, unpack
from vcenter_operator.command.messages.redaction import Redaction, masked_value
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.masterpassword import derive_password
from vcenter_operator.common.messages import ManifestDelta, Unknown
from vcenter_operator.common.sealing import Keyring
from vcenter_operator.common.surroundings import Surroundings

SEED = "the seed of all passwords"
PASSWORD = derive_password("m3nova", SEED, HOST)
KEY = b"a key of the bus, 32 bytes long!"
VALUES = {
    "username": "m3nova",
    "password": SEED,
    "bus_key": base64.b64encode(KEY).decode(),
    "tsig_key": "dHNpZy1zZWNyZXQ=",
    "bus_url": "amqp://operator:hunter2-of-the-bus@rabbitmq/",
    "namespace": "monsoon3",
    "registry_token": "token-0123456789",
    "region_name": "qa-de-1",
    "limits": '{"memory": 409613579, "hosts": ["esx-1.example.org"], "on": true, "none": null}',
    "image_version": "2026.2",
    "pbm_enabled": '"true"',
    "dns_ip": "192.0.2.53",
    "dns_port": "5353",
    "vcenter_thumbprints": "{}",
}
PLAINTEXTS = (
    "hunter2",
    "dHNpZy1zZWNyZXQ",
    SEED,
    PASSWORD,
    VALUES["bus_key"],
    "token-0123456789",
    "esx-1",
    "409613579",
)
WHERE = Surroundings("monsoon3", "qa-de-1", "cc.qa-de-1.cloud.sap", incluster=False)
SECRET_MANIFEST = {"kind": "Secret", "stringData": {"pw": PASSWORD}}
TEMPLATES = [
    {
        "apiVersion": "vcenter-operator.stable.sap.cc/v1",
        "kind": "VCenterTemplate",
        "metadata": {
            "name": "nova-compute", "namespace": "monsoon3", "uid": "u", "resourceVersion": "7", "generation": 3,
            "managedFields": [{"manager": "somebody"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "token-0123456789"},
        },
        "options": {"scope": "cluster"},
        "template": f"a: {{{{ name }}}}-qa-de-1\n# not {PASSWORD}, nor token-0123456789\n",
        "status": {"problem": "token-0123456789"},
    }
]  # fmt: skip


def resource(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}}


def sealed(number: int, ring: Keyring) -> tuple[str, bytes]:
    return ring.sealed(HOST, object_of(number), SECRET_MANIFEST)


def recorded(*, clear: tuple[str, ...] = ()) -> Recording:
    ring = Keyring([KEY])
    (one, body), (other, _) = sealed(1, ring), sealed(2, ring)
    stated = delta({1: one, 2: other, 3: "d3"}, manifests={object_of(1): body}, templates=2)
    reason = f"nobody should write {PASSWORD} into a reason, nor token-0123456789"
    stated = stated.model_copy(update={"unknown": (Unknown(template=TEMPLATE, unit=unit(4), reason=reason),)})
    redaction = Redaction.of(VALUES, clear)
    entries = [said(zone()), said(inventory(unknown=(7,)), 1), said(stated, 2)]
    return Recording(
        BEGAN,
        WHERE,
        tuple(map(redaction.entry, entries)),
        tuple(map(redaction.resource, TEMPLATES)),
        (),
        redaction.secret(),
    )


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    recording = recorded()
    (tmp_path / "file").write_text(recording.text())
    read = read_recording(tmp_path / "file")
    assert read == recording
    stated = read.entries[-1].statement
    assert isinstance(stated, ManifestDelta)
    assert stated.templates == {TEMPLATE: 2}
    assert read.entries[-1].sent == (object_of(1),)


def test_nothing_secret_leaves_and_what_is_equal_stays_equal() -> None:
    text = recorded().text()
    for plain in (*PLAINTEXTS, "last-applied", "managedFields"):
        assert plain not in text
    ring = Keyring([KEY])
    digest, body = sealed(1, ring)
    assert digest not in text
    for form in (base64.b64encode(body).decode(), body.hex(), repr(body)[2:-1]):
        assert form not in text
    index = recorded().entries[-1].statement.index  # type: ignore[union-attr]
    assert index[object_of(1)].digest == index[object_of(2)].digest != index[object_of(3)].digest
    # Another export has other digests: nobody can tell by one what stands in the other.
    assert index[object_of(1)].digest != recorded().entries[-1].statement.index[object_of(1)].digest  # type: ignore[union-attr]


def test_values_keep_their_form_and_those_that_are_no_secrets_can_be_kept() -> None:
    secret = recorded(clear=("image_version", "tsig_key", "password")).secret
    assert secret == {
        "username": "masked",
        "password": "masked",
        "namespace": "monsoon3",
        "registry_token": "masked",
        "region_name": "masked",
        "limits": '{"memory": 1, "hosts": ["masked"], "on": true, "none": null}',
        "image_version": "2026.2",
        "pbm_enabled": '"true"',
        "dns_ip": "192.0.2.53",
        "dns_port": "5353",
        "vcenter_thumbprints": "{}",
    }
    # What is unpacked is a Secret that the operator takes.
    Configuration.parse({**secret, "bus_key": VALUES["bus_key"]})
    assert masked_value("17") == "1"
    assert masked_value("[" * 100_000) == "masked"


def test_what_is_unpacked_can_be_rendered_from(tmp_path: Path) -> None:
    unpack(recorded(), tmp_path / "new")
    site = yaml.safe_load((tmp_path / "new" / "site.yaml").read_text())
    assert site == {"region": "qa-de-1", "domain": "cc.qa-de-1.cloud.sap", "namespace": "monsoon3", "vcenters": {}}
    manifests = [yaml.safe_load(path.read_text()) for path in (tmp_path / "new" / "manifests").rglob("*.yaml")]
    template, secret = sorted(manifests, key=lambda one: str(one["kind"]), reverse=True)
    assert template["metadata"] == {"name": "nova-compute", "namespace": "monsoon3"}
    assert template["template"] == "a: {{ name }}-qa-de-1\n# not masked, nor masked\n"
    assert secret["stringData"]["bus_key"] != VALUES["bus_key"]
    with pytest.raises(ConfigurationError, match="not empty"):
        unpack(recorded(), tmp_path / "new")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vcenterOperatorMessages": 2}, "no export of this version"),
        ({"statements": [{"for": "renderer"}]}, "statement 1"),
        ({"statements": [{"kind": "ResyncRequest", "statement": {}}]}, "statement 1"),
        ({"surroundings": {}}, "damaged"),
        (
            {"templates": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "b"}}]},
            "nothing to",
        ),
        (
            {"cells": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "../x", "namespace": "b"}}]},
            "nothing to",
        ),
    ],
)
def test_a_file_that_is_damaged_is_refused_by_name(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "file"
    path.write_text(json.dumps(json.loads(recorded().text()) | change))
    with pytest.raises(ConfigurationError, match=says):
        read_recording(path)
    path.write_text("[1")
    with pytest.raises(ConfigurationError, match="no JSON"):
        read_recording(path)
