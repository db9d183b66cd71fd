"""What is no manifest is refused with the document and line, and cannot make the process work without end."""

from __future__ import annotations

from typing import Any

import pytest

from vcenter_operator.common.identity import ObjectId
from vcenter_operator.renderer.core.documents import DocumentError, parse_documents
from vcenter_operator.renderer.core.policy import Policy

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n---\n"


def head(kind: str = "ConfigMap", version: str = "v1") -> str:
    return f"apiVersion: {version}\nkind: {kind}\n"


REFUSED = {
    "[1, 2]": (5, "document 2 is not a mapping"),
    "kind: X\nmetadata: {name: x}": (5, "document 2 (X) has no apiVersion"),
    "apiVersion: v1\nmetadata: {name: x}": (5, "document 2 has no kind"),
    "apiVersion: v1\nkind: 7\nmetadata: {name: x}": (6, "document 2 has no kind"),
    "apiVersion: a/b/c\nkind: X\nmetadata: {name: x}": (5, "document 2 (X) has no apiVersion"),
    head(): (5, "document 2 (ConfigMap) has no metadata"),
    head() + "metadata: []": (7, "document 2 (ConfigMap) has no metadata"),
    head() + "metadata:\n  generateName: x-": (8, "document 2 (ConfigMap) has no metadata.name"),
    head() + "metadata:\n  labels: {}\n  name: 7": (9, "a metadata.name that is not a string: quote it"),
    head() + "metadata: {name: ''}": (7, "document 2 (ConfigMap): '' cannot be a name in Kubernetes"),
    head() + "metadata: {name: Upper}": (7, "document 2 (ConfigMap): 'Upper' cannot be a name in Kubernetes"),
    head() + "metadata: {name: a/b}": (7, "'a/b' cannot be a name"),
    head() + "metadata: {name: -a}": (7, "'-a' cannot be a name"),
    head() + "metadata: {name: " + "a" * 254 + "}": (7, "cannot be a name"),
    head("K" * 64) + "metadata: {name: x}": (6, "has no kind"),
    head(version="g" * 254 + "/v1") + "metadata: {name: x}": (5, "has no apiVersion"),
    head("Role", "rbac.authorization.k8s.io/v1") + "metadata: {name: " + "a" * 254 + "}": (7, "cannot be a name"),
    head() + "metadata:\n  name: x\n  labels: [a]": (9, "document 2 (ConfigMap x): metadata.labels is not a mapping"),
    head() + "metadata: {name: x, annotations: a}": (7, "metadata.annotations is not a mapping"),
    head("Role", "rbac.authorization.k8s.io/v1") + "metadata: {name: 'a%b'}": (7, "'a%b' cannot be a name"),
    head() + "metadata: {name: x}\ndata: !!set {a, b}": (5, "document 2 holds a set"),
    head() + "metadata: {name: x}\ndata: !!binary aGk=": (5, "document 2 holds a bytes"),
    head() + "metadata: {name: x}\ndata: {x: .nan}": (5, "document 2 holds a float"),
    head() + "metadata: {name: x}\ndata: {x: 0x" + "f" * 4000 + "}": (5, "a number of too many digits"),
    head() + "metadata: {name: x}\ndata: {? [a] : x}": (8, "not valid YAML"),
    head() + "metadata: {name: x}\ndata: {x: 2026-99-99}": (5, "looks like a date or number"),
    head() + "metadata: {name: x}\ndata: &a [*a]": (5, "document 2 is too big or too deep"),
    head("List") + "items:\n- 7": (8, "document 2, item 1, is not a mapping"),
    head("List") + "items:\n- {apiVersion: v1, kind: X, metadata: {name: x}}\n- kind: Y": (
        9,
        "document 2, item 2, (Y) has no apiVersion",
    ),
    head() + "metadata: {name: x}\ndata: {x: !!timestamp soon}": (5, "looks like a date or number"),
    head() + "metadata: {name: x}\ndata: {x: !!bool perhaps}": (5, "looks like a date or number"),
    head() + 'metadata: {name: x}\ndata: {x: "\\ud83d"}': (5, "half of a surrogate pair"),
    head() + "metadata: {name: x}\ndata:\n  x: \ud83d": (9, "a character that YAML does not allow"),
    "a: b: c": (5, "not valid YAML: mapping values are not allowed in this context"),
    "a: 'b\n": (5, "not valid YAML: while scanning a quoted scalar"),
    "a: !unknown-tag-with-a-value b": (5, "not valid YAML"),
    "a: !!python/object/apply:os.system [ls]": (5, "not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "problem"), [(text, *found) for text, found in REFUSED.items()])
def test_what_is_no_manifest_is_refused_with_document_and_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(DocumentError) as refused:
        parse_documents(GOOD + text, "monsoon3", Policy())
    assert problem in str(refused.value)
    assert refused.value.line == line


def test_aliases_within_aliases_are_not_expanded_without_end() -> None:
    laughs = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    text = head() + "metadata: {name: x}\na0: &a0 ha\n" + "\n".join(laughs)
    with pytest.raises(DocumentError, match="too big or too deep"):
        parse_documents(text, "monsoon3", Policy())


@pytest.mark.parametrize("item", ["*long", "{k: *long}", "{? *long : x}"])
@pytest.mark.parametrize("plain", [True, False])
def test_aliases_do_not_multiply_a_long_text(item: str, plain: bool) -> None:
    text = f"{head()}metadata: {{name: x}}\nodd: {'a' if plain else '2026-01-01'}\nlong: &long {'x' * 100_000}\n"
    with pytest.raises(DocumentError, match="too big or too deep"):
        parse_documents(text + "data:\n" + f"- {item}\n" * 300, "monsoon3", Policy())


def test_an_object_that_kubernetes_cannot_store_is_refused_and_its_size_is_told() -> None:
    """What is just below may be refused by the API server; what is above always is, and holds up other objects."""
    for character, fits in (("x", 1_500_000), ("\u00e9", 750_000), ("\t", 750_000)):
        start = f'{GOOD}{head()}metadata: {{name: big}}\ndata: {{k: "{character * fits}'
        assert len(parse_documents(f'{start}"}}', "monsoon3", Policy())) == 2
        with pytest.raises(DocumentError, match=r"document 2 \(ConfigMap big\) is too big: \d{7} bytes") as refused:
            parse_documents(f'{start}{character * 80_000}"}}', "monsoon3", Policy())
        assert refused.value.line == 5


def test_a_list_may_hold_more_than_one_object_of_it_could() -> None:
    items = "".join(f"- {{metadata: {{name: x{n}}}, data: {{k: {'x' * 700_000}}}}}\n" for n in range(3))
    assert len(parse_documents(head("ConfigMapList") + "items:\n" + items, "monsoon3", Policy())) == 3


def test_a_template_that_yields_objects_without_end_is_refused() -> None:
    many = "---\n".join(head() + f"metadata: {{name: x{n}}}\n" for n in range(1001))
    with pytest.raises(DocumentError, match="document 1001 is one too many") as refused:
        parse_documents(many, "monsoon3", Policy())
    assert refused.value.line == 1000 * 4 + 1
    assert len(parse_documents(many[: many.rindex("---")], "monsoon3", Policy())) == 1000


def test_kinds_on_the_allowlist_get_no_namespace() -> None:
    text = head("Namespace") + "metadata: {name: x, namespace: y}\n---\n" + GOOD
    policy = Policy(cluster_scoped_kinds=frozenset({"/Namespace", "rbac.authorization.k8s.io/ClusterRole"}))
    namespace, configmap = parse_documents(text, "monsoon3", policy)
    assert namespace.object_id == ObjectId("", "Namespace", "", "x")
    assert namespace.manifest["metadata"] == {"name": "x"}
    assert configmap.object_id == ObjectId("", "ConfigMap", "monsoon3", "good")
    assert parse_documents(text, "monsoon3", Policy())[0].object_id.namespace == "monsoon3"


TAKEN = {
    "a tab that begins a block scalar": ("x: |\n  \tall:\n  \t\tmake\n", {"x": "\tall:\n\t\tmake\n"}),
    "a key without value in braces": ("{x:, y:}", {"x": None, "y": None}),
    "a surrogate pair, as JSON escapes it": ('{"x": "\\ud83d\\ude00", "\\ud83d\\ude00": 1}', {"x": "😀", "😀": 1}),
    "pairs": ("x: !!pairs [a: 1]", {"x": [["a", 1]]}),
}


@pytest.mark.parametrize(("text", "data"), TAKEN.values(), ids=TAKEN.keys())
def test_whatever_safe_load_all_takes_is_taken(text: str, data: dict[str, Any]) -> None:
    """libyaml, which is used for its speed, refuses some of it."""
    indented = "".join(f"  {line}\n" for line in text.splitlines())
    one, other = parse_documents(f"{head()}metadata: {{name: x}}\ndata:\n{indented}---\n{GOOD}", "monsoon3", Policy())
    assert one.manifest["data"] == data
    assert other.object_id.name == "good"


def test_an_object_whose_kind_ends_in_list_is_none() -> None:
    allowed = head("AllowList", "example.org/v1") + "metadata: {name: x}\nitems: [a, b]\n"
    [document] = parse_documents(allowed, "monsoon3", Policy())
    assert (document.object_id.kind, document.manifest["items"]) == ("AllowList", ["a", "b"])
    several = head("ConfigMapList") + "metadata: {}\nitems:\n- metadata: {name: x}\n- metadata: {name: y}\n"
    assert [each.object_id.name for each in parse_documents(several, "monsoon3", Policy())] == ["x", "y"]
