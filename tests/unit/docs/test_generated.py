"""The pages that follow from the code are as `make docs` writes them, and say something of everything."""

from __future__ import annotations

import re

import pytest

from docs.generator.pages import ROOT, pages
from tests.markdown import PAGES as MARKDOWN
from tests.markdown import prose, rows
from vcenter_operator.applier.settings import ApplierSettings
from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.common.settings import Settings
from vcenter_operator.common.variables import variables
from vcenter_operator.discovery.settings import DiscoverySettings
from vcenter_operator.renderer.settings import RendererSettings

PAGES = pages()
OF_A_STAGE = (DiscoverySettings, CollectorSettings, RendererSettings, ApplierSettings)


@pytest.mark.parametrize("path", PAGES)
def test_the_page_is_as_the_code_says(path: str) -> None:
    assert (ROOT / path).read_text() == PAGES[path], "make docs"


def test_no_page_is_left_of_what_is_not_generated_any_more() -> None:
    assert {f"docs/schema/{path.name}" for path in (ROOT / "docs" / "schema").glob("*.json")} == PAGES.keys() - {
        "docs/configuration.md"
    }


@pytest.mark.parametrize("settings", OF_A_STAGE)
def test_every_setting_is_described_on_the_page_and_once(settings: type[Settings]) -> None:
    names = [row[0].strip("`") for row in rows(PAGES["docs/configuration.md"])]
    for variable in variables(settings):
        assert names.count(variable.name) == 1, variable.name
        assert len(variable.says) > 15, f"{variable.name} needs a docstring"


def test_a_variable_is_told_as_people_write_it() -> None:
    told = {variable.name.removeprefix("VCENTER_OPERATOR_"): variable for variable in variables(ApplierSettings)}
    assert told["PARTITIONS"][1:3] == ("11", "1 to 256")
    assert told["DELETION_COUNT"][1:3] == ("none", "at least 0")
    assert told["DELETION_SHARE"].default == "0.333"
    assert told["POLICY"][1:3] == ("sync", "one of `sync`, `upsert-only`, `observe`")
    assert told["ADOPT"][1:3] == ("false", "`true`, `false`")
    assert told["BUS_CA"][1:3] == ("none", "a file")
    assert told["CLUSTER_SCOPED_KINDS"][1:3] == ("none", "")
    assert told["LOG_LEVEL"].name == "LOG_LEVEL"


OTHERS = re.compile("NO_COLOR|OTEL_.*")


def of_images() -> set[str]:
    """What the Compose file and the Dockerfile can be told."""
    compose, dockerfile = ((ROOT / name).read_text() for name in ("docker-compose.yml", "Dockerfile"))
    return {*re.findall(r"\$\{(\w+):-", compose), *re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE)}


def test_no_page_speaks_of_a_setting_that_is_none() -> None:
    there_are = {variable.name for settings in OF_A_STAGE for variable in variables(settings)}
    short = {name.removeprefix("VCENTER_OPERATOR_") for name in there_are}
    for page in MARKDOWN:
        if page.is_relative_to(ROOT / "docs" / "decisions") or page.is_relative_to(ROOT / "tests"):
            continue
        names = re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])(?:=[^`]*)?`", prose(page))
        said = {name.removeprefix("VCENTER_OPERATOR_") for name in names}
        assert {name for name in said - short - of_images() if not OTHERS.fullmatch(name)} == set(), page.name
