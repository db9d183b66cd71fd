"""Rendering a vCenter at once, in this process: for previews, and for whoever writes templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.messages import Inventory, Unknown
from vcenter_operator.common.surroundings import Surroundings
from vcenter_operator.renderer.core.cells import parse_cells
from vcenter_operator.renderer.core.delta import Yield, fitting, merge, renderings
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.membership import as_member
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.rendering import render
from vcenter_operator.renderer.core.scopes import Region, scopes_of
from vcenter_operator.renderer.core.templates import TemplateSet

_FIRST = {"Secret": 0, "ConfigMap": 1, "Deployment": 2}


@dataclass(frozen=True)
class Rendering:
    """What should exist for one vCenter."""

    host: str
    manifests: dict[ObjectId, dict[str, Any]]
    """Complete, in the order in which they would be applied: Secrets, ConfigMaps, Deployments, the rest."""
    unknown: tuple[Unknown, ...]
    """What could not be rendered; the reason names template and line."""
    warnings: tuple[str, ...]


def render_inventory(
    inventory: Inventory,
    *,
    templates: Iterable[Mapping[str, Any]],
    cells: Iterable[Mapping[str, Any]],
    configuration: Configuration,
    surroundings: Surroundings,
    dry_run: bool = False,
    policy: Policy | None = None,
) -> Rendering:
    """Renders everything for the vCenter of an inventory.

    `templates` are whole VCenterTemplate resources, `cells` the ConfigMaps selected by `cells.LABELS`. The first call
    takes about 0.2 s of CPU for the master key. Nothing bounds the time that a template takes.

    Raises:
        CellsUnavailable: no cells are found, or a ConfigMap is malformed: nothing is rendered then.
    """
    policy = policy or Policy()
    region = Region(configuration, surroundings, parse_cells(cells), dry_run)
    there_are, scopes = TemplateSet.of(templates), scopes_of(inventory)
    password = configuration.password_for(inventory.host)
    library = Library(lambda username, host: configuration.password_for(host, username), max_output=policy.max_output)
    library.replace(there_are)
    yields = []
    for template, unit in renderings(scopes, there_are):
        variables = region.variables(inventory.host, password, unit, scopes.known[unit])
        rendered = render(library, template, variables, policy)
        objects = tuple(
            (
                document.object_id,
                as_member(
                    document.manifest,
                    template=template,
                    unit=unit,
                    host=inventory.host,
                    own_namespace=surroundings.own_namespace,
                    owner_references=policy.owner_references,
                ),
            )
            for document in rendered.documents
        )
        warnings = tuple(document.warning for document in rendered.documents if document.warning)
        yields.append(Yield(template, unit, objects, rendered.failure, warnings))
    merged = merge(scopes, there_are, fitting(yields))
    warnings = tuple(remark.text for remark in merged.remarks)
    ordered = sorted(merged.entries.items(), key=lambda entry: _FIRST.get(entry[0].kind, len(_FIRST)))
    return Rendering(inventory.host, {object_id: entry.body for object_id, entry in ordered}, merged.unknown, warnings)
