"""The names of nova's cells, from the ConfigMaps that announce them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vcenter_operator.common.errors import PermanentError

LABELS = "system=openstack,component=nova,type=nova-cell"
"""Selects the ConfigMaps, in all namespaces (contract)."""


class CellsUnavailable(PermanentError):
    """No ConfigMap announces cells, or one is malformed: nothing is rendered in that round, the old state stays."""


class Cells(set[str]):
    """What templates see as `cells`: a set that is iterated in sorted order, so that replicas render alike."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__()))

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self))}}}" if self else "set()"


def parse_cells(configmaps: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The cells of all ConfigMaps: `data.cells`, split at commas and not stripped (contract).

    Raises:
        CellsUnavailable: there is none, or the text names the one that is malformed.
    """
    cells: set[str] = set()
    found = False
    for configmap in configmaps:
        found = True
        text = (configmap.get("data") or {}).get("cells")
        if not isinstance(text, str):
            metadata = configmap.get("metadata") or {}
            name = f"{metadata.get('namespace')}/{metadata.get('name')}"
            raise CellsUnavailable(f"ConfigMap {name} announces nova cells, but has no key 'cells'")
        cells.update(text.split(","))
    if not found:
        raise CellsUnavailable(f"no ConfigMap with the labels {LABELS}")
    return frozenset(cells)
