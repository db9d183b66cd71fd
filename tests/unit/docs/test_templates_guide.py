"""docs/templates.md: its examples yield what stands below them, and it has all that a template can use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import jinja2
import pytest
import yaml

from tests.markdown import ROOT, Block, blocks, rows, section
from tests.unit.docs.example import CONFIGURATION, HOST, inventory, resources, surroundings
from vcenter_operator.common.messages import Cluster
from vcenter_operator.common.secretkeys import SECRET_KEYS
from vcenter_operator.renderer.core.cells import parse_cells
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.failures import explain
from vcenter_operator.renderer.core.policy import MAX_OUTPUT
from vcenter_operator.renderer.core.scopes import Region, scopes_of
from vcenter_operator.renderer.core.templates import JINJA2_OPTIONS, SCOPES, Template, TemplateSet, parse_template

GUIDE = ROOT / "docs" / "templates.md"
CLUSTER = "productionbb002"
DELIMITERS = {"variable_start_string": "{=", "variable_end_string": "=}"}
FAILS = "fails: "


def variables(scope: str) -> dict[str, Any]:
    """Of the example region, for the first unit of that scope that has to do with the cluster."""
    units = scopes_of(inventory()).known
    unit, cluster = next(
        (unit, cluster) for unit, cluster in units.items() if unit.scope == scope and fits(scope, cluster)
    )
    region = Region(CONFIGURATION, surroundings(), parse_cells(resources("ConfigMap")))
    return region.variables(HOST, CONFIGURATION.password_for(HOST), unit, cluster)


def fits(scope: str, cluster: Cluster | None) -> bool:
    return scope != "cluster" or (cluster is not None and cluster.cluster_name == CLUSTER)


def parsed(resource: Mapping[str, Any]) -> Template:
    """As the API server would give it."""
    metadata = {"namespace": "monsoon3", "resourceVersion": "1", **resource["metadata"]}
    return parse_template({**resource, "metadata": metadata})


def template_of(block: Block) -> Template | None:
    """What a block is an example of; None: it is none."""
    language, _, more = block.language.partition(" ")
    if language == "jinja":
        scope = more.removeprefix("scope=") or "cluster"
        options = {"scope": scope, "jinja2_options": DELIMITERS}
        return parsed({"metadata": {"name": "example"}, "options": options, "template": block.text})
    resource = yaml.safe_load(block.text) if language == "yaml" else None
    if isinstance(resource, dict) and resource.get("kind") == "VCenterTemplate":
        return parsed(resource)
    return None


def examples() -> Iterator[tuple[Block, Template, str]]:
    """Each with what stands below it."""
    page = list(blocks(GUIDE))
    for block, below in pairwise(page):
        template = template_of(block)
        if template is not None and below.language == "text":
            yield block, template, below.text


def libraries() -> list[Template]:
    page = [template for block in blocks(GUIDE) if (template := template_of(block)) and template.name != "example"]
    return [*map(parsed, resources("VCenterTemplate")), *page]


def yields(template: Template) -> str:
    library = Library(lambda user, host: CONFIGURATION.password_for(host, user), max_output=MAX_OUTPUT)
    library.replace(TemplateSet([*libraries(), template]))
    try:
        return library.render(template.path, variables(template.scope))
    except Exception as error:
        return FAILS + str(explain(error, template.path, template.source))


@pytest.mark.parametrize(("block", "template", "below"), [pytest.param(*each, id=str(each[0])) for each in examples()])
def test_an_example_yields_what_stands_below_it(block: Block, template: Template, below: str) -> None:
    assert template.problem is None
    assert yields(template).strip("\n") == below.strip("\n"), str(block)


def test_every_example_has_something_below_it() -> None:
    shown = {block.line for block, _, _ in examples()}
    jinja = {block.line for block in blocks(GUIDE) if block.language.startswith("jinja")}
    assert jinja <= shown
    assert len(shown) > 15


def cell_names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_variable_is_in_the_table_with_its_value_and_nothing_else_is() -> None:
    table = rows(section(GUIDE, "Variables"))
    documented = {next(iter(cell_names(name))): (scopes, example.strip("`")) for name, scopes, example, _ in table}
    of_secret = CONFIGURATION.template_variables.keys() - documented.keys()
    assert of_secret == {"namespace", "global_registry", "nova_image_version", "cinder_image_version",
                         "neutron_image_version"}  # fmt: skip
    for scope in SCOPES:
        expected = {name for name, (scopes, _) in documented.items() if scopes == "all" or scope in scopes.split(", ")}
        there_are = variables(scope).keys() - of_secret
        optional = {"bridge", "physical", "datastore_hagroup_regex"} if scope == "storage" else set()
        assert expected - optional == there_are - optional
    assert {name: example for name, (_, example) in documented.items()} == values(variables("cluster"), documented)


def values(of: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, str]:
    return {name: ",".join(of[name]) if name == "cells" else str(of[name]) for name in names}


def environment() -> jinja2.Environment:
    """Of a template, as the renderer makes it."""
    library = Library(lambda _, __: "", max_output=MAX_OUTPUT)
    template = parsed({"metadata": {"name": "any"}, "options": {"scope": "any"}, "template": ""})
    library.replace(TemplateSet([template]))
    return library.template(template.path).environment


@pytest.mark.parametrize(("title", "registry"), [("Filters", "filters"), ("Globals", "globals")])
def test_every_filter_and_global_has_an_example_that_uses_it(title: str, registry: str) -> None:
    stock = getattr(jinja2.Environment(autoescape=False), registry)
    ours = {name for name, what in getattr(environment(), registry).items() if stock.get(name) is not what}
    ours -= {"range"}  # the sandbox's, which has a limit
    parts = re.split(r"^### `(\w+)`$", section(GUIDE, title), flags=re.MULTILINE)[1:]
    told = dict(zip(parts[::2], parts[1::2], strict=True))
    assert told.keys() == ours
    for name, text in told.items():
        examples = re.findall(r"^```jinja\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert any(re.search(rf"\b{name}\b", example) for example in examples), name


def test_every_option_is_in_the_table_and_in_an_example() -> None:
    table = rows(section(GUIDE, "Options"))
    assert {name for row in table for name in cell_names(row[0])} == JINJA2_OPTIONS
    used = {name for _, template, _ in examples() for name in template.options}
    assert used == JINJA2_OPTIONS
    stock = jinja2.Environment(autoescape=False)
    for names, _, default in table:
        texts = [getattr(stock, name) for name in re.findall(r"`([^`]+)`", names)]
        shown = default.replace('`"\\n"`', "`\n`").replace("none", "`None`").replace("false", "`False`")
        assert list(map(str, texts)) == re.findall(r"`([^`]+)`", shown), names


def test_every_scope_is_in_the_table() -> None:
    table = rows(section(GUIDE, "Scopes"))
    assert [row[0].strip("`") for row in table] == [*SCOPES, "anything else"]


def test_the_hidden_keys_of_the_secret_are_no_variables() -> None:
    hidden = {key.name for key in SECRET_KEYS if key.hidden} - {"password"}
    assert not hidden & variables("cluster").keys()
