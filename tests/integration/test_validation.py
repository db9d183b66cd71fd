"""The chart's admission policies on a real API server: it refuses what rendering would refuse, no more and no less.

What is stored already stays as editable as it was.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_asyncio.client import ApiClient

from tests.integration.test_kubernetes_common import client, connected
from tests.kubectl import run
from tests.stack.kubernetes import Kubernetes
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.crds import TEMPLATES
from vcenter_operator.common.kubernetes.errors import ApiError, Rejected
from vcenter_operator.common.labels import API_VERSION, TEMPLATE_KIND
from vcenter_operator.renderer.core import templates
from vcenter_operator.renderer.core.templates import parse_template

__all__ = ["client", "connected"]
ME = "test"
MANIFESTS = Path(__file__).parents[2] / "deploy" / "chart" / "files" / "validation.yaml"
POLICY, BINDING = (
    Resource("admissionregistration.k8s.io", "v1", plural)
    for plural in ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
)
LATER_CAPABILITY = "uses-service-user"
"""Not rendered yet, but nothing that should be refused for ever."""


class Namespace:
    """Where the policies hold, and where templates are tried."""

    def __init__(self, api: Api, name: str) -> None:
        self.api, self.name = api, name
        self.collection = TEMPLATES.path(namespace=name)

    def template(self, name: str = "nova", **fields: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.name}
        return {"apiVersion": API_VERSION, "kind": TEMPLATE_KIND, "metadata": metadata, **fields}

    async def refusal(self, template: dict[str, Any]) -> str | None:
        """Why it is not taken; None: it is."""
        try:
            await self.api.create(self.collection, template, field_manager=ME, dry_run=True)
        except ApiError as error:
            return str(error)
        return None

    async def enforce(self) -> None:
        """Applies the policies for this namespace alone, and returns when they hold."""
        for manifest in yaml.safe_load_all(MANIFESTS.read_text()):
            resource = POLICY if manifest["kind"] == "ValidatingAdmissionPolicy" else BINDING
            manifest["metadata"]["name"] += f".{self.name}"
            if resource is BINDING:
                manifest["spec"]["policyName"] += f".{self.name}"
                selector = {"matchLabels": {"kubernetes.io/metadata.name": self.name}}
                manifest["spec"]["matchResources"] = {"namespaceSelector": selector}
            await self.api.apply(resource.path(manifest["metadata"]["name"]), manifest, field_manager=ME)
        async with asyncio.timeout(30):
            while await self.refusal(self.template(options={"scope": ""}, template="x")) is None:
                await asyncio.sleep(0.1)

    async def leave(self) -> None:
        for resource in (BINDING, POLICY):
            for item in (await self.api.list(resource.path())).items:
                if item["metadata"]["name"].endswith(f".{self.name}"):
                    await self.api.delete(resource.path(item["metadata"]["name"]))


@pytest.fixture
async def place(client: ApiClient, namespace: str) -> AsyncIterator[Namespace]:
    made = Namespace(Api(client), namespace)
    yield made
    await made.leave()


def options(**jinja: Any) -> dict[str, Any]:
    return {"scope": "cluster", "jinja2_options": jinja}


VALUES: list[Any] = ["{=", "", "{%", "{{", "{#", None, 7, True, ["{="], {"a": "b"}]
KEYS = ["block_start_string", "variable_start_string", "comment_end_string", "line_statement_prefix",
        "newline_sequence", "trim_blocks", "uses-service-user", "use-ini-password", "anything", "finalize"]  # fmt: skip
CASES: list[dict[str, Any]] = [
    {},
    {"options": None, "template": None},
    {"template": "x"},
    {"options": {}, "template": "x"},
    {"options": {"scope": None}, "template": "x"},
    {"options": {"scope": ""}, "template": "x"},
    {"options": {"scope": "snippets"}, "template": "x"},
    {"options": {"scope": "cluster"}},
    {"options": {"scope": "cluster"}, "template": ""},
    {"options": {"scope": "cluster", "jinja2_options": None}, "template": "x"},
    {"options": {"scope": "cluster", "anything": [1]}, "template": "x", "spec": {"a": 1}},
    *({"options": options() | {"rollout": value}, "template": "x"} for value in ["canary", "Canary", "", None, True]),
    *({"options": options(**{key: value}), "template": "x"} for key, value in itertools.product(KEYS, VALUES)),
    *({"options": options(newline_sequence=value), "template": "x"} for value in ("\n", "\r\n", "\r", "n")),
    {"options": options(block_start_string="{{"), "template": "x"},
    {
        "options": options(block_start_string="[[", variable_start_string="[[", comment_start_string="[["),
        "template": "x",
    },
    {"options": options(block_start_string="{{", variable_start_string="{="), "template": "x"},
]


async def test_it_refuses_what_rendering_would_refuse(place: Namespace) -> None:
    await place.enforce()
    for case in CASES:
        template = place.template(**case)
        problem = parse_template(template | {"metadata": template["metadata"] | {"uid": "u", "generation": 1}}).problem
        refusal = await place.refusal(template)
        if problem is None or LATER_CAPABILITY in problem:
            assert refusal is None, f"{case}: {refusal}"
        else:
            assert refusal is not None, f"{case}: taken, but {problem}"


async def test_whoever_applies_it_is_told_what_is_wrong(place: Namespace, kubernetes: Kubernetes) -> None:
    await place.enforce()

    async def said(**fields: Any) -> str:
        text = yaml.safe_dump(place.template(**fields))
        done = await asyncio.to_thread(run, kubernetes, "apply", "--dry-run=server", "-f", "-", given=text)
        return done.stderr

    async with asyncio.timeout(30):  # until the policy of the hints holds too
        while not await said(options={"scope": "clutser"}, template="x"):
            await asyncio.sleep(0.1)
    assert "the field 'template' is missing" in await said(options=options(), spec={"template": "x"})
    assert "block_end_string is not a string, or empty" in await said(
        options=options(block_end_string=""), template="x"
    )
    assert "finalize is no option that a template may set" in await said(options=options(finalize="x"), template="x")
    assert "Warning: " in await said(options={"scope": "clutser"}, template="x")
    assert "'clutser'" not in await said(options={"scope": "cluster"}, template="x")
    assert "Vault" in await said(options=options(**{LATER_CAPABILITY: True}), template="x")
    assert await said(options=options(), template="x") == ""

    stored = place.template(options=options(), template="x")
    await place.api.apply(
        TEMPLATES.path("nova", namespace=place.name), stored, field_manager="kubectl-client-side-apply"
    )
    assert "'clutser'" not in await said(options=options(), template="y")
    edited = await said(options=options() | {"scope": "clutser"}, template="x")
    assert "everything that it yielded until now is deleted" in edited


BAD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no-scope": {"options": {}, "template": "x"},
    "empty-delimiter": {"options": options(block_start_string=""), "template": "x"},
    "no-string": {"options": options(variable_start_string=7), "template": "x"},
    "not-allowed": {"options": options(finalize="x"), "template": "x"},
    "no-template": {"options": options()},
}


async def test_what_was_stored_before_stays_as_editable_as_it_was(place: Namespace) -> None:
    for name, fields in BAD.items():
        await place.api.create(place.collection, place.template(name, **fields), field_manager=ME)
    await place.enforce()
    for name, fields in BAD.items():
        path = TEMPLATES.path(name, namespace=place.name)
        assert await place.refusal(place.template(f"{name}-2", **fields)) is not None, "as a new one it is refused"
        await place.api.merge_patch(path, {"metadata": {"labels": {"a": "b"}}}, field_manager=ME)
        status = TEMPLATES.path(name, "status", namespace=place.name)
        body = place.template(name, status={"objects": 1})
        await place.api.apply(status, body, field_manager="vcenter-operator-renderer")
        if "options" in fields and "template" in fields:
            await place.api.merge_patch(path, {"template": "edited"}, field_manager=ME)
        mended = {"options": options(), "template": "mended"}
        await place.api.replace(path, place.template(name, **mended) | await version(place, name), field_manager=ME)
        with pytest.raises(Rejected):
            await place.api.merge_patch(path, {"options": {"scope": ""}}, field_manager=ME)
        assert await place.api.delete(path)


async def version(place: Namespace, name: str) -> dict[str, Any]:
    found = await place.api.get(TEMPLATES.path(name, namespace=place.name))
    assert found is not None
    kept = {field: found["metadata"][field] for field in ("name", "namespace", "resourceVersion")}
    return {"metadata": kept}


def test_the_list_of_what_may_not_be_set_is_that_of_jinja() -> None:
    policy = next(yaml.safe_load_all(MANIFESTS.read_text()))
    variables = {each["name"]: each["expression"] for each in policy["spec"]["variables"]}
    listed = set(yaml.safe_load(variables["environment"]))
    stock = {name for name in dir(templates._STOCK) if not name.startswith("_")}
    settable = templates._DELIMITERS | templates._PREFIXES | templates._SWITCHES | {"newline_sequence"}
    assert listed == stock - settable
