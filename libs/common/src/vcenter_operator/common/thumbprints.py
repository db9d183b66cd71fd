"""SHA-256 thumbprints of certificates: by vCenter, as operators write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SHA256 = re.compile("[0-9a-f]{64}")


def parse(value: Any) -> dict[str, frozenset[str]]:
    """FQDN to thumbprints (64 lower-case hex digits), from FQDN to one thumbprint or a list of them.

    In a thumbprint colons, spaces and upper case are passed over, as `openssl x509 -fingerprint -sha256` prints them.
    Several are for the time in which a certificate is replaced. Raises ValueError, which names the vCenter.
    """
    if not isinstance(value, Mapping):
        raise ValueError("expected an object of FQDN to SHA-256 thumbprint")
    return {str(host).strip().rstrip(".").lower(): _all(host, given) for host, given in value.items()}


def shown(thumbprint: str) -> str:
    """As operators write it: pairs of upper-case digits between colons."""
    return ":".join(thumbprint[i : i + 2] for i in range(0, len(thumbprint), 2)).upper()


def _all(host: Any, given: Any) -> frozenset[str]:
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, list | set | frozenset) else []
    found = frozenset(re.sub(r"[\s:]", "", text).lower() if isinstance(text, str) else "" for text in texts)
    if not found or not all(_SHA256.fullmatch(thumbprint) for thumbprint in found):
        raise ValueError(f"{host}: expected a SHA-256 thumbprint (64 hex digits, colons allowed) or a list of them")
    return found
