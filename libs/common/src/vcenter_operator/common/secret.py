"""The configuration as a watched Secret: in the cluster, or among the manifests of a folder."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from vcenter_operator.common.configuration import ACCOUNT, SECRET_NAME, Configuration
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.telemetry import logger
from vcenter_operator.common.watching import Snapshot, Watched

log = logger(__name__)


class SecretConfiguration:
    """A `ConfigurationSource` on a watched collection that holds the Secret `name` of `namespace`.

    `required` are keys without which it is not believed.
    """

    def __init__(
        self, secrets: Watched, namespace: str, name: str = SECRET_NAME, *, required: Collection[str] = ACCOUNT
    ) -> None:
        self._secrets = secrets
        self._namespace = namespace
        self._name = name
        self._required = required

    async def current(self) -> Configuration:
        """See `ConfigurationSource.current`."""
        return self._parsed(self._secrets.snapshot or await self._secrets.fresh())

    async def fresh(self) -> Configuration:
        """See `ConfigurationSource.fresh`."""
        return self._parsed(await self._secrets.fresh())

    async def changes(self) -> AsyncIterator[Configuration]:
        """See `ConfigurationSource.changes`."""
        last: Configuration | None = None
        async for snapshot in self._secrets.changes():
            try:
                configuration = self._parsed(snapshot)
            except ConfigurationError as error:
                log.error("configuration is wrong; the last good one stays", error=str(error))
                continue
            if last is None or configuration.values != last.values:
                last = configuration
                yield configuration

    def _parsed(self, snapshot: Snapshot) -> Configuration:
        secret = snapshot.items.get((self._namespace, self._name))
        if secret is None:
            raise ConfigurationError(f"Secret {self._name}: there is none in namespace {self._namespace}; create it")
        version = int(secret["metadata"]["resourceVersion"])
        return Configuration.parse(values_of(secret), version, name=self._name, required=self._required)


def values_of(secret: Mapping[str, Any]) -> dict[str, str]:
    """The Secret's values as text: `data` (base64), overlaid by `stringData` as the API server does it.

    A value that is no text is left out, with a warning that names its key.
    """
    values: dict[str, str] = {}
    for key, encoded in (secret.get("data") or {}).items():
        try:
            values[key] = base64.b64decode("".join((encoded or "").split()), validate=True).decode()
        except (ValueError, AttributeError):
            log.warning("a value of the Secret is no UTF-8 text in base64, and is left out", key=key)
    for key, value in (secret.get("stringData") or {}).items():
        values[key] = value if isinstance(value, str) else json.dumps(value, default=str)
    return values
