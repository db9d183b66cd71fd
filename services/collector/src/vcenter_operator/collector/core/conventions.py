"""The conventions: what the names in a vCenter mean. Every rule is the contract's with the templates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from vcenter_operator.common.messages import ClusterRole

PRODUCTION = "production(.+)"
"""The default convention; the deployed operator's narrower one is `production(bb[0-9]+)`."""

HAGROUP_REGEX = r".*_hg(?P<hagroup>[ab])$"

_STORAGE = re.compile("storage(.+)", re.DOTALL)
_BUILDING_BLOCK = re.compile("bb0*([0-9]+)")
_HAGROUP = re.compile(HAGROUP_REGEX, re.IGNORECASE)
_EPHEMERAL = "eph"
_BRIDGE = "br-"


class Name(NamedTuple):
    """What a cluster's name says."""

    role: ClusterRole
    name: str
    """The template variable `name`."""


@dataclass(frozen=True)
class Convention:
    """Which clusters are within the convention.

    `production` has to match the whole name of a production cluster, with one group: what stands after the prefix.
    """

    production: re.Pattern[str] = re.compile(PRODUCTION, re.DOTALL)

    def name(self, cluster_name: str) -> Name | None:
        """What the name of a cluster says; None: outside the convention."""
        if match := self.production.fullmatch(cluster_name):
            return Name(ClusterRole.PRODUCTION, _without_leading_zeros(match[1] or ""))
        if match := _STORAGE.fullmatch(cluster_name):
            return Name(ClusterRole.STORAGE, match[1])
        return None


def availability_zone(datacenter: str) -> str:
    """The availability zone of everything in a datacenter."""
    return datacenter.lower()


def datastore_regex(datastores: Iterable[str]) -> str:
    """What the cluster's ephemeral datastores have in common, as a pattern; `^.*` where there are none.

    The prefix is not escaped: the contract states these bytes, and deployed templates rely on them.
    """
    return f"^{_common_prefix(_ephemeral(datastores))}.*"


def datastore_hagroup_regex(datastores: Iterable[str]) -> str | None:
    """The pattern that tells the HA group of a datastore; None unless there are ephemeral ones of both groups."""
    groups = {match["hagroup"].lower() for name in _ephemeral(datastores) if (match := _HAGROUP.fullmatch(name))}
    return HAGROUP_REGEX if groups == {"a", "b"} else None


def bridge(networks: Iterable[str]) -> tuple[str, str] | tuple[None, None]:
    """`bridge` and `physical` of the first port group, in the cluster's own order, that is named `br-<suffix>`."""
    for name in networks:
        if is_bridge(name):
            return name.lower(), name.removeprefix(_BRIDGE).lower()
    return None, None


def is_ephemeral(datastore: str) -> bool:
    """Whether a datastore counts for the patterns."""
    return datastore.startswith(_EPHEMERAL)


def is_bridge(network: str) -> bool:
    """Whether a port group can be the bridge."""
    return network.startswith(_BRIDGE) and network != _BRIDGE


def _ephemeral(datastores: Iterable[str]) -> list[str]:
    return [name for name in datastores if is_ephemeral(name)]


def _common_prefix(names: list[str]) -> str:
    first, last = min(names, default=""), max(names, default="")
    differing = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), None)
    return first[:differing]


def _without_leading_zeros(suffix: str) -> str:
    block = _BUILDING_BLOCK.fullmatch(suffix)
    return f"bb{block[1]}" if block else suffix
