"""The cluster behind a Kubernetes API server."""

from vcenter_operator.applier.adapters.kubernetes.cluster import DryRunCluster, KubernetesCluster
from vcenter_operator.applier.adapters.kubernetes.freeze import ConfigMapFreeze

__all__ = ["ConfigMapFreeze", "DryRunCluster", "KubernetesCluster"]
