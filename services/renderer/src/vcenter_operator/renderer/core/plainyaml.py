"""The quick way through YAML that is nothing but mappings, sequences and plain values, as nearly all manifests are.

PyYAML resolves and constructs node by node through several layers of Python, which takes longer than parsing. What is
done here in one pass is what it does with such nodes, and what JSON makes of that; everything else is left to it.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from vcenter_operator.renderer.core.policy import MAX_OUTPUT

_MAX_NODES = 100_000
_MAX_DEPTH = 50
"""Beyond these it is not plain: recursive or multiplied by aliases, perhaps."""
_STR, _INT, _FLOAT, _BOOL, _NULL = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))
_SEQ, _MAP = "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"-?(0|[1-9][0-9]{0,8})\.[0-9]{1,9}")
_BOOLS = yaml.constructor.SafeConstructor.bool_values
_STOCK: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _NotPlain(Exception):
    """Something that PyYAML has to construct, or to refuse."""


class Loader(_STOCK):  # type: ignore[misc]
    """The safe loader, by libyaml where it is there, that finds the tags of untagged nodes without detours.

    `Resolver` also looks for paths that somebody registered; nobody does, and it costs as much as the parsing.
    """

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """See `yaml.resolver.BaseResolver.resolve`."""
        if kind is not yaml.ScalarNode:
            return _SEQ if kind is yaml.SequenceNode else _MAP
        if implicit[0]:
            for tag, pattern in self.yaml_implicit_resolvers.get(value[:1], ()):
                if pattern.match(value):
                    return str(tag)
        return _STR

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """There are no paths to follow."""

    def ascend_resolver(self) -> None:
        """There are no paths to follow."""


def plain_mapping(node: Any) -> dict[str, Any] | None:
    """The document of a node as JSON, where it is a mapping and plain throughout; None: PyYAML has to say."""
    if node.tag != _MAP:
        return None
    try:
        mapping: dict[str, Any] = _Plain().value(node, 0)
    except _NotPlain:
        return None
    return mapping


class _Plain:
    def __init__(self) -> None:
        self._left = _MAX_NODES
        self._room = MAX_OUTPUT

    def value(self, node: Any, depth: int) -> Any:
        """What JSON makes of a node. Raises _NotPlain."""
        tag, content = node.tag, node.value
        if tag == _STR and type(content) is str:
            self._room -= len(content)
            if self._room < 0:
                raise _NotPlain
            if content.isascii() or _is_text(content):
                return content
            raise _NotPlain
        self._left -= len(content) + 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise _NotPlain
        depth += 1
        if tag == _MAP and type(node) is yaml.MappingNode:
            mapping: dict[str, Any] = {}
            for key, each in content:
                name = key.value
                if key.tag != _STR or type(name) is not str or not name.isascii():
                    raise _NotPlain
                self._room -= len(name)
                mapping[name] = self.value(each, depth)
            return mapping
        if tag == _SEQ and type(node) is yaml.SequenceNode:
            return [self.value(each, depth) for each in content]
        if type(node) is yaml.ScalarNode:
            return _scalar(tag, content)
        raise _NotPlain


def _scalar(tag: str, text: str) -> Any:
    """Decimal numbers, bools and nulls; YAML 1.1 has octal, sexagesimal and more, which are PyYAML's to read."""
    if tag == _INT and _DECIMAL.fullmatch(text):
        return int(text)
    if tag == _FLOAT and _FRACTION.fullmatch(text):
        return float(text)
    if tag == _BOOL and (value := _BOOLS.get(text.lower())) is not None:
        return value
    if tag == _NULL:
        return None
    raise _NotPlain


def _is_text(text: str) -> bool:
    """Whether it holds no halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
