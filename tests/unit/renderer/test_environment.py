"""The Jinja2 environment: what templates cannot reach, what does not pass from one rendering into the next, and where

a failure is said to be.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.renderer.region import configmap, resource
from vcenter_operator.common.messages import REASON_AT_MOST
from vcenter_operator.renderer.core import environment
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.failures import Failure
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.rendering import Rendered, render
from vcenter_operator.renderer.core.templates import TemplateSet

PASSWORD = "Rubo1;FiwuNaqu"
VARIABLES: dict[str, Any] = {
    "name": "bb1",
    "host": "vc-a-0.cc.qa-de-1.cloud.sap",
    "username": "m3nova",
    "password": PASSWORD,
    "cluster_name": "productionbb001",
    "names": ["one"],
}


def library(*resources: dict[str, Any], max_output: int = Policy().max_output) -> tuple[Library, TemplateSet]:
    templates = TemplateSet.of(resources)
    made = Library(lambda username, host: f"{username} at {host}", max_output=max_output)
    made.replace(templates)
    return made, templates


def outcome(*resources: dict[str, Any], **more: Any) -> Rendered:
    """What the first of the templates comes to."""
    made, templates = library(*resources, **more)
    path = TemplateSet.of(resources[:1])
    return render(made, templates[next(iter(path))], VARIABLES, Policy())


def failure(*resources: dict[str, Any], **more: Any) -> Failure:
    found = outcome(*resources, **more).failure
    assert found is not None
    return found


ESCAPES = [
    "''.__class__",
    "''.__class__.__mro__[1].__subclasses__()",
    "''['__class__']",
    "'' | attr('__class__')",
    "['a'] | map(attribute='__class__') | list",
    "'{0.__class__}'.format('')",
    "'{x.__class__.__init__.__globals__}'.format_map({'x': range})",
    "lipsum.__globals__",
    "cycler.__init__.__globals__",
    "joiner.__class__",
    "namespace.__init__",
    "range.__call__.__self__",
    "dict.__subclasses__()",
    "dict.mro()",
    "callable.__self__",
    "context.__globals__",
    "context.__closure__",
    "context().__class__",
    "context()['context'].__globals__",
    "context().get('lipsum').__globals__",
    "self.__class__",
    "self._TemplateReference__context",
    "(none | derive_password).__class__",
    "names.append.__self__.__class__",
    "names.__class__",
]


@pytest.mark.parametrize("expression", ESCAPES)
def test_a_way_out_of_the_sandbox_is_refused(expression: str) -> None:
    text = configmap("escape", found=f"'{{{{ {expression} }}}}'")
    refused = failure(resource("escape", text))
    assert "SecurityError" in refused.reason
    assert refused.line == 5


@pytest.mark.parametrize(
    "expression",
    [
        "context().environment",
        "context().vars",
        "context().parent",
        "context().eval_ctx",
        "context().exported_vars",
        "context().resolve",
        "context().blocks",
    ],
)
def test_the_context_hands_out_variables_and_nothing_of_jinja2(expression: str) -> None:
    rendered = outcome(resource("context", configmap("context", found=f"'[{{{{ {expression} }}}}]'")))
    assert [each.manifest["data"] for each in rendered.documents] == [{"found": "[]"}]


@pytest.mark.parametrize("change", ["update({'name': 'x'})", "clear()", "pop('name')", "setdefault('x', 1)"])
def test_the_context_is_read_only(change: str) -> None:
    text = configmap("context", found=f"'{{{{ context().{change} }}}}'")
    assert "has no attribute" in failure(resource("context", text)).reason


def test_what_a_template_changes_is_its_own() -> None:
    """Deployed templates append to lists; neither another template nor another unit sees it."""
    text = "{% set _ = names.append(name) %}" + configmap("names", names="'{{ names | join(\",\") }}'")
    made, templates = library(resource("names", text))
    for _ in range(2):
        rendered = render(made, templates["vcenter_cluster/monsoon3/names.yaml.j2"], VARIABLES, Policy())
        assert rendered.documents[0].manifest["data"] == {"names": "one,bb1"}
    assert VARIABLES["names"] == ["one"]


def test_a_library_keeps_nothing_from_one_rendering_to_the_next() -> None:
    counter = (
        "{% set seen = namespace(count=0) %}"
        "{% macro count() %}{% set seen.count = seen.count + 1 %}{{ seen.count }}{% endmacro %}"
    )
    text = '{% import "vcenter_library/monsoon3/counter.yaml.j2" as counter %}' + configmap(
        "count", first="'{{ counter.count() }}'", second="'{{ counter.count() }}'"
    )
    made, templates = library(resource("user", text), resource("counter", counter, scope="library"))
    for _ in range(2):
        rendered = render(made, templates["vcenter_cluster/monsoon3/user.yaml.j2"], VARIABLES, Policy())
        assert rendered.documents[0].manifest["data"] == {"first": "1", "second": "2"}


def test_each_template_is_compiled_once_until_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = environment._Environment.compile

    def counting(self: Any, source: str, name: str, *more: Any) -> Any:
        compiled.append(name)
        return real(self, source, name, *more)

    monkeypatch.setattr(environment._Environment, "compile", counting)
    main = resource("main", '{% include "vcenter_library/monsoon3/part.yaml.j2" %}')
    part = resource("part", configmap("part"), scope="library")
    made, templates = library(main, part)
    template = templates["vcenter_cluster/monsoon3/main.yaml.j2"]
    for _ in range(3):
        assert render(made, template, VARIABLES, Policy()).failure is None
    assert sorted(compiled) == ["vcenter_cluster/monsoon3/main.yaml.j2", "vcenter_library/monsoon3/part.yaml.j2"]
    made.replace(TemplateSet.of([main, resource("part", configmap("other"), scope="library")]))
    assert render(made, template, VARIABLES, Policy()).documents[0].object_id.name == "other"
    assert compiled[2:] == ["vcenter_library/monsoon3/part.yaml.j2"]


def test_what_was_loaded_is_told_even_what_was_not_there() -> None:
    main = resource(
        "main",
        '{% include "vcenter_library/monsoon3/" ~ name ~ ".yaml.j2" %}'
        '{% include "vcenter_library/monsoon3/nowhere.yaml.j2" ignore missing %}',
    )
    part = resource("bb1", '{{ "vcenter_library/monsoon3/deep.yaml.j2" | render }}', scope="library")
    deep = resource("deep", "# nothing", scope="library")
    unused = resource("unused", "# nothing", scope="library")
    templates = TemplateSet.of([main, part, deep, unused])
    assert outcome(main, part, deep, unused).loaded == {
        "vcenter_cluster/monsoon3/main.yaml.j2": templates["vcenter_cluster/monsoon3/main.yaml.j2"].fingerprint,
        "vcenter_library/monsoon3/bb1.yaml.j2": templates["vcenter_library/monsoon3/bb1.yaml.j2"].fingerprint,
        "vcenter_library/monsoon3/deep.yaml.j2": templates["vcenter_library/monsoon3/deep.yaml.j2"].fingerprint,
        "vcenter_library/monsoon3/nowhere.yaml.j2": None,
    }


def test_too_much_output_is_refused() -> None:
    text = "{% for i in range(1000) %}{{ name * 100 }}{% endfor %}"
    refused = failure(resource("much", text), max_output=10_000)
    assert refused.reason == "TooMuchOutput: yields more than 10000 characters"


LIBRARY = [
    resource("broken", "line one\n{% if %}\n", scope="library"),
    resource("failing", "\n\n{{ 1 // 0 }}\n", scope="library"),
    resource("macros", "{% macro fail(x) %}\n\n{{ x.y.z }}\n{% endmacro %}", scope="library"),
    resource("cycle-a", '\n{% include "vcenter_library/monsoon3/cycle-b.yaml.j2" %}', scope="library"),
    resource("cycle-b", '{{ "vcenter_library/monsoon3/cycle-a.yaml.j2" | render }}', scope="library"),
    resource("service-user", "x", scope="library", **{"uses-service-user": "nova"}),
]
OWN = "vcenter_cluster/monsoon3/main.yaml.j2"
FAILURES = {
    "syntax": ("a: b\n{% if x %}\n", OWN, 2, "TemplateSyntaxError: Unexpected end of template"),
    "unknown filter": ("a\n\n{{ name | no_such }}", OWN, 3, "No filter named 'no_such'"),
    "undefined": ("a\nb\n{{ nothing.attribute }}", OWN, 3, "UndefinedError: 'nothing' is undefined"),
    "type": ("a\n{{ name + 1 }}\n", OWN, 2, 'TypeError: can only concatenate str (not "int") to str'),
    "value": ("a\n{{ password | round }}\n", OWN, 2, "TypeError"),
    "in a loop": ("{% for i in [1, 0] %}\n{{ 1 // i }}\n{% endfor %}", OWN, 2, "ZeroDivisionError"),
    "missing template": ('\n{% include "vcenter_library/x/y.yaml.j2" %}', OWN, 2, "no template 'vcenter_library/x/y"),
    "included, syntax": (
        '\n{% include "vcenter_library/monsoon3/broken.yaml.j2" %}',
        "vcenter_library/monsoon3/broken.yaml.j2",
        2,
        "TemplateSyntaxError",
    ),
    "included": (
        '{% include "vcenter_library/monsoon3/failing.yaml.j2" %}',
        "vcenter_library/monsoon3/failing.yaml.j2",
        3,
        "ZeroDivisionError",
    ),
    "rendered": (
        '{{ "vcenter_library/monsoon3/failing.yaml.j2" | render }}',
        "vcenter_library/monsoon3/failing.yaml.j2",
        3,
        "ZeroDivisionError",
    ),
    "macro": (
        '{% import "vcenter_library/monsoon3/macros.yaml.j2" as macros %}\n{{ macros.fail({}) }}',
        "vcenter_library/monsoon3/macros.yaml.j2",
        3,
        "UndefinedError: 'dict object' has no attribute 'y'",
    ),
    "cycle": (
        '\n\n{% include "vcenter_library/monsoon3/cycle-a.yaml.j2" %}',
        OWN,
        3,
        "nested without end, or too deeply: vcenter_cluster/monsoon3/main.yaml.j2 -> "
        "vcenter_library/monsoon3/cycle-a.yaml.j2 -> vcenter_library/monsoon3/cycle-b.yaml.j2",
    ),
    "endless macro": ("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", OWN, 2, "nested without end"),
    "range": ("\n{{ range(1000000000) | list }}", OWN, 2, "OverflowError"),
    "service user loaded": (
        '{{ "vcenter_library/monsoon3/service-user.yaml.j2" | render }}',
        OWN,
        1,
        "credentials managed in Vault",
    ),
    "yaml": ("a: 1\n{% set x = 1 %}\n\nb: [1,\n", OWN, 4, "not valid YAML"),
    "yaml in a loop": (
        "{% for i in [1, 2] -%}\na{{ i }}: b{% if i > 1 %}: c{% endif %}\n{% endfor %}\n---\n",
        OWN,
        2,
        "not valid YAML",
    ),
    "yaml after trimming": (
        "{%- if name %}\n{%- set a = 1 %}\napiVersion: v1\n{%- endif %}\n\nkind: {{ name }} : x\n",
        OWN,
        6,
        "not valid YAML",
    ),
    "tab": ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: x\n", OWN, 4, "not valid YAML"),
    "control character": ("a: 1\nb: {{ '\\x07' }}\n", OWN, 2, "a character that YAML does not allow"),
    "no mapping": ("just text", OWN, 1, "document 1 is not a mapping"),
    "name": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: {a: b}\n  name: x_{{ name }}\n",
        OWN,
        5,
        "'x_bb1' cannot be a name",
    ),
    "name in the second document": (
        "---\n{% if true %}\n" + configmap("fine") + "{% endif %}\n---\n" + configmap("Bad"),
        OWN,
        11,
        "document 2 (ConfigMap): 'Bad'",
    ),
}


@pytest.mark.parametrize(("text", "path", "line", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_failure_names_template_and_line(text: str, path: str, line: int, reason: str) -> None:
    found = failure(resource("main", text), *LIBRARY)
    assert reason in found.reason
    assert (found.path, found.line) == (path, line)
    assert f"{path}, line {line}: " in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "{{ password | int(default=none) + 1 }}",
        "{{ [password] | sum }}",
        "{{ {}[password].x }}",
        "a: !{{ password }} x",
        "a: *{{ password }}",
        "a: '{{ password }}\nb: {",
        "{{ password }}",
        "a: {{ '2026-99-99' }}\n{{ password }}: 1",
        "{{ password | tojson | fromjson }}",
        "{{ '%d' | format(password) }}",
        "{{ password.encode('idna').decode('utf-16') }}",
        "{{ {}[password ~ '\"'].x }}",
        "{{ {}['\\'' ~ password ~ '\"'].x }}",
        "{% include password %}",
        "{% macro m() %}{% endmacro %}{{ m(**{password: 1}) }}",
        "{{ name | attr('_' ~ password) }}{{ name.x.y }}",
    ],
)
def test_a_failure_never_repeats_a_value(text: str) -> None:
    found = str(failure(resource("main", text)))
    assert PASSWORD not in found
    assert not any(PASSWORD[at : at + 5] in found for at in range(len(PASSWORD) - 4))


@pytest.mark.parametrize(
    "text",
    [
        r'{% include "\ud800" %}',
        r'{% include ["\ud800"] %}',
        r'{{ {}["\ud800"].y }}',
        r'{{ "\ud800" | render }}',
        "{% " + "A" * 1_000_000 + " %}",
        "{{ name | " + "f" * 1_000_000 + " }}",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {'" + "k" * 100_000 + "\ud800': a: b}",
    ],
)
def test_a_failure_fits_into_a_message_whatever_it_quotes(text: str) -> None:
    reason = failure(resource("main", text)).reason
    assert reason.encode()
    assert len(reason) <= REASON_AT_MOST
