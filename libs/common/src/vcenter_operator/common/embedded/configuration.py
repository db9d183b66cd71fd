"""The configuration from the folder of manifests: the Secret `vcenter-operator`, with `data` or `stringData`."""

from __future__ import annotations

from vcenter_operator.common.embedded.manifests import Manifests
from vcenter_operator.common.secret import SecretConfiguration


def configuration_of(manifests: Manifests, namespace: str) -> SecretConfiguration:
    """The `ConfigurationSource` on the Secret in `namespace`."""
    return SecretConfiguration(manifests.watched("", "Secret"), namespace)
