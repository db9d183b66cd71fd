"""What templates are rendered for, and the variables that they see there (contract)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.identity import Unit
from vcenter_operator.common.messages import Cluster, ClusterRole, Inventory, Unknown
from vcenter_operator.common.surroundings import Surroundings
from vcenter_operator.renderer.core.cells import Cells

DATACENTER = "datacenter"


@dataclass(frozen=True)
class Scopes:
    """The units of one vCenter."""

    known: dict[Unit, Cluster | None]
    """In the order in which they are rendered: clusters, datacenters, storage clusters. None: a datacenter."""
    unknown: tuple[Unknown, ...]
    """What exists, or did, and is not known well enough to be rendered."""

    @property
    def all(self) -> tuple[Unit, ...]:
        """Everything that templates are rendered for, unknown ones included."""
        unknown = (each.unit for each in self.unknown if each.unit is not None)
        return tuple(dict.fromkeys((*self.known, *unknown)))


def scopes_of(inventory: Inventory) -> Scopes:
    """The units of an inventory: its clusters, and each availability zone with a production cluster.

    A zone whose production clusters are all unknown is unknown itself.
    """
    clusters = {cluster.unit: cluster for cluster in sorted(inventory.clusters, key=lambda each: each.unit)}
    zones = _zones(cluster for cluster in clusters.values() if cluster.role is ClusterRole.PRODUCTION)
    unknown = {each.unit: each.reason for each in inventory.unknown}
    for each in inventory.unknown:
        zone = Unit(DATACENTER, each.availability_zone)
        if each.role is ClusterRole.PRODUCTION and zone not in zones:
            unknown.setdefault(zone, f"nothing is known of its clusters: {each.cluster_name}: {each.reason}")
    known: dict[Unit, Cluster | None] = {}
    known |= {unit: each for unit, each in clusters.items() if each.role is ClusterRole.PRODUCTION}
    known |= dict.fromkeys(zones)
    known |= {unit: each for unit, each in clusters.items() if each.role is ClusterRole.STORAGE}
    return Scopes(
        {unit: each for unit, each in known.items() if unit not in unknown},
        tuple(Unknown(template=None, unit=unit, reason=reason) for unit, reason in unknown.items()),
    )


@dataclass(frozen=True)
class Region:
    """What is the same for every unit of every vCenter, but for the vCenter's own."""

    configuration: Configuration
    surroundings: Surroundings
    cells: frozenset[str]
    dry_run: bool = False

    def variables(self, host: str, password: str, unit: Unit, cluster: Cluster | None) -> dict[str, Any]:
        """The variables of a unit; of two with one name the later wins: computed, Secret, vCenter, cluster.

        `password` is the one derived for `host`.
        """
        short = host.partition(".")[0]
        return {
            **self._computed(),
            **self.configuration.template_variables,
            # the deployed operator always sets it, and true is refused when the Secret is read
            "manage_service_user_passwords": False,
            "username": self.configuration.username,
            "password": password,
            "host": host,
            "name": short,
            "availability_zone": unit.availability_zone,
            "vcenter_name": short,
            **(self._of_cluster(cluster) if cluster is not None else {}),
        }

    def _computed(self) -> dict[str, Any]:
        return {
            "dry_run": str(self.dry_run),
            "own_namespace": self.surroundings.own_namespace,
            "incluster": self.surroundings.incluster,
            "region": self.surroundings.region,
            "domain": self.surroundings.domain,
            "cells": Cells(self.cells),
        }

    def _of_cluster(self, cluster: Cluster) -> dict[str, Any]:
        optional = {"bridge": cluster.bridge, "physical": cluster.physical}
        if not self.configuration.pbm_enabled:
            optional["datastore_regex"] = cluster.datastore_regex
            optional["datastore_hagroup_regex"] = cluster.datastore_hagroup_regex
        return {
            "name": cluster.name,
            "cluster_name": cluster.cluster_name,
            "nsx_t_enabled": True,
            **{name: value for name, value in optional.items() if value is not None},
        }


def _zones(clusters: Iterable[Cluster]) -> list[Unit]:
    return sorted({Unit(DATACENTER, cluster.availability_zone) for cluster in clusters})
