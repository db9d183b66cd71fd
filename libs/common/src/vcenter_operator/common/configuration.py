"""The operator's configuration: the keys of a Secret (`vcenter-operator`), watched while it runs."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
import re
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import urlsplit

from vcenter_operator.common import thumbprints
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.masterpassword import derive_password, user_key
from vcenter_operator.common.sealing import Keyring, canonical, derived_key
from vcenter_operator.common.secretkeys import SECRET_KEYS

SECRET_NAME = "vcenter-operator"  # noqa: S105 - the name of the resource, not a secret
"""Of the Secret, where the settings name no other."""
ACCOUNT = ("username", "password")
"""Keys without which no password of a vCenter can be derived."""
OWN_SECRETS = frozenset(key.name for key in SECRET_KEYS if key.hidden)
"""Keys of the Secret that no template sees."""

_RAW = frozenset({"username", "password"})
_BUS_KEY_BYTES = 16
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""Of Kubernetes (RFC 1123 label)."""
_MAX_DEPTH = 100
"""Of JSON in a value: one that is nested deeper stays text, rather than stopping all that copies or sends it."""


@dataclass(frozen=True)
class Configuration:
    """One version of the Secret. Values are checked when it is made; see `parse`.

    `version` is its position in the watch (resourceVersion), for the provenance of what is made from it.
    """

    values: Mapping[str, str] = field(repr=False)
    version: int = 0
    name: str = SECRET_NAME
    """Of the Secret."""

    @classmethod
    def parse(
        cls,
        values: Mapping[str, str],
        version: int = 0,
        *,
        name: str = SECRET_NAME,
        required: Collection[str] = ACCOUNT,
    ) -> Configuration:
        """Checks every key that the operator itself uses; those `required` have to be there.

        Raises:
            ConfigurationError: names the key and what is expected; never repeats a value.
        """
        config = cls(dict(values), version, name)
        for key in required:
            config.required(key)
        if "namespace" in values:
            _ = config.namespace
        if "bus_key" in values:
            _ = config.keyring
        _ = config.dns_ip, config.dns_port, config.tsig_key, config.bus_url, config.vcenter_thumbprints
        if config._json("manage_service_user_passwords") is True:
            raise config._wrong(
                "manage_service_user_passwords",
                "service users managed in Vault are not supported yet: set it to false or remove it",
            )
        return config

    def required(self, key: str) -> str:
        """The value of a key that has to be there. Raises ConfigurationError."""
        value = self.values.get(key, "")
        if not value.strip():
            raise self._wrong(key, "is missing or empty")
        return value

    @property
    def username(self) -> str:
        """The user to log on to vCenters with."""
        return self.required("username")

    @property
    def namespace(self) -> str:
        """The namespace that holds the DNS service (and, by convention, the OpenStack agents).

        Raises ConfigurationError.
        """
        namespace = self._stated("namespace") or self.required("namespace")
        if not _NAMESPACE.fullmatch(namespace):
            raise self._wrong("namespace", "is not the name of a namespace")
        return namespace

    def password_for(self, host: str, username: str | None = None) -> str:
        """The derived password for a vCenter's FQDN. The first call for a user takes about 0.2 s of CPU."""
        return derive_password(username or self.username, self.required("password"), host)

    def digest_of(self, password: str) -> str:
        """Tells the user and this password from others, and gives nothing away where people may read it.

        An HMAC under a key that follows from `bus_key`, which is random. Where there is none it follows from the user's
        master key, each guess at which costs as much as deriving a password.
        """
        if "bus_key" in self.values:
            secret = self._bus_key("bus_key")
        else:
            secret = user_key(self.username, self.required("password"))
        key = derived_key(secret, b"credentials")
        return hmac.digest(key, canonical({"username": self.username, "password": password}), "sha256").hex()

    @property
    def tsig_key(self) -> str | None:
        """Base64 secret of the key `tsig-key` (hmac-sha256); None: the zone is transferred unsigned.

        Raises ConfigurationError.
        """
        key = self._stated("tsig_key")
        if key is not None and not _base64(key):
            raise self._wrong("tsig_key", "is not base64")
        return key

    @property
    def dns_ip(self) -> str | None:
        """Overrides the DNS server found by its Service. Raises ConfigurationError."""
        address = self._stated("dns_ip")
        try:
            return str(ipaddress.ip_address(address)) if address is not None else None
        except ValueError:
            raise self._wrong("dns_ip", "is not an IP address") from None

    @property
    def bus_url(self) -> str | None:
        """URL of RabbitMQ, where the settings name none; None: it is not here either. Raises ConfigurationError."""
        url = self._stated("bus_url")
        if url is not None and not _is_amqp(url):
            raise self._wrong("bus_url", "is not amqp://user:password@host:port/vhost, or amqps://")
        return url

    @property
    def dns_port(self) -> int | None:
        """Overrides the DNS server's port. Raises ConfigurationError."""
        if "dns_port" not in self.values:
            return None
        digits = self._stated("dns_port") or ""
        port = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else 0
        if not 0 < port < 65536:
            raise self._wrong("dns_port", "is not a port number (1 to 65535)")
        return port

    @cached_property
    def vcenter_thumbprints(self) -> Mapping[str, frozenset[str]]:
        """FQDN of a vCenter to the SHA-256 thumbprints of which its certificate has to have one.

        Public, so no secret: templates see it like any other key. Raises ConfigurationError.
        """
        if not self.values.get("vcenter_thumbprints", "").strip():
            return {}
        try:
            return thumbprints.parse(self._json("vcenter_thumbprints"))
        except ValueError as error:
            raise self._wrong("vcenter_thumbprints", f"is wrong: {error}") from None

    @property
    def pbm_enabled(self) -> bool:
        """Contract: only the JSON *string* `"true"`, quotes included, counts; the bare word does not."""
        return bool(self._json("pbm_enabled") == "true")

    @cached_property
    def keyring(self) -> Keyring:
        """Keys that seal manifests: `bus_key`, and `bus_key_previous` during a rotation. Raises ConfigurationError."""
        keys = [self._bus_key("bus_key")]
        if self.values.get("bus_key_previous"):
            keys.append(self._bus_key("bus_key_previous"))
        return Keyring(keys)

    @cached_property
    def template_variables(self) -> Mapping[str, Any]:
        """Every key as templates see it: JSON where it parses, else the string; the operator's own secrets left out."""
        return {
            key: value if key in _RAW else _parsed(value)
            for key, value in self.values.items()
            if key not in OWN_SECRETS
        }

    def _stated(self, key: str) -> str | None:
        """A value that the operator itself uses: a JSON string stands for its content, as in the deployed operator;

        without the space around it (a newline, where it comes from a file). None: missing or empty.
        """
        value = self._json(key)
        return (value if isinstance(value, str) else self.values.get(key, "")).strip() or None

    def _json(self, key: str) -> Any:
        return _parsed(self.values[key]) if key in self.values else None

    def _bus_key(self, key: str) -> bytes:
        secret = _base64(self.required(key))
        if len(secret) < _BUS_KEY_BYTES:
            raise self._wrong(key, "is not base64 of at least 16 random bytes; make one with: openssl rand -base64 32")
        return secret

    def _wrong(self, key: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"Secret {self.name}: key '{key}' {problem}")


class ConfigurationSource(Protocol):
    """Where the configuration comes from: the Secret in Kubernetes, or a file in a folder."""

    async def current(self) -> Configuration:
        """The configuration as far as it is known; read, where it is not.

        Raises:
            ConfigurationError: it is missing or wrong.
            TransientError: it cannot be read just now.
        """
        ...

    async def fresh(self) -> Configuration:
        """The configuration now, read after this was called. Raises as `current` does."""
        ...

    def changes(self) -> AsyncIterator[Configuration]:
        """Yields the current configuration, then every later valid one; a wrong one is logged, the last stays."""
        ...


def _parsed(value: str) -> Any:
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return value if _too_deep(parsed, _MAX_DEPTH) else parsed


def _too_deep(value: Any, left: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left == 0 or any(_too_deep(each, left - 1) for each in inner)


def _base64(text: str) -> bytes:
    """What the text stands for; empty: nothing, or it is no base64."""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_amqp(url: str) -> bool:
    try:
        parsed = urlsplit(url)
        return parsed.scheme in ("amqp", "amqps") and bool(parsed.hostname) and parsed.port != 0
    except ValueError:
        return False
