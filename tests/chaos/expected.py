"""What an undisturbed run makes of the world at the end, and how what is there differs from it.

The expectation is rendered offline from the model, as `vcenter-operator render` does: it knows nothing of the run.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.world import Template, World
from tests.e2e.region import BUS_KEY, Region
from vcenter_operator.command import preview
from vcenter_operator.common import labels
from vcenter_operator.common.sealing import Keyring

Objects = Mapping[str, Mapping[str, Any]]
"""`Kind/name` to manifest."""


class Expectation:
    """What should be there for a world that the operator has seen for long enough."""

    def __init__(self, region: Region, world: World, folder: Path) -> None:
        listed = {name for name, vcenter in world.vcenters.items() if vcenter.listed}
        gone = {name for name, vcenter in world.vcenters.items() if vcenter.quiet and not vcenter.listed}
        self._exactly = rendered(region, world, listed, world.templates, folder / "end")
        self._perhaps: dict[str, list[Mapping[str, Any]]] = {}
        """Of vCenters that left the zone with an inventory that nobody changed: what the templates ever yielded, since
        their objects stay as they were at some time."""
        for number, templates in enumerate(world.history if gone else ()):
            for key, manifest in rendered(region, world, gone, templates, folder / f"then-{number}").items():
                self._perhaps.setdefault(key, []).append(manifest)
        self._always = world.always()
        self._keyring = Keyring([base64.b64decode(BUS_KEY)])

    def differences(self, found: Objects) -> list[str]:
        """What is missing, what should not be there, and what is not as it should be; empty: all is right."""
        wrong = [f"missing: {key}" for key in sorted(self._exactly.keys() | self._always) if key not in found]
        for key, actual in sorted(found.items()):
            stated = [self._exactly[key]] if key in self._exactly else self._perhaps.get(key, [])
            if not stated:
                wrong.append(f"should not be there: {key}, of {actual['metadata']['annotations'].get(labels.UNIT)}")
            elif not any(self._is(manifest, actual) for manifest in stated):
                wrong += [f"{key}: {line}" for line in unlike(applied(stated[-1]), actual)] or [f"{key}: its digest"]
        return wrong

    def _is(self, stated: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
        digest = actual["metadata"].get("annotations", {}).get(labels.DIGEST)  # none while it is handed over
        return not list(unlike(applied(stated), actual)) and digest == self._keyring.digest(stated)


def rendered(
    region: Region, world: World, vcenters: set[str], templates: Mapping[str, Template], folder: Path
) -> dict[str, dict[str, Any]]:
    """What templates yield for some vCenters. A template that is broken yields nothing."""
    inputs = folder / "manifests"
    inputs.mkdir(parents=True)
    resources = [each.manifest(name, region.namespace) for name, each in templates.items() if each.stored]
    for number, manifest in enumerate([region.secret(), *region.example("cells.yaml"), *resources]):
        (inputs / f"{number}.yaml").write_text(yaml.safe_dump(manifest))
    (folder / "site.yaml").write_text(yaml.safe_dump(_site(region, world, vcenters)))
    with contextlib.redirect_stderr(io.StringIO()) as told:
        code = preview.render(folder / "site.yaml", inputs, folder / "output")
    assert code == 0 or any(each.broken for each in templates.values()), told.getvalue()
    found = [yaml.load(path.read_text(), yaml.CSafeLoader) for path in (folder / "output").rglob("*.yaml")]
    return {f"{manifest['kind']}/{manifest['metadata']['name']}": manifest for manifest in found}


def _site(region: Region, world: World, vcenters: set[str]) -> dict[str, Any]:
    """The site file of a world, see docs/site-file.md."""
    found = {}
    for name in sorted(vcenters):
        vcenter = world.vcenters[name]
        clusters = {
            f"productionbb{number:03}": {"datastores": cluster.datastores, "networks": cluster.networks}
            for number, cluster in vcenter.clusters.items()
        }
        found[name] = {"datacenters": {vcenter.datacenter: {"clusters": clusters}}}
    return {"region": "qa-de-1", "domain": region.zone.zone, "namespace": region.namespace, "vcenters": found}


def applied(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest as the API server has it when it was applied: `stringData` became `data`."""
    stated = dict(manifest)
    if texts := stated.pop("stringData", None):
        stated["data"] = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return stated


def unlike(stated: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Where what is there is not as stated. What the server adds is no difference, except in `data`."""
    if isinstance(stated, Mapping) and isinstance(actual, Mapping):
        if path == ".data" and actual.keys() - stated.keys():
            yield f"{path} has {sorted(actual.keys() - stated.keys())} besides"
        for key, value in stated.items():
            yield from unlike(value, actual.get(key), f"{path}.{key}")
    elif isinstance(stated, list) and isinstance(actual, list) and len(stated) == len(actual):
        for number, (one, other) in enumerate(zip(stated, actual, strict=True)):
            yield from unlike(one, other, f"{path}[{number}]")
    elif stated != actual:
        yield f"{path} is {actual!r:.200}, not {stated!r:.200}"


def leaks(folder: Path, plaintexts: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """What is readable in the files below a folder: names of plaintexts, and of the files that they are in."""
    return {
        (what, str(path.relative_to(folder)))
        for path in folder.rglob("*")
        if path.is_file()
        for content in (path.read_bytes(),)
        for what, plaintext in plaintexts.items()
        if plaintext in content
    }
