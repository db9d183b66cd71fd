"""The configuration from the folder of manifests: the Secret `vcenter-operator`, with `data` or `stringData`."""

from __future__ import annotations

from vcenter_operator.common.embedded.manifests import Manifests
from vcenter_operator.common.secret import SecretConfiguration
from vcenter_operator.common.settings import Settings


def configuration_of(manifests: Manifests, namespace: str, settings: Settings) -> SecretConfiguration:
    """The `ConfigurationSource` on the Secret in `namespace`."""
    return SecretConfiguration(
        manifests.watched("", "Secret"), namespace, settings.secret, required=settings.secret_keys
    )
