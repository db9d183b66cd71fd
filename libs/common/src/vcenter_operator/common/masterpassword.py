"""The Master Password algorithm, version 3, type *long* (https://masterpassword.app/masterpassword-algorithm.pdf).

Passwords are derived where they are used and are never sent.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import struct

_SCOPE = b"com.lyndir.masterpassword"
_SCRYPT = {"n": 32768, "r": 8, "p": 2, "dklen": 64, "maxmem": 128 * 1024 * 1024}

_TEMPLATES = (
    "CvcvnoCvcvCvcv", "CvcvCvcvnoCvcv", "CvcvCvcvCvcvno", "CvccnoCvcvCvcv", "CvccCvcvnoCvcv", "CvccCvcvCvcvno",
    "CvcvnoCvccCvcv", "CvcvCvccnoCvcv", "CvcvCvccCvcvno", "CvcvnoCvcvCvcc", "CvcvCvcvnoCvcc", "CvcvCvcvCvccno",
    "CvccnoCvccCvcv", "CvccCvccnoCvcv", "CvccCvccCvcvno", "CvcvnoCvccCvcc", "CvcvCvccnoCvcc", "CvcvCvccCvccno",
    "CvccnoCvcvCvcc", "CvccCvcvnoCvcc", "CvccCvcvCvccno",
)  # fmt: skip
_CHARACTERS = {
    "C": "BCDFGHJKLMNPQRSTVWXYZ",
    "c": "bcdfghjklmnpqrstvwxyz",
    "V": "AEIOU",
    "v": "aeiou",
    "n": "0123456789",
    "o": "@&%?,=[]_:-+*$#!'^~;()/.",
}

_ESCAPED_SYMBOLS = r"\$\$|%[0-9A-F]{2}"
"""As files of oslo.config and URLs have them."""


def _form(template: str) -> str:
    classes = {kind: f"[{re.escape(characters)}]" for kind, characters in _CHARACTERS.items()}
    classes["o"] = f"(?:{_ESCAPED_SYMBOLS}|{classes['o']})"
    return "".join(classes[kind] for kind in template)


LONG_PASSWORD = re.compile("|".join(map(_form, _TEMPLATES)))
"""Finds every password of the type *long* in a text, also where its symbol is escaped for oslo.config or a URL."""


@functools.lru_cache(maxsize=32)
def user_key(user: str, secret: str) -> bytes:
    """The user's 64-byte master key. About 0.2 s of CPU, so it is kept; call it in a thread the first time."""
    name = user.encode()
    return hashlib.scrypt(secret.encode(), salt=_SCOPE + struct.pack(">I", len(name)) + name, **_SCRYPT)


def site_password(key: bytes, site: str, counter: int = 1) -> str:
    """The *long* password of a site (for a vCenter: its FQDN) under a user's master key."""
    name = site.encode()
    message = _SCOPE + struct.pack(">I", len(name)) + name + struct.pack(">I", counter)
    seed = hmac.new(key, message, hashlib.sha256).digest()
    template = _TEMPLATES[seed[0] % len(_TEMPLATES)]
    picks = zip(template, seed[1:], strict=False)
    return "".join(_CHARACTERS[kind][byte % len(_CHARACTERS[kind])] for kind, byte in picks)


def derive_password(user: str, secret: str, site: str) -> str:
    """`site_password` of the user's key: what the operator logs on to the vCenter `site` with."""
    return site_password(user_key(user, secret), site)
