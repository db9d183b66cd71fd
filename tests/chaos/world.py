"""The model of a region under load: what the vCenters, the zone and the templates are to be after every change.

Pure. The script of a run is made from it before anything happens, so that the end that is expected does not depend on
what the run makes of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.region import of_cluster, of_zone

BRIDGE = "br-"


@dataclass
class Cluster:
    """A production cluster: names, in the order in which the vCenter lists them."""

    datastores: list[str]
    networks: list[str]

    @classmethod
    def as_built(cls, number: int) -> Cluster:
        """As `Region.cluster` builds it."""
        return cls([f"eph_bb{number:03}_ds01"], ["Management", f"{BRIDGE}bb{number:03}"])


@dataclass
class VCenter:
    """A vCenter with one datacenter, its clusters by the number of their building block.

    A `quiet` one is not changed itself and may be out of the zone at the end. All others are in it then.
    """

    datacenter: str
    clusters: dict[int, Cluster]
    listed: bool = True
    quiet: bool = False

    @classmethod
    def as_built(cls, datacenter: str, *numbers: int, listed: bool = True, quiet: bool = False) -> VCenter:
        """As `Region.vcenter` builds it."""
        return cls(datacenter, {number: Cluster.as_built(number) for number in numbers}, listed, quiet)


@dataclass
class Template:
    """A VCenterTemplate in its editions. `text` has MARK where the edition goes."""

    scope: str
    text: str
    edition: int = 0
    broken: bool = False
    stored: bool = True
    passing: bool = False
    """It may be deleted and made again; the others are always there."""

    MARK = "EDITION"

    def current(self) -> str:
        """What stands in `template`."""
        text = self.text.replace(self.MARK, str(self.edition))
        return text + "\n{= 1 | no_such_filter =}\n" if self.broken else text

    def manifest(self, name: str, namespace: str) -> dict[str, Any]:
        """The resource, as it is applied."""
        return {
            "apiVersion": "vcenter-operator.stable.sap.cc/v1",
            "kind": "VCenterTemplate",
            "metadata": {"name": name, "namespace": namespace},
            "options": {
                "scope": self.scope,
                "jinja2_options": {"variable_start_string": "{=", "variable_end_string": "=}"},
            },
            "template": self.current(),
        }


@dataclass
class World:
    """Everything that the operator looks at, and what of it is away just now."""

    vcenters: dict[str, VCenter]
    templates: dict[str, Template]
    away: set[str] = field(default_factory=set)
    """Servers that cannot be asked or changed: `kubernetes`, `zone`, or the name of a vCenter."""
    history: list[dict[str, Template]] = field(default_factory=list)
    """Every state of the templates that there was."""
    lasting: dict[str, set[int]] = field(default_factory=dict)
    """vCenter to those of its clusters that were there all the time."""
    _serial: int = 0

    def begin(self) -> None:
        """What is there now is where the run begins."""
        self.history = [copy.deepcopy(self.templates)]
        self.lasting = {name: set(vcenter.clusters) for name, vcenter in self.vcenters.items() if vcenter.listed}

    def note(self) -> None:
        """Takes down what is there after a change."""
        if self.templates != self.history[-1]:
            self.history.append(copy.deepcopy(self.templates))
        for name in self.lasting:
            self.lasting[name] &= self.vcenters[name].clusters.keys()

    def serial(self) -> int:
        """A number that no name had yet."""
        self._serial += 1
        return self._serial

    def busy(self) -> list[str]:
        """The vCenters that can be changed now."""
        return [name for name, vcenter in self.vcenters.items() if not vcenter.quiet and name not in self.away]

    def clusters(self) -> Iterator[tuple[str, int]]:
        """Every cluster that can be changed now: its vCenter and its number."""
        for name in self.busy():
            for number in self.vcenters[name].clusters:
                yield name, number

    def numbers(self) -> set[int]:
        """The numbers that clusters have anywhere."""
        return {number for vcenter in self.vcenters.values() for number in vcenter.clusters}

    def always(self) -> set[str]:
        """`Kind/name` of objects that should have been there all the time: nobody may ever have deleted one."""
        agents = of_cluster(*(number for numbers in self.lasting.values() for number in numbers))
        zones = of_zone(*(self.vcenters[name].datacenter.lower() for name, numbers in self.lasting.items() if numbers))
        return {key for key in agents if "neutron" not in key} | zones  # that one's need a bridge
