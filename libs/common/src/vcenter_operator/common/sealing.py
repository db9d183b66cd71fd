"""Sealing of manifest bodies, and their keyed digests.

A body is sealed with AES-256-GCM (`cryptography`) and bound to its vCenter, object and digest as associated
data: it cannot be read on the bus, nor moved to another object or vCenter. Two keys are accepted during a
rotation, the first seals. Keys for sealing and for digests are derived from one secret with HKDF (RFC 5869).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vcenter_operator.common.errors import PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId

_NONCE_BYTES = 12
_KEY_ID_BYTES = 4
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Keyring:
    """Seals, opens and digests with the operator's keys, the current one first."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets:
            raise ValueError("a keyring needs at least one key")
        self._ciphers: dict[bytes, AESGCM] = {}
        for secret in secrets:
            key = derived_key(secret, b"seal")
            self._ciphers.setdefault(hashlib.sha256(key).digest()[:_KEY_ID_BYTES], AESGCM(key))
        self._current = next(iter(self._ciphers))
        self._digest_key = derived_key(secrets[0], b"digest")

    def digest(self, manifest: Mapping[str, Any]) -> str:
        """HMAC-SHA256 (hex) of the manifest in canonical JSON."""
        return hmac.digest(self._digest_key, canonical(manifest), "sha256").hex()

    def seal(self, host: str, object_id: ObjectId, digest: str, manifest: Mapping[str, Any]) -> bytes:
        """The sealed body: key id, nonce, ciphertext."""
        return self._seal(host, object_id, digest, canonical(manifest))

    def sealed(self, host: str, object_id: ObjectId, manifest: Mapping[str, Any]) -> tuple[str, bytes]:
        """The digest and the sealed body at once."""
        body = canonical(manifest)
        digest = hmac.digest(self._digest_key, body, "sha256").hex()
        return digest, self._seal(host, object_id, digest, body)

    def _seal(self, host: str, object_id: ObjectId, digest: str, body: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = self._ciphers[self._current].encrypt(nonce, body, _bound(host, object_id, digest))
        return self._current + nonce + ciphertext

    def open(self, host: str, object_id: ObjectId, digest: str, sealed: bytes) -> dict[str, Any]:
        """The manifest that was sealed for exactly this vCenter, object and digest.

        Raises:
            TransientError: no key of ours fits: another process may have seen a new Secret before this one did.
            PermanentError: it was damaged, or sealed for something else.
        """
        key_id, rest = sealed[:_KEY_ID_BYTES], sealed[_KEY_ID_BYTES:]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise TransientError(f"{object_id}: sealed with key {key_id.hex()}, which is not in the Secret (bus_key)")
        try:
            body = cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _bound(host, object_id, digest))
        except (InvalidTag, ValueError):
            raise PermanentError(f"{object_id}: the sealed manifest is damaged, or belongs to another object") from None
        manifest = json.loads(body)
        assert isinstance(manifest, dict)
        return manifest


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and no spaces: equal manifests give equal bytes."""
    return _ENCODER.encode(manifest).encode("utf-8", "surrogatepass")


def derived_key(secret: bytes, purpose: bytes) -> bytes:
    """32 bytes for one purpose, which tell nothing of the secret nor of the key for another."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"vcenter-operator/" + purpose).derive(secret)


def _bound(host: str, object_id: ObjectId, digest: str) -> bytes:
    return "\n".join((host, str(object_id), digest)).encode()
