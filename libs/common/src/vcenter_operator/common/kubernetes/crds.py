"""The custom resource definitions: read at the start of every process, and made or brought up to date where they lack
something of this release's and the process has the right to do so (contract).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml
from kubernetes_asyncio.client import ApiClient

from vcenter_operator.common.errors import ConfigurationError, TransientError
from vcenter_operator.common.kubernetes.api import Api, Resource
from vcenter_operator.common.kubernetes.errors import Conflict, Forbidden
from vcenter_operator.common.labels import FIELD_MANAGER, GROUP, VERSION
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

TEMPLATES = Resource(GROUP, VERSION, "vcenter-templates")
VCENTERS = Resource(GROUP, VERSION, "vcenters")
SERVICE_USERS = Resource(GROUP, VERSION, "vcenter-service-users")

_DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_SERVED = {f"{resource.plural}{part}" for resource in (TEMPLATES, VCENTERS, SERVICE_USERS) for part in ("", "/status")}
_ATTEMPTS = 5
NUMBER = f"{GROUP}/definition"
"""Annotation: raised with every change of a definition."""


def definitions() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions, as shipped with this package."""
    folder = files("vcenter_operator.common.kubernetes") / "definitions"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".yaml")), key=lambda path: path.name)
    return [yaml.safe_load(path.read_text()) for path in paths]


def definitions_yaml() -> str:
    """The same as a YAML stream, for who would rather apply them by hand."""
    return yaml.dump_all(definitions(), Dumper=_WithoutAliases, sort_keys=False, explicit_start=True, width=120)


async def ensure_crds(client: ApiClient, *, dry_run: bool = False, within: float = 30.0) -> None:
    """Returns when the server serves them (`within` seconds), having made or updated those that lack anything.

    One that a later release wrote is left as it is. Without the right to write
    them it is enough that they are there; one that is behind is told of, since the server drops what it does not know.
    A dry run has the server check them, no more.

    Raises:
        ConfigurationError: they are missing, and may not be created.
        TransientError: the server is away, or does not serve them in time.
    """
    api = Api(client)
    refused = [
        problem for definition in definitions() if (problem := await _bring_up_to_date(api, definition, dry_run))
    ]
    if dry_run:
        return
    if refused:
        if missing := await _missing(api):
            raise ConfigurationError(
                f"the CRDs are missing ({', '.join(sorted(missing))}) and may not be created: install them (the Helm "
                f"chart does), or grant the operator create and patch on customresourcedefinitions ({refused[0]})"
            )
        log.warning("CRDs that may be behind this release, without the right to update them", refused=refused)
        return
    try:
        async with asyncio.timeout(within):
            while await _missing(api):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TransientError(f"the CRDs are not served within {within:.0f} s: {await _why(api)}") from None


async def _bring_up_to_date(api: Api, definition: dict[str, Any], dry_run: bool) -> str | None:
    """Why it could not be, where it had to be."""
    name = definition["metadata"]["name"]
    try:
        found = await api.get(_DEFINITIONS.path(name))
        if found is not None and is_current(found, definition):
            return None
    except Forbidden:
        pass  # to be read, that is: it may be written all the same
    try:
        await _apply(api, definition, dry_run)
    except Forbidden as error:
        return str(error)
    return None


def is_current(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a definition is this release's or a later one's. That goes by a number which every change raises.

    By what it says it could not be told: a later release may demand less.
    """
    theirs, ours = _number(found), _number(wanted)
    return theirs > ours or (theirs == ours and states(found["spec"], wanted["spec"]))


def _number(definition: Mapping[str, Any]) -> int:
    """0 where it has none, as what the deployed operator made."""
    found = (definition["metadata"].get("annotations") or {}).get(NUMBER, "")
    return int(found) if found.isdecimal() else 0


def states(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted of a definition is there: the server adds defaults, and leaves out what is false."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(states(found.get(key), wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) >= len(wanted) and all(map(states, found, wanted))
    return bool(found == wanted) or (wanted is False and found is None)


async def _apply(api: Api, definition: dict[str, Any], dry_run: bool) -> None:
    """Every process of the operator does this at its start, at about the same time: hence the attempts."""
    path = _DEFINITIONS.path(definition["metadata"]["name"])
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await api.apply(path, definition, field_manager=FIELD_MANAGER, dry_run=dry_run)
        except Conflict:
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(0.05 * attempt)
        else:
            return


async def _missing(api: Api) -> set[str]:
    """What the server does not serve. Its discovery document may be read by every account."""
    served = await api.kinds(GROUP, VERSION) or {}
    return _SERVED - {kind.plural for kind in served.values()}


async def _why(api: Api) -> str:
    reasons = []
    for definition in definitions():
        found = await api.get(_DEFINITIONS.path(definition["metadata"]["name"]))
        reasons += [
            f"{definition['metadata']['name']}: {condition.get('message', condition['reason'])}"
            for condition in ((found or {}).get("status") or {}).get("conditions") or ()
            if condition["type"] in ("Established", "NamesAccepted") and condition["status"] != "True"
        ]
    return "; ".join(reasons) or "no reason given"


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, _: Any) -> bool:
        return True
