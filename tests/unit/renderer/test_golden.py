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
from jinja2.runtime import Context

from tests.unit.renderer.region import CELLS, HOST, SURROUNDINGS, UNKNOWN, configuration, given, inventory, only
from vcenter_operator.common import labels
from vcenter_operator.renderer.core.cells import parse_cells
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.filters import FILTERS, GLOBALS, DerivePassword, password_filter
from vcenter_operator.renderer.core.offline import Rendering, render_inventory
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.scopes import Region, scopes_of
from vcenter_operator.renderer.core.templates import Template, TemplateSet

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


class Stock(jinja2.BaseLoader):
    """The templates of a golden file in Jinja2 as it comes: an environment each, with that template's own options."""

    def __init__(self, templates: TemplateSet, derive: DerivePassword) -> None:
        self._environments = {path: self._environment(template, derive) for path, template in templates.items()}
        self._sources = {path: template.source for path, template in templates.items()}

    def _environment(self, template: Template, derive: DerivePassword) -> jinja2.Environment:
        environment = jinja2.Environment(loader=self, **template.options)
        environment.filters |= {**FILTERS, "derive_password": password_filter(derive), "render": _rendered}
        environment.globals |= GLOBALS
        return environment

    def load(self, environment: jinja2.Environment, name: str, globals: Any = None) -> jinja2.Template:  # noqa: A002
        """See `jinja2.BaseLoader.load`; of a template that another one loads, too, its own options count (contract)."""
        if name not in self._sources:
            raise jinja2.TemplateNotFound(name)
        environment = self._environments[name]
        code = environment.compile(self._sources[name], name)
        return environment.template_class.from_code(environment, code, environment.make_globals(globals))

    def text(self, path: str, variables: dict[str, Any]) -> str:
        return self._environments[path].get_template(path).render(variables)


@jinja2.pass_context
def _rendered(context: Context, path: str) -> str:
    return context.environment.get_template(path).render(context.get_all())


RENDERED = [
    pytest.param(file, template.path, id=f"{file.stem}-{template.path}")
    for file in FILES
    for template in TemplateSet.of(given(each) for each in read(file)[0]["templates"]).values()
    if template.rendered and template.key not in [failing for failing, *_ in read(file)[0].get("unknown", [])]
]


@pytest.mark.parametrize(("file", "path"), RENDERED)
def test_the_text_is_that_of_stock_jinja2(file: Path, path: str) -> None:
    """Byte for byte: neither the sandbox nor our loading changes what a template yields."""
    case, _ = read(file)
    templates = TemplateSet.of(given(each) for each in case["templates"])
    settings = configuration(**case.get("secret", {}))
    region = Region(settings, SURROUNDINGS, parse_cells(case.get("cells", CELLS)))

    def derive(username: str, host: str) -> str:
        return settings.password_for(host, username)

    stock, ours = Stock(templates, derive), Library(derive, max_output=Policy().max_output)
    ours.replace(templates)
    scopes = scopes_of(inventory())
    units = [unit for unit in scopes.known if unit.scope == templates[path].scope]
    assert units
    for unit in units:
        variables = region.variables(HOST, "RofuZapaZutc3.", unit, scopes.known[unit])
        assert ours.render(path, variables) == stock.text(path, variables)


def test_every_way_of_loading_is_compared_with_stock_jinja2() -> None:
    (loading,) = [read(file)[0] for file in FILES if file.stem == "loading"]
    compared = {parameters.values[1] for parameters in RENDERED}
    text = "".join(
        template.source
        for template in TemplateSet.of(map(given, loading["templates"])).values()
        if template.path in compared
    )
    for way in (
        "include",
        "ignore missing",
        "without context",
        "import",
        "from",
        "with context",
        "extends",
        "| render",
    ):
        assert way in text
