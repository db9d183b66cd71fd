"""A sealed manifest opens only with a key of ours, and only as what it was sealed for; its digest tells nothing."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcenter_operator.common.errors import OperatorError, PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.sealing import Keyring, canonical

OLD, NEW, FOREIGN = (letter * 32 for letter in (b"o", b"n", b"f"))
ID = ObjectId("", "Secret", "ns", "nova")
HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
MANIFEST = {"kind": "Secret", "metadata": {"name": "nova"}, "stringData": {"password": "hunter2"}}

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_a_manifest_opens_as_it_was_sealed(manifest: dict[str, Any]) -> None:
    keyring = Keyring([NEW])
    digest = keyring.digest(manifest)
    assert keyring.open(HOST, ID, digest, keyring.seal(HOST, ID, digest, manifest)) == manifest


def test_it_opens_for_nothing_else() -> None:
    keyring = Keyring([NEW])
    digest = keyring.digest(MANIFEST)
    sealed = keyring.seal(HOST, ID, digest, MANIFEST)
    elsewhere = [
        ("vc-b-0.cc.qa-de-1.cloud.sap", ID, digest),
        (HOST, ID._replace(name="cinder"), digest),
        (HOST, ID._replace(namespace="other"), digest),
        (HOST, ID, keyring.digest({})),
        (f"{HOST}\n{ID}", ObjectId("", "", "", ""), digest),
    ]
    for host, object_id, other_digest in elsewhere:
        with pytest.raises(PermanentError, match="damaged, or belongs to another"):
            keyring.open(host, object_id, other_digest, sealed)


@given(st.data())
@settings(max_examples=200)
def test_a_changed_byte_or_a_cut_is_noticed(data: st.DataObject) -> None:
    keyring = Keyring([NEW])
    sealed = bytearray(keyring.seal(HOST, ID, "digest", MANIFEST))
    place = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytes(sealed[:place]) if data.draw(st.booleans()) else None
    if changed is None:
        sealed[place] ^= data.draw(st.integers(1, 255))
        changed = bytes(sealed)
    with pytest.raises(OperatorError) as raised:
        keyring.open(HOST, ID, "digest", changed)
    assert "hunter2" not in str(raised.value)


def test_during_a_rotation_both_keys_open_and_the_first_seals() -> None:
    before, during, after = Keyring([OLD]), Keyring([NEW, OLD]), Keyring([NEW])
    old_body = before.seal(HOST, ID, "digest", MANIFEST)
    new_body = during.seal(HOST, ID, "digest", MANIFEST)
    assert during.open(HOST, ID, "digest", old_body) == MANIFEST
    assert after.open(HOST, ID, "digest", new_body) == MANIFEST
    for keyring, body in ((after, old_body), (before, new_body), (Keyring([FOREIGN]), new_body)):
        with pytest.raises(TransientError, match="not in the Secret"):
            keyring.open(HOST, ID, "digest", body)
    assert during.digest(MANIFEST) == after.digest(MANIFEST)


def test_nothing_of_the_body_shows_and_no_two_seals_are_alike() -> None:
    keyring = Keyring([NEW])
    sealed = [keyring.seal(HOST, ID, "digest", MANIFEST) for _ in range(2)]
    assert sealed[0] != sealed[1]
    for word in (b"hunter2", b"Secret", b"nova", NEW):
        assert word not in sealed[0]


def test_a_digest_is_of_the_content_and_of_the_key() -> None:
    keyring = Keyring([NEW])
    shuffled = dict(reversed(MANIFEST.items()))
    assert keyring.digest(shuffled) == keyring.digest(MANIFEST)
    assert keyring.digest({**MANIFEST, "kind": "ConfigMap"}) != keyring.digest(MANIFEST)
    assert keyring.digest(MANIFEST) != Keyring([OLD]).digest(MANIFEST)
    assert keyring.digest(MANIFEST) != hashlib.sha256(canonical(MANIFEST)).hexdigest()


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_canonical_is_json(manifest: dict[str, Any]) -> None:
    assert json.loads(canonical(manifest)) == manifest


def test_a_keyring_needs_a_key() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Keyring([])


def test_sealing_at_once_is_digesting_and_sealing() -> None:
    digest, body = Keyring([NEW]).sealed(HOST, ID, MANIFEST)
    assert digest == Keyring([NEW]).digest(MANIFEST)
    assert Keyring([OLD, NEW]).open(HOST, ID, digest, body) == MANIFEST
