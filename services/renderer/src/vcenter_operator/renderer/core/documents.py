"""From a rendered text to Kubernetes manifests: YAML 1.1, several documents, made what JSON makes of them."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from vcenter_operator.common.errors import PermanentError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.sealing import canonical
from vcenter_operator.renderer.core.failures import without_values
from vcenter_operator.renderer.core.plainyaml import Loader, plain_mapping
from vcenter_operator.renderer.core.policy import MAX_OUTPUT, Policy

_MAX_NODES = 500_000
_MAX_DEPTH = 100
_MAX_BITS = 4096
_MAX_OBJECTS = 1000
"""Of one text. Each is sealed, indexed and looked after, for every cluster."""
_MAX_BYTES = 1536 * 1024
"""Of one object as JSON: etcd takes no request that is larger unless told otherwise (`--max-request-bytes`)."""
_MOST_OF_ONE = 6
"""Bytes of JSON that one character may become, where no anchor (`&`) multiplies it."""
_MAX_SECOND_LOOK = 512 * 1024
"""Characters of a text that the slow loader may look at again: it takes about a second for as many."""
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_API_VERSION = re.compile(r"([a-z0-9.-]{1,253}/)?[a-z0-9]{1,63}")
_KIND = re.compile(r"(?=.{1,63}\Z)[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])?")
_RBAC = "rbac.authorization.k8s.io"


class DocumentError(PermanentError):
    """A rendered text is no YAML, or a document in it no manifest. `line` (from 1) is that of the rendered text."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Document:
    """One object that a template yields."""

    object_id: ObjectId
    manifest: dict[str, Any]
    """Pure JSON, with the namespace of the template where the kind has one."""
    warning: str | None = None


@dataclass(frozen=True)
class _Place:
    """Where in a rendered text something stands, for whoever has to mend it."""

    where: str
    node: Any

    def error(self, problem: str, *keys: str) -> DocumentError:
        """The error for the value under `keys`, or as far as they lead."""
        node = self.node
        for key in keys:
            node = next((value for name, value in _pairs(node) if name.value == key), node)
        return DocumentError(f"{self.where} {problem}", node.start_mark.line + 1)

    def item(self, index: int) -> _Place:
        """An item of a List."""
        items = next((value for name, value in _pairs(self.node) if name.value == "items"), self.node)
        nodes = items.value if isinstance(items, yaml.SequenceNode) else []
        return _Place(f"{self.where}, item {index + 1},", nodes[index] if index < len(nodes) else self.node)


def parse_documents(text: str, namespace: str, policy: Policy) -> list[Document]:
    """The objects of a rendered text; empty documents are skipped, lists expanded.

    `namespace` is the template's, and every object's, whatever the document says (contract).

    Raises:
        DocumentError: says what is wrong in which document, without repeating values.
    """
    found: list[Document] = []
    may_be_big = len(text) > _MAX_BYTES // _MOST_OF_ONE or "&" in text
    for whole, content in _contents(text):
        for place, manifest in _expanded(whole, content):
            if len(found) == _MAX_OBJECTS:
                raise place.error(f"is one too many: a template may yield {_MAX_OBJECTS} objects at a time")
            document = _document(manifest, place, namespace, policy)
            if may_be_big and (size := len(canonical(document.manifest))) > _MAX_BYTES:
                what = f"{document.object_id.kind} {document.object_id.name}"
                raise place.error(f"({what}) is too big: {size} bytes as JSON, of which Kubernetes stores {_MAX_BYTES}")
            found.append(document)
    return found


def _contents(text: str) -> list[tuple[_Place, dict[str, Any]]]:
    """Each document that is not empty, as JSON.

    The contract's semantics are those of `yaml.safe_load_all`, which is slow; libyaml agrees on all that it takes,
    but refuses a tab that begins a block scalar, `{a:}`, and the surrogate pairs that JSON escapes: then the slow one
    has the last word.
    """
    try:
        read = list(_read(text, Loader))
    except DocumentError as refused:
        if len(text) > _MAX_SECOND_LOOK or yaml.SafeLoader in (Loader, *Loader.__bases__):
            raise
        try:
            read = list(_read(text, yaml.SafeLoader))
        except DocumentError:
            raise refused from None
    room = max(len(text), MAX_OUTPUT)
    return [(place, content if known else _Normal(place, room).mapping(content)) for place, content, known in read]


def _read(text: str, loader_type: Any) -> Iterator[tuple[_Place, Any, bool]]:
    """Each document with its content, and whether that is JSON already."""
    number, line = 0, 1
    try:
        loader = loader_type(text)
        try:
            while loader.check_node():
                node = loader.get_node()
                number, line = number + 1, node.start_mark.line + 1
                if (plain := plain_mapping(node)) is not None:
                    yield _Place(f"document {number}", node), plain, True
                elif (content := loader.construct_document(node)) is not None:
                    yield _Place(f"document {number}", node), content, False
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(without_values(part) for part in (error.context, error.problem) if part)
        raise DocumentError(f"not valid YAML: {problem}", _line(text, mark) if mark else line) from None
    except (yaml.reader.ReaderError, UnicodeEncodeError) as error:
        at = error.position if isinstance(error, yaml.reader.ReaderError) else error.start
        raise DocumentError(
            "not valid YAML: a character that YAML does not allow",
            text.count("\n", 0, at if isinstance(at, int) else 0) + 1,
        ) from None
    except MemoryError:
        raise
    except Exception:
        # from the constructors of dates, numbers and tagged values, for what only looks like one: of any type
        raise DocumentError(
            "not valid YAML: a value looks like a date or number, but is none: quote it", line
        ) from None


class _Normal:
    """Makes of what YAML loads what JSON makes of it (contract)."""

    def __init__(self, place: _Place, room: int) -> None:
        """`room`: the characters that it may come to, since aliases multiply them."""
        self._place = place
        self._nodes = 0
        self._room = room

    def mapping(self, content: Any) -> dict[str, Any]:
        """A whole document."""
        if not isinstance(content, dict):
            raise self._place.error("is not a mapping, so it is no manifest")
        value: dict[str, Any] = self._value(content, 0)
        return value

    def _value(self, value: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise self._too_big()
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self._key(key): self._value(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(each, depth + 1) for each in value]
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            raise self._place.error("holds a number of too many digits")
        if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, datetime.date):
            return value.isoformat()
        raise self._place.error(f"holds a {type(value).__name__}, which JSON has no word for")

    def _text(self, text: str) -> str:
        """With the surrogate pairs that JSON escapes made the characters that they stand for."""
        self._room -= len(text)
        if self._room < 0:
            raise self._too_big()
        try:
            text.encode()
        except UnicodeEncodeError:
            try:
                return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
            except UnicodeDecodeError:
                raise self._place.error("holds half of a surrogate pair, which is no character") from None
        return text

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            return self._text(key)
        if key is None or isinstance(key, bool):
            return {None: "null", True: "true", False: "false"}[key]
        if isinstance(key, int | float):
            return str(key)
        if isinstance(key, datetime.date):
            return key.isoformat()
        raise self._place.error(f"has a key that is a {type(key).__name__}")

    def _too_big(self) -> DocumentError:
        return self._place.error("is too big or too deep: aliases within aliases?")


def _expanded(place: _Place, manifest: dict[str, Any]) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """The manifest, or the items of a List, which has no name: what has one is an object of a kind that ends so."""
    kind, items = manifest.get("kind"), manifest.get("items")
    named = isinstance(manifest.get("metadata"), dict) and manifest["metadata"].get("name") is not None
    if named or not (isinstance(kind, str) and kind.endswith("List") and isinstance(items, list)):
        yield place, manifest
        return
    implied = {} if kind == "List" else {"apiVersion": manifest.get("apiVersion"), "kind": kind.removesuffix("List")}
    for index, item in enumerate(items):
        here = place.item(index)
        if not isinstance(item, dict):
            raise here.error("is not a mapping, so it is no manifest")
        yield from _expanded(here, {**implied, **item})


def _document(manifest: dict[str, Any], place: _Place, namespace: str, policy: Policy) -> Document:
    group, kind = _kind(manifest, place)
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        raise place.error(f"({kind}) has no metadata", "metadata")
    name = metadata.get("name")
    if not isinstance(name, str):
        problem = "has no metadata.name" if name is None else "has a metadata.name that is not a string: quote it"
        raise place.error(f"({kind}) {problem}", "metadata", "name")
    if wrong := _wrong_name(group, name):
        raise place.error(f"({kind}): {name[:80]!r} cannot be a name in Kubernetes: {wrong}", "metadata", "name")
    for field in ("labels", "annotations"):
        if not isinstance(metadata.get(field) or {}, dict):
            raise place.error(f"({kind} {name}): metadata.{field} is not a mapping", "metadata", field)
    return _placed(manifest, ObjectId(group, kind, namespace, name), policy, place.where)


def _placed(manifest: dict[str, Any], object_id: ObjectId, policy: Policy, where: str) -> Document:
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "namespace"}
    if not policy.namespaced(object_id.group, object_id.kind):
        return Document(object_id._replace(namespace=""), manifest | {"metadata": metadata})
    other = manifest["metadata"].get("namespace")
    warning = None
    if other not in (None, object_id.namespace):
        warning = f"{where} ({object_id.kind} {object_id.name}) names another namespace; its template's is used"
    metadata["namespace"] = object_id.namespace
    return Document(object_id, manifest | {"metadata": metadata}, warning)


def _kind(manifest: Mapping[str, Any], place: _Place) -> tuple[str, str]:
    version, kind = manifest.get("apiVersion"), manifest.get("kind")
    if not (isinstance(kind, str) and _KIND.fullmatch(kind)):
        raise place.error("has no kind", "kind")
    if not (isinstance(version, str) and _API_VERSION.fullmatch(version)):
        raise place.error(f"({kind}) has no apiVersion", "apiVersion")
    group, _, _ = version.rpartition("/")
    return group, kind


def _wrong_name(group: str, name: str) -> str | None:
    """What is wrong with a name, by the rules of its group (RFC 1123 subdomain; path segments in RBAC)."""
    if group == _RBAC:
        wrong = not name or name in (".", "..") or "/" in name or "%" in name or len(name) > 253
        return "no '/' and no '%', 253 characters at most" if wrong else None
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        return "lower case letters, digits, '-' and '.', an alphanumeric at both ends, 253 at most"
    return None


def _line(text: str, mark: yaml.Mark) -> int:
    """The line of a mark; what is missing at the end is missed in the last line."""
    return int(min(mark.line, text.rstrip().count("\n"))) + 1


def _pairs(node: Any) -> list[tuple[Any, Any]]:
    """Key and value nodes of a mapping."""
    return [pair for pair in node.value if isinstance(pair, tuple)] if isinstance(node, yaml.MappingNode) else []
