"""The table of metrics in the docs, and what a process serves, as data."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.markdown import rows

DOCS = Path(__file__).parents[1] / "docs" / "metrics.md"
PREFIX = "vcenter_operator_"
_CODE = re.compile(r"`([^`]+)`")
_SUFFIXES = ("_bucket", "_count", "_sum")

Series = frozenset[tuple[str, frozenset[tuple[str, str]]]]


@dataclass(frozen=True)
class Row:
    """One metric of the table."""

    name: str
    kind: str
    labels: frozenset[str]
    served_by: str


def documented() -> dict[str, Row]:
    """The table, by name."""
    found = {}
    for cells in rows(DOCS.read_text()):
        if (name := _CODE.fullmatch(cells[0])) and name[1].startswith(PREFIX):
            found[name[1]] = Row(name[1], cells[1], frozenset(_CODE.findall(cells[2])), cells[3])
    return found


def bounds() -> dict[tuple[str, str], frozenset[str]]:
    """By metric and label: the values that the docs allow. A label of every metric stands under the name ''."""
    found = {}
    for cells in rows(DOCS.read_text()):
        if len(cells) == 3 and (labels := _CODE.findall(cells[0])) and not labels[0].startswith(PREFIX):
            of = _CODE.findall(cells[1])
            for label in labels:
                found[f"{PREFIX}{of[0]}" if of else "", label] = frozenset(_CODE.findall(cells[2]))
    return found


class Scrape:
    """What a process served at one moment."""

    def __init__(self, text: str) -> None:
        self.kinds: dict[str, str] = {}
        self.samples: list[tuple[str, Mapping[str, str], float]] = []
        for family in text_string_to_metric_families(text):
            if family.name.startswith(PREFIX):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                self.kinds[name] = family.type
                self.samples += [(sample.name, sample.labels, sample.value) for sample in family.samples]

    @classmethod
    def of(cls, port: int) -> Scrape:
        """Asks the process on this host that listens there. Raises OSError."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return cls(answer.read().decode())

    @property
    def series(self) -> Series:
        """Every series, whatever its value."""
        return frozenset((name, frozenset(labels.items())) for name, labels, _ in self.samples)

    def value(self, name: str, **labels: str) -> float:
        """The sum over all series of this name (a sample's: `..._count`) that have these labels; none: 0."""
        return sum(
            value
            for sample, found, value in self.samples
            if sample == PREFIX + name and labels.items() <= found.items()
        )

    def values_of(self, label: str) -> set[str]:
        """All values of a label."""
        return {labels[label] for _, labels, _ in self.samples if label in labels}

    def out_of_bounds(self, vcenters: Iterable[str]) -> list[str]:
        """What the docs do not allow: series of unknown metrics, labels and values; `vcenters` there are."""
        table, allowed, wrong = documented(), bounds(), []
        for sample, labels, _ in self.samples:
            name = next((sample.removesuffix(suffix) for suffix in _SUFFIXES if sample.endswith(suffix)), sample)
            if name not in table or labels.keys() - {"le"} != table[name].labels:
                wrong.append(f"{sample} {dict(labels)}")
                continue
            for label, value in labels.items():
                if label == "vcenter":
                    known = value in vcenters
                elif label in ("le", "version", "python_version"):
                    known = True
                else:
                    known = value in (allowed.get((name, label)) or allowed["", label])
                if not known:
                    wrong.append(f"{sample}: {label}={value!r}")
        return wrong
