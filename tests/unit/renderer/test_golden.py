"""The contract with deployed templates, rendered: each file in `golden/` holds a region's inputs and, after the first

`---`, the manifests that follow from them, in the order in which they are applied. Unless a file says `complete`, the
label and annotations that every object carries are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from tests.unit.renderer.region import CELLS, SURROUNDINGS, UNKNOWN, configuration, given, inventory, only
from vcenter_operator.common import labels
from vcenter_operator.common.identity import Unit
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.filters import FILTERS, GLOBALS, password_filter
from vcenter_operator.renderer.core.offline import Rendering, render_inventory
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.scopes import Region, scopes_of
from vcenter_operator.renderer.core.templates import TemplateSet

FILES = sorted((Path(__file__).parent / "golden").glob("*.yaml"))


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    case, *expected = yaml.safe_load_all(path.read_text())
    return case, expected


def rendered(case: dict[str, Any]) -> Rendering:
    some = {"clusters": only(*case["clusters"])} if "clusters" in case else {"unknown": UNKNOWN}
    return render_inventory(
        inventory(**some),
        templates=[given(each) for each in case["templates"]],
        cells=case.get("cells", CELLS),
        configuration=configuration(**case.get("secret", {})),
        surroundings=SURROUNDINGS,
    )


def bare(manifest: dict[str, Any]) -> dict[str, Any]:
    """Without what every object carries."""
    metadata = dict(manifest["metadata"])
    for kind in ("labels", "annotations"):
        left = {
            name: value
            for name, value in metadata.pop(kind).items()
            if name not in (labels.PART_OF, labels.VCENTER, labels.TEMPLATE, labels.UNIT)
        }
        metadata |= {kind: left} if left else {}
    return manifest | {"metadata": metadata}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_inputs_yield_the_manifests_of_the_golden_file(path: Path) -> None:
    case, expected = read(path)
    result = rendered(case)
    manifests = list(result.manifests.values())
    assert (manifests if case.get("complete") else [bare(each) for each in manifests]) == expected
    unknown = [[each.template, str(each.unit) if each.unit else None, each.reason] for each in result.unknown]
    assert unknown == case.get("unknown", [])
    assert list(result.warnings) == case.get("warnings", [])


def test_there_are_golden_files() -> None:
    assert len(FILES) >= 10


ALONE = [
    pytest.param(path, index, id=f"{path.stem}-{index}")
    for path in FILES
    for index, template in enumerate(read(path)[0]["templates"])
    if "vcenter_" not in template["template"]
]


@pytest.mark.parametrize(("path", "index"), ALONE)
def test_the_text_is_that_of_stock_jinja2(path: Path, index: int) -> None:
    """Byte for byte: neither the sandbox nor our loading changes what a template yields."""
    case, _ = read(path)
    (template,) = TemplateSet.of([given(case["templates"][index])]).values()
    settings = configuration(**case.get("secret", {}))
    region = Region(settings, SURROUNDINGS, frozenset({"cell1", "cell2"}))

    def derive(username: str, host: str) -> str:
        return settings.password_for(host, username)

    stock = jinja2.Environment(**template.options)
    stock.filters |= {**FILTERS, "derive_password": password_filter(derive)}
    stock.globals |= GLOBALS
    ours = Library(derive, max_output=Policy().max_output)
    ours.replace({template.path: template})
    scopes = scopes_of(inventory())
    units: list[Unit] = [unit for unit in scopes.known if unit.scope == template.scope]
    for unit in units:
        variables = region.variables("vc-a-0.cc.qa-de-1.cloud.sap", "RofuZapaZutc3.", unit, scopes.known[unit])
        assert ours.render(template.path, variables) == stock.from_string(template.source).render(variables)
