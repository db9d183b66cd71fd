"""The demo's copy of the example region, and what happens to it."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "site"
SERIAL = re.compile(r"\b(20\d{8})\b")


@dataclass(frozen=True)
class Region:
    """The files that stand for a region, in a folder that the demo may change."""

    folder: Path

    @classmethod
    def fresh(cls, folder: Path) -> Region:
        """A copy of the example, and an empty output folder."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(EXAMPLE, folder / "region")
        (folder / "output").mkdir()
        return cls(folder)

    @property
    def site(self) -> Path:
        """The site file."""
        return self.folder / "region" / "site.yaml"

    @property
    def zone(self) -> Path:
        """The zone file."""
        return self.folder / "region" / "cc.qa-de-1.cloud.sap.zone"

    @property
    def templates(self) -> Path:
        """The folder of templates, cells and Secret."""
        return self.folder / "region" / "manifests"

    @property
    def output(self) -> Path:
        """Where the applier writes."""
        return self.folder / "output"

    def manifests(self) -> dict[str, str]:
        """Every manifest in the output folder, by path, to a hash of its content."""
        return {
            str(path.relative_to(self.output)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.output.rglob("*.yaml"))
            if ".state" not in path.parts
        }

    def edit(self, path: Path, old: str, new: str) -> None:
        """Replaces text that has to be there, as an editor does: a new file in place of the old."""
        text = path.read_text()
        if old not in text:
            raise ValueError(f"{path}: has no {old!r}")
        changed = path.with_suffix(".changed")
        changed.write_text(text.replace(old, new, 1))
        changed.replace(path)

    def list_in_zone(self, record: str) -> None:
        """Adds a record to the zone and raises its serial."""
        found = SERIAL.search(self.zone.read_text())
        if found is None:
            raise ValueError(f"{self.zone}: has no serial")
        text = self.zone.read_text().replace(found[1], str(int(found[1]) + 1)) + record + "\n"
        changed = self.zone.with_suffix(".changed")
        changed.write_text(text)
        changed.replace(self.zone)

    def empty(self, vcenter: str) -> str:
        """Takes every datacenter out of a vCenter's inventory. Returns the site file as it was."""
        before = self.site.read_text()
        after = re.sub(rf"(?m)^  {vcenter}:\n(    .*\n|\n)+", f"  {vcenter}:\n    datacenters: {{}}\n", before)
        if after == before:
            raise ValueError(f"{self.site}: has no {vcenter}")
        self.edit(self.site, before, after)
        return before
