"""docs/architecture.md speaks of what there is."""

from __future__ import annotations

import ast
import re

from tests.markdown import ROOT, prose

PAGE = ROOT / "docs" / "architecture.md"
NOT_OURS = {"VCenter"}
"""The kind of the resource, which is a class of the renderer and of the command's too."""


def names() -> set[str]:
    """Of every class and function in the packages."""
    trees = (ast.parse(path.read_text()) for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py"))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_name_is_one_of_the_code() -> None:
    said = set(re.findall(r"`([A-Z][A-Za-z]+|[a-z]+_[a-z_]+|plan|merge|conclude|publish|encode)`", prose(PAGE)))
    assert len(said) > 30
    assert said - NOT_OURS <= names()


def test_every_file_is_a_link_to_one() -> None:
    text = PAGE.read_text()
    defined = dict(re.findall(r"^\[([\w/.]+)\]: \.\./(\S+)$", text, re.MULTILINE))
    assert set(re.findall(r"\[([\w/]+\.py)\](?!:)", text)) == defined.keys()
    assert len(defined) > 15
    for path in defined.values():
        assert (ROOT / path).is_file(), path
    plain = set(re.findall(r"`((?:tests|services|libs)/[\w/.]+|pyproject\.toml)`", prose(PAGE)))
    for path in plain:
        assert (ROOT / path).exists(), path
