"""VCenterTemplates: what a resource says, and the options that it may set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import Environment

from vcenter_operator.common.watching import version_of

SCOPES = ("cluster", "datacenter", "storage")
"""Templates of these scopes are rendered; those of any other are libraries, for others to load."""

_DELIMITERS = frozenset(f"{kind}_{end}_string" for kind in ("block", "variable", "comment") for end in ("start", "end"))
_PREFIXES = frozenset({"line_statement_prefix", "line_comment_prefix"})
_SWITCHES = frozenset({"trim_blocks", "lstrip_blocks", "keep_trailing_newline", "autoescape"})
_NEWLINES = ("\n", "\r\n", "\r")
JINJA2_OPTIONS = _DELIMITERS | _PREFIXES | _SWITCHES | {"newline_sequence"}
"""What `options.jinja2_options` may set of the template's own Jinja2 environment."""
_OF_THE_OPERATOR = frozenset({"uses-service-user", "use-ini-password"})
_STOCK = Environment(autoescape=False)  # noqa: S701 - it renders nothing: it knows what attributes there are


@dataclass(frozen=True)
class Template:
    """One VCenterTemplate, as far as it matters for rendering."""

    namespace: str
    name: str
    scope: str
    source: str = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of its Jinja2 environment, checked against the allowlist."""
    problem: str | None = None
    """Why it can neither be rendered nor loaded by another."""
    warnings: tuple[str, ...] = ()
    version: int = 0
    """Changes with the content only, see `watching.version_of`."""
    uid: str = ""
    generation: int = 0
    """`metadata.generation`; 0: its kind has none, in a folder."""
    rolls_out: bool = False
    """Whether what it yields is rolled out step by step."""

    @property
    def key(self) -> str:
        """`<namespace>/<name>`."""
        return f"{self.namespace}/{self.name}"

    @cached_property
    def path(self) -> str:
        """What others load it by: `vcenter_<scope>/<namespace>/<name>.yaml.j2`, as in the deployed operator."""
        return f"vcenter_{self.scope}/{self.namespace}/{self.name}.yaml.j2"

    @property
    def rendered(self) -> bool:
        """Whether it is rendered by itself, rather than a library."""
        return self.scope in SCOPES

    @cached_property
    def fingerprint(self) -> str:
        """Equal for templates that render alike."""
        content = json.dumps([self.path, self.source, dict(self.options), self.problem], sort_keys=True)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def parse_template(resource: Mapping[str, Any]) -> Template:
    """The template of a VCenterTemplate resource. Never raises: what is wrong with it is its `problem`."""
    metadata = resource["metadata"]
    options, source = resource.get("options"), resource.get("template")
    scope = options.get("scope") if isinstance(options, Mapping) else None
    problems: list[str] = []
    if not isinstance(scope, str) or not scope:
        problems.append("options.scope is missing")
    if not isinstance(source, str):
        problems.append("the field 'template' is missing")
    environment, warnings = _environment_options(options, problems)
    rolls_out = isinstance(options, Mapping) and "rollout" in options
    if isinstance(options, Mapping) and options.get("rollout", "canary") != "canary":
        problems.append("options.rollout can only be 'canary'")
    return Template(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        scope=scope if isinstance(scope, str) else "",
        source=source if isinstance(source, str) else "",
        options=environment,
        problem=problems[0] if problems else None,
        warnings=tuple(warnings),
        version=version_of(resource),
        uid=str(metadata.get("uid", "")),
        generation=int(metadata.get("generation") or 0),
        rolls_out=rolls_out,
    )


class TemplateSet(Mapping[str, Template]):
    """All templates there are, by path."""

    def __init__(self, templates: Iterable[Template] = ()) -> None:
        self._templates = {template.path: template for template in sorted(templates, key=lambda each: each.path)}

    @classmethod
    def of(cls, resources: Iterable[Mapping[str, Any]]) -> TemplateSet:
        """From whole VCenterTemplate resources."""
        return cls(map(parse_template, resources))

    def __getitem__(self, path: str) -> Template:
        return self._templates[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._templates)

    def __len__(self) -> int:
        return len(self._templates)

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """Path to fingerprint."""
        return {path: template.fingerprint for path, template in self._templates.items()}

    @cached_property
    def versions(self) -> dict[str, int]:
        """`<namespace>/<name>` to the content's version."""
        return {template.key: template.version for template in self._templates.values()}

    @cached_property
    def rollouts(self) -> dict[str, int]:
        """`<namespace>/<name>` of those rolled out step by step, to a version of their content and all libraries.

        Which libraries a template loads only rendering would tell; an edit of any of them begins a rollout.
        """
        libraries = [(each.path, each.version) for each in self._templates.values() if not each.rendered]
        return {
            each.key: int.from_bytes(hashlib.sha256(repr((each.version, libraries)).encode()).digest()[:6])
            for each in self._templates.values()
            if each.rolls_out and each.rendered and each.problem is None
        }

    def of_scope(self, scope: str) -> list[Template]:
        """Those of a scope that can be rendered, by path."""
        return [each for each in self._templates.values() if each.scope == scope and each.problem is None]


def _environment_options(options: Any, problems: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The allowed part of `options.jinja2_options`; adds to `problems`, returns warnings.

    What would have changed the rendering under the deployed operator, but is not allowed here, is a problem rather
    than ignored: it would yield another manifest. What had no effect there has none here.
    """
    stated = options.get("jinja2_options") if isinstance(options, Mapping) else None
    if stated is None:
        return {}, []
    if not isinstance(stated, Mapping):
        problems.append("options.jinja2_options is not an object")
        return {}, []
    allowed: dict[str, Any] = {}
    warnings = [
        f"options.jinja2_options.{key} is not a bool, and counts as {str(bool(stated[key])).lower()}"
        for key in sorted(_SWITCHES & stated.keys())
        if not isinstance(stated[key], bool)
    ]
    for key, value in stated.items():
        if key in JINJA2_OPTIONS:
            if wrong := _wrong_value(key, value):
                problems.append(f"options.jinja2_options.{key} {wrong}")
            allowed[key] = bool(value) if key in _SWITCHES else value  # as Jinja2 takes it
        elif key == "uses-service-user":
            problems.append(
                "options.jinja2_options.uses-service-user asks for credentials managed in Vault, which are not"
                " supported yet; it is never rendered with a derived password instead"
            )
        elif key not in _OF_THE_OPERATOR and hasattr(_STOCK, str(key)):
            problems.append(f"options.jinja2_options.{key} is no option that a template may set")
        elif key not in _OF_THE_OPERATOR:
            warnings.append(f"options.jinja2_options.{key} is unknown and has no effect")
    starts = [allowed.get(f"{kind}_start_string", getattr(_STOCK, f"{kind}_start_string"))
              for kind in ("block", "variable", "comment")]  # fmt: skip
    if len(set(map(str, starts))) < len(starts):
        problems.append("options.jinja2_options: blocks, variables and comments start with the same string")
    return allowed, warnings


def _wrong_value(key: str, value: Any) -> str | None:
    if key in _DELIMITERS and not (isinstance(value, str) and value):
        return "is not a string, or empty"
    if key in _PREFIXES and not (value is None or (isinstance(value, str) and value)):
        return "is not a string, or empty"
    if key == "newline_sequence" and value not in _NEWLINES:
        return "is not a newline"
    return None
