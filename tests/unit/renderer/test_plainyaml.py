"""The quick way through YAML comes to exactly what PyYAML does, or leaves it to PyYAML."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vcenter_operator.renderer.core import documents, plainyaml
from vcenter_operator.renderer.core.documents import DocumentError, _contents

SCALARS = [
    "a",
    "~",
    "null",
    "Null",
    "NULL",
    "''",
    '""',
    "yes",
    "No",
    "ON",
    "off",
    "true",
    "FALSE",
    "y",
    "n",
    "0",
    "-0",
    "+1",
    "1",
    "-1",
    "007",
    "017",
    "-017",
    "0o17",
    "0x1F",
    "0b11",
    "1_000",
    "1:30",
    "190:20:30",
    "123456789012345678",
    "1234567890123456789",
    "99999999999999999999999",
    "1.5",
    "-1.5",
    "+1.5",
    "1.",
    ".5",
    "0.0",
    "-0.0",
    "00.5",
    "1e3",
    "1.0e+3",
    "1.5e3",
    "1_0.5",
    "1.234567890123",
    "1234567890.5",
    ".inf",
    "-.INF",
    ".nan",
    "2030-01-02",
    "2030-01-02T03:04:05Z",
    "2030-13-45",
    "=",
    "<<",
    '"1"',
    "'yes'",
    '"\\u00e9"',
    "é",
    '"\\ud83d\\ude00"',
    '"\\ud83d"',
    "*a",
    "*b",
    "[]",
    "{}",
    "[a,b]",
]
VALUES = [
    *SCALARS,
    *("!!str 12", '!!int "12"', '!!int "x"', "!!null x", '!!bool "yes"', '!!bool "x"', "!!float 1", "! 12", "&c z"),
    *("!!binary aGk=", "!x y", "!!set {a}", "!!omap [a: 1]", "!!str [a]", "!!null [a]", "!!map {a: b}"),
    *("{a: b}", "{a: 1, a: 2}", "{a:}", "[a", "{yes: 1}", "{1: 2}", "{~: 3}", "{é: 4}", "{=: 1}", "{? [a] : b}"),
    *('["yes", no]', "[&d [e], *d]", "{<<: {a: 1}, b: 2}", "{<<: [{a: 1}, {b: 2}]}", '{"<<": 1}', '{"\\ud83d": 1}'),
    *("|\n  text\n  more\n", ">-\n  folded\n  text\n"),
]


def outcome(text: str) -> Any:
    """What a text comes to, as text: 1, 1.0 and true are equal in Python."""
    try:
        return repr([content for _, content in _contents(text)])
    except DocumentError as error:
        return str(error), error.line


def by_pyyaml_alone(text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patched:
        patched.setattr(documents, "plain_mapping", lambda _: None)
        patched.setattr(documents, "Loader", yaml.CSafeLoader)
        return outcome(text)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    "frame", ["k: {}\n", "k:\n- {}\n- x\n", "anchor: &a [1, {{x: y}}]\nk: {}\n", "{}: v\n", "{}\n"]
)
def test_every_value_is_what_it_is_to_pyyaml(frame: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = frame.format(value)
    assert outcome(text) == by_pyyaml_alone(text, monkeypatch)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
    | st.sampled_from(SCALARS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.sampled_from(SCALARS), inner),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=6), JSON, max_size=5), max_size=3),
    st.sampled_from(["|", ">", '"', "'", None]),
    st.sampled_from([True, False, None]),
)
def test_whatever_is_dumped_is_read_as_pyyaml_reads_it(content: Any, style: str | None, flow: bool | None) -> None:
    text = yaml.safe_dump_all(content, default_style=style, default_flow_style=flow, allow_unicode=bool(flow))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert outcome(text) == by_pyyaml_alone(text, monkeypatch)


def test_aliases_within_aliases_and_nests_are_left_to_the_bounds_that_there_are() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    )
    with pytest.raises(DocumentError, match="too big or too deep"):
        _contents(bomb)
    with pytest.raises(DocumentError, match="too big or too deep"):
        _contents("a: " + "[" * 200 + "]" * 200)
    with pytest.raises(DocumentError, match="too big or too deep"):
        _contents("a: &a [*a]")


def test_the_stock_resolver_knows_nothing_that_is_left_out_here() -> None:
    assert None not in plainyaml.Loader.yaml_implicit_resolvers
    assert plainyaml.Loader.yaml_path_resolvers == {}


def test_nearly_all_manifests_take_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("left to PyYAML")

    monkeypatch.setattr(plainyaml.Loader, "construct_document", refuse)
    text = "kind: A\nmetadata: {name: x, labels: {a: 'é', n: \"1\"}}\nspec: {replicas: -3, share: 0.5, b: no, x: }\n"
    ((_, content),) = _contents(text)
    assert content["spec"] == {"replicas": -3, "share": 0.5, "b": False, "x": None}
