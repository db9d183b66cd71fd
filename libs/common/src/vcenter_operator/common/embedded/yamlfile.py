"""YAML with errors that say where: file, line, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vcenter_operator.common.errors import ConfigurationError

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document(NamedTuple):
    """One document of a file. `line` is where it begins, counted from 1."""

    value: Any
    node: yaml.Node
    line: int


def read_text(path: Path) -> str:
    """The file's text. Raises ConfigurationError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is no UTF-8 text (byte {error.start})") from None


def documents(text: str, path: Path) -> list[Document]:
    """The documents of a YAML stream; empty ones are left out.

    Raises:
        ConfigurationError: it is no YAML, or a key stands twice in a mapping.
    """
    loader = _Loader(text)
    found = []
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                break
            _refuse_duplicates(node, path)
            value = loader.construct_document(node)
            if value is not None:
                found.append(Document(value, node, node.start_mark.line + 1))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigurationError(f"{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    except (AttributeError, KeyError, TypeError, RecursionError):
        # from the constructors of tagged values, for what is none
        raise ConfigurationError(f"{path}: a value is not what its tag says, or is nested too deeply") from None
    finally:
        loader.dispose()
    return found


def line_of(node: yaml.Node, where: Sequence[Any]) -> int:
    """The line, counted from 1, of what a path of keys and indices leads to, or of the last of it that exists."""
    line = node.start_mark.line
    for part in where:
        if isinstance(node, yaml.MappingNode):
            match = [(key, value) for key, value in node.value if str(key.value) == str(part)]
            if not match:
                break
            line, node = match[0][0].start_mark.line, match[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return int(line) + 1


def _refuse_duplicates(root: yaml.Node, path: Path) -> None:
    """YAML 1.2 forbids them; the loader would take the last in silence. Aliases are visited once."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                waiting.append(value)
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                if (key.tag, key.value) in keys:
                    line = key.start_mark.line + 1
                    raise ConfigurationError(f"{path}:{line}: the key '{key.value}' stands twice in this mapping")
                keys.add((key.tag, key.value))
