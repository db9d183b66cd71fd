"""No diff shows a value of a Secret or a derived password, and each still tells that one differs."""

from __future__ import annotations

import base64
from typing import Any

from vcenter_operator.command.diff.masking import masked
from vcenter_operator.command.diff.text import unified
from vcenter_operator.common import labels
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.masterpassword import LONG_PASSWORD, site_password, user_key

KEY = user_key("m3nova", "a seed")
OLD, NEW, OTHER = (site_password(user_key("m3nova", seed), "vc-a-0") for seed in ("a seed", "another seed", "third"))


def secret(**values: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": values}


def config(text: str, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "c", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"agent.conf": text}}


def test_secrets_are_masked_as_kubectl_diff_does() -> None:
    before, after = masked(
        secret(same="QQ==", other="QQ==", gone="QQ=="), secret(same="QQ==", other="Qg==", new="QQ==")
    )
    assert before is not None
    assert after is not None
    assert before["data"] == {"same": "***", "other": "*** (before)", "gone": "***"}
    assert after["data"] == {"same": "***", "other": "*** (after)", "new": "***"}
    assert masked(None, secret(new="QQ=="))[1]["data"] == {"new": "***"}  # type: ignore[index]


def test_the_text_of_a_secret_that_has_no_server_is_masked_too() -> None:
    before, after = masked(
        {"kind": "Secret", "stringData": {"conf": "a"}}, {"kind": "Secret", "stringData": {"conf": "b"}}
    )
    assert (before, after) == (
        {"kind": "Secret", "stringData": {"conf": "*** (before)"}},
        {"kind": "Secret", "stringData": {"conf": "*** (after)"}},
    )


def test_derived_passwords_are_known_by_their_form_whatever_the_seed_and_the_place() -> None:
    escaped = NEW.replace("$", "$$")
    encoded = base64.b64encode(f"user:{NEW}".encode()).decode()
    before, after = masked(
        config(f"host_password = {OLD}\nuser = m3nova"),
        config(f"host_password = {escaped}\nuser = m3nova\nurl = https://u:{NEW}@h\nauth = {encoded}", note=NEW),
    )
    assert before == config("host_password = *** (before)\nuser = m3nova")
    marked = "*** (after)"
    assert after == config(
        f"host_password = {marked}\nuser = m3nova\nurl = https://u:{marked}@h\nauth = {marked}", note=marked
    )


def test_a_password_that_stays_the_same_shows_no_difference() -> None:
    before, after = masked(config(f"password = {OLD}"), config(f"password = {OLD}\nmore = 1"))
    assert before == config("password = ***")
    assert after == config("password = ***\nmore = 1")


def test_every_derived_password_has_one_of_the_forms() -> None:
    passwords = [site_password(KEY, f"vc-{number}") for number in range(2000)]
    assert all(LONG_PASSWORD.fullmatch(password) for password in passwords)
    assert (
        LONG_PASSWORD.search("nova-compute-bb1 eph_bb001_ds01 productionbb001 registry.example.org/ccloud:2026.2")
        is None
    )


def test_what_the_operator_and_the_server_note_is_no_difference() -> None:
    object_id = ObjectId("", "ConfigMap", "n", "c")
    before = config("a = 1", **{labels.DIGEST: "old", labels.REVISION: "1.1"})
    before["metadata"] |= {"managedFields": [{}], "resourceVersion": "7", "generation": 3, "uid": "u"}
    after = config("a = 1", **{labels.DIGEST: "new", labels.REVISION: "2.1"}) | {"status": {"seen": 1}}
    assert unified(object_id, before, after) == []
    lines = unified(object_id, before, config("a = 2", **{labels.DIGEST: "new"}))
    assert lines[:3] == ["--- live/n/configmap-c.yaml", "+++ planned/n/configmap-c.yaml", "@@ -3,4 +3,4 @@"]
    assert [line for line in lines[3:] if line[0] != " "] == ["-  agent.conf: a = 1", "+  agent.conf: a = 2"]
    assert unified(object_id, None, before)[:2] == ["--- /dev/null", "+++ planned/n/configmap-c.yaml"]
    assert unified(object_id, before, None)[:2] == ["--- live/n/configmap-c.yaml", "+++ /dev/null"]
