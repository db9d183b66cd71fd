"""Requests by path, dicts in and out: the little of the Kubernetes API that the operator uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.kubernetes.errors import NotFound, Unavailable, outcome_of, translated
from vcenter_operator.common.metrics import KUBERNETES, timed

_PAGE = 250
"""Objects of a list that are parsed in one turn of the loop: of Deployments about 50 ms."""
JSON = "application/json"
ONE_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_ALL_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_METHODS = {
    "get": ("GET", JSON),
    "list": ("GET", JSON),
    "apply": ("PATCH", "application/apply-patch+yaml"),
    "create": ("POST", JSON),
    "replace": ("PUT", JSON),
    "patch": ("PATCH", "application/merge-patch+json"),
    "delete": ("DELETE", JSON),
}
"""HTTP method and type of the body, by the kind of request."""


@dataclass(frozen=True)
class Resource:
    """A collection of objects of one kind. `group` is empty for the core group.

    `namespace` None: those of all namespaces, or of a cluster-scoped kind.
    """

    group: str
    version: str
    plural: str
    namespace: str | None = None
    label_selector: str | None = None
    field_selector: str | None = None

    def path(self, name: str | None = None, subresource: str | None = None, *, namespace: str | None = None) -> str:
        """The request path of the collection, or of one object; `namespace` stands in for the collection's own."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if within := namespace or self.namespace:
            parts += ["namespaces", within]
        parts += [self.plural, *(part for part in (name, subresource) if part)]
        return "/" + "/".join(quote(part, safe="") for part in parts)


class Listing(NamedTuple):
    """All objects of a collection, each with apiVersion and kind or what is kept of it; its resourceVersion."""

    items: list[Any]
    resource_version: int


class Kind(NamedTuple):
    """What the server says about a kind."""

    plural: str
    namespaced: bool
    verbs: frozenset[str]


class Api:
    """Every call has a timeout (seconds), and raises `kubernetes.errors.ApiError` alone.

    Paths are those of `Resource.path`.
    """

    def __init__(self, client: ApiClient, *, timeout: float = 30.0) -> None:
        self._client = client
        self._timeout = timeout

    async def get(self, path: str, *, metadata_only: bool = False) -> dict[str, Any] | None:
        """One object; None: there is none."""
        try:
            return await self._request("get", path, accept=ONE_METADATA if metadata_only else JSON)
        except NotFound:
            return None

    async def list(
        self,
        path: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
        kept: Callable[[dict[str, Any]], Any] = lambda item: item,
    ) -> Listing:
        """All objects as they are now: a consistent read, page by page, complete or an error.

        `kept`: what is kept of an object, so that of no more than a page all is in memory.
        """
        query = {"limit": str(_PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        accept = _ALL_METADATA if metadata_only else JSON
        items: list[Any] = []
        while True:
            page = await self._request("list", path, query, accept=accept)
            kind = {"apiVersion": page["apiVersion"], "kind": page["kind"].removesuffix("List")}
            items += [kept(kind | item) for item in page.get("items") or ()]
            if not (more := page["metadata"].get("continue")):
                return Listing(items, int(page["metadata"]["resourceVersion"]))
            query["continue"] = more

    async def apply(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = True,
        dry_run: bool = False,
        metadata_only: bool = False,
    ) -> dict[str, Any]:
        """Server-side apply of one object; with `force`, fields of other managers are taken over.

        The answer is the object as it is then, or its metadata alone.
        """
        query = {"fieldManager": field_manager, "force": "true" if force else "false", **_dry_run(dry_run)}
        accept = ONE_METADATA if metadata_only else JSON
        return await self._request("apply", path, query, body, accept=accept)

    async def create(
        self, path: str, body: Mapping[str, Any], *, field_manager: str, dry_run: bool = False
    ) -> dict[str, Any]:
        """A new object; `path` is the collection's. Raises Conflict (`AlreadyExists`) where there is one."""
        return await self._request("create", path, {"fieldManager": field_manager, **_dry_run(dry_run)}, body)

    async def replace(
        self, path: str, body: Mapping[str, Any], *, field_manager: str, dry_run: bool = False
    ) -> dict[str, Any]:
        """The whole object anew. With `metadata.resourceVersion`: Conflict, if it changed since that was read."""
        return await self._request("replace", path, {"fieldManager": field_manager, **_dry_run(dry_run)}, body)

    async def merge_patch(
        self, path: str, body: Mapping[str, Any], *, field_manager: str, dry_run: bool = False
    ) -> dict[str, Any]:
        """A JSON merge patch (RFC 7396): None deletes a field."""
        query = {"fieldManager": field_manager, **_dry_run(dry_run)}
        return await self._request("patch", path, query, body)

    async def delete(
        self,
        path: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str = "Background",
        dry_run: bool = False,
    ) -> bool:
        """Deletes one object, if it is still the one meant. False: it was gone already.

        Raises Conflict when uid or resourceVersion are no longer those, NotFound when there is no such collection:
        the server names a reason for an object that is missing alone.
        """
        wanted = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {name: value for name, value in wanted.items() if value is not None}
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if preconditions:
            options["preconditions"] = preconditions
        if dry_run:
            options["dryRun"] = ["All"]
        try:
            await self._request("delete", path, _dry_run(dry_run), options)
        except NotFound as error:
            if error.reason != "NotFound":
                raise
            return False
        return True

    async def kinds(self, group: str, version: str) -> dict[str, Kind] | None:
        """The kinds of a group and version by name; None: the server does not know them (yet).

        Subresources are there as `<plural>/<subresource>`, under that name instead of their kind's.
        """
        found = await self.get(f"/apis/{group}/{version}" if group else f"/api/{version}")
        if found is None:
            return None
        return {
            resource["name"] if "/" in resource["name"] else resource["kind"]: Kind(
                resource["name"], resource["namespaced"], frozenset(resource.get("verbs") or ())
            )
            for resource in found.get("resources") or ()
        }

    async def _request(
        self,
        kind: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        accept: str = JSON,
    ) -> dict[str, Any]:
        method, content_type = _METHODS[kind]
        secret = body is not None and body.get("kind") == "Secret"
        with timed(KUBERNETES, kind, outcome_of), translated(f"{method} {path}", secret=secret):
            answer: Any = await self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": accept, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                response_types_map={200: "object", 201: "object", 202: "object"},
                _return_http_data_only=True,
                _request_timeout=self._timeout,
            )
        if not isinstance(answer, dict):
            raise Unavailable(f"{method} {path}: the answer is no JSON object; is this the API server?")
        return answer


def _dry_run(wanted: bool) -> dict[str, str]:
    return {"dryRun": "All"} if wanted else {}
