"""One vCenter: what is known of it, what was rendered for it, and what follows for its objects."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from vcenter_operator.common import record
from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.identity import ObjectId, Unit
from vcenter_operator.common.messages import IndexEntry, Inventory, ManifestDelta, Provenance
from vcenter_operator.common.sealing import Keyring
from vcenter_operator.common.surroundings import Surroundings
from vcenter_operator.renderer import metrics
from vcenter_operator.renderer.core.account import Account, account_of
from vcenter_operator.renderer.core.delta import Merged, Yield, fitting, merge, renderings
from vcenter_operator.renderer.core.environment import Loaded
from vcenter_operator.renderer.core.membership import as_member
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.rendering import Rendered
from vcenter_operator.renderer.core.scopes import Region, scopes_of
from vcenter_operator.renderer.core.templates import Template
from vcenter_operator.renderer.inputs import Inputs
from vcenter_operator.renderer.ports import Engine, Job

MANIFEST_BYTES = 6 * 1024 * 1024
"""Of sealed manifests in one delta. The applier asks for what it lacks, so that no message is too big for a broker."""

_AT_ONCE = 20
"""Renderings whose objects are sealed without a thread, which would take longer to begin than they do."""


@dataclass(frozen=True)
class Sealed:
    """A manifest as it travels."""

    digest: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class _Kept:
    """What came of a template for a unit, and what from: another rendering of the same would yield the same."""

    content: str
    loaded: Loaded
    yielded: Yield[Sealed]

    def holds_for(self, content: str, fingerprints: Mapping[str, str]) -> bool:
        return self.content == content and all(fingerprints.get(path) == each for path, each in self.loaded.items())


@dataclass(frozen=True)
class Setting:
    """What is the same for every vCenter of this process."""

    engine: Engine
    surroundings: Surroundings
    policy: Policy
    dry_run: bool = False


@dataclass(eq=False)
class VCenter:
    """A vCenter of a partition that is owned."""

    ownership: Ownership
    inventory: Inventory
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is rendered and stated."""
    refreshing: asyncio.Task[None] | None = None
    stated: ManifestDelta | None = None
    """What was published last, without manifests."""
    told: frozenset[str] = frozenset()
    """Failures and warnings that were logged."""
    account: Account | None = None
    """What came of it last; None: nothing yet."""
    recorded: record.Rendered | None = None
    """What its record says of that, as far as this process knows."""
    rendered: int = 0
    """How often a template was rendered for a unit."""
    _kept: dict[tuple[str, Unit], _Kept] = field(default_factory=dict)
    _bodies: dict[ObjectId, Sealed] = field(default_factory=dict)
    _sent: dict[ObjectId, str] = field(default_factory=dict)
    _password: tuple[Configuration, str] | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Its FQDN."""
        return self.inventory.host

    @property
    def busy(self) -> bool:
        """Whether what is known of it is about to change."""
        return self.lock.locked() or (self.refreshing is not None and not self.refreshing.done())

    @property
    def tries_again(self) -> bool:
        """Whether something failed that may work at another time."""
        return any(kept.yielded.failure and kept.yielded.failure.passing for kept in self._kept.values())

    def forget_passing(self) -> None:
        """Lets what failed and may work at another time be rendered again."""
        self._kept = {
            key: kept for key, kept in self._kept.items() if not (kept.yielded.failure and kept.yielded.failure.passing)
        }

    async def state(self, inputs: Inputs, setting: Setting) -> tuple[ManifestDelta, Merged[Sealed]] | None:
        """Renders what changed, and says what follows: a delta without manifests, and what was merged.

        None where nothing may be rendered now. Raises ConfigurationError (no valid `bus_key`) or TransientError.
        """
        inventory = self.inventory
        if inventory.present and not inputs.complete:
            return None
        if not inventory.present or inputs.cells is None:
            self._kept, self._bodies, self.account = {}, {}, Account()
            return _delta(inventory, inputs, (), None), Merged({}, ())
        region = Region(inputs.configuration, setting.surroundings, inputs.cells, setting.dry_run)
        scopes = scopes_of(inventory)
        kept = await self._rendered(inventory, inputs, region, setting)
        yields = fitting([each.yielded for each in kept.values()])
        merged = merge(scopes, inputs.templates, yields)
        self.account = account_of(merged, yields, inputs.templates)
        self._kept = kept
        self._bodies = {object_id: entry.body for object_id, entry in merged.entries.items()}
        return _delta(inventory, inputs, scopes.all, merged), merged

    def is_news(self, delta: ManifestDelta) -> bool:
        """Whether it says anything but what was stated last; positions alone are no news."""
        last = self.stated
        if last is None:
            return True
        before, now = last.provenance, delta.provenance
        return (before.inventory, before.zone) != (now.inventory, now.zone) or any(
            getattr(last, name) != getattr(delta, name)
            for name in ("present", "templates", "inputs", "units", "index", "unknown", "suspended", "rollouts")
        )

    def with_news(self, delta: ManifestDelta) -> ManifestDelta:
        """The delta with the manifests that were not sent before."""
        return self.with_manifests(
            delta, (object_id for object_id, entry in delta.index.items() if self._sent.get(object_id) != entry.digest)
        )

    def with_manifests(self, delta: ManifestDelta, wanted: Iterable[ObjectId]) -> ManifestDelta:
        """The delta with these manifests, as far as it has them and they fit into one message."""
        manifests: dict[ObjectId, bytes] = {}
        size = 0
        for object_id in wanted:
            sealed = self._bodies.get(object_id)
            if sealed is None or (entry := delta.index.get(object_id)) is None or entry.digest != sealed.digest:
                continue
            if size + len(sealed.body) <= MANIFEST_BYTES:
                size += len(sealed.body)
                manifests[object_id] = sealed.body
        return delta.model_copy(update={"manifests": manifests})

    def was_stated(self, delta: ManifestDelta) -> None:
        """Remembers what was published."""
        self.stated = delta.model_copy(update={"manifests": {}})
        sent = {object_id: delta.index[object_id].digest for object_id in delta.manifests}
        self._sent = {object_id: digest for object_id, digest in self._sent.items() if object_id in delta.index} | sent

    async def _rendered(
        self, inventory: Inventory, inputs: Inputs, region: Region, setting: Setting
    ) -> dict[tuple[str, Unit], _Kept]:
        """What came of each template for each unit, in the order of the contract."""
        configuration, templates = inputs.configuration, inputs.templates
        keyring = configuration.keyring
        scopes = scopes_of(inventory)
        password = await self._derived_password(configuration)
        variables = {
            unit: region.variables(inventory.host, password, unit, cluster) for unit, cluster in scopes.known.items()
        }
        contents = {unit: _content(each, configuration.required("bus_key")) for unit, each in variables.items()}
        todo: list[tuple[Template, Unit]] = []
        kept: dict[tuple[str, Unit], _Kept | None] = {}
        for template, unit in renderings(scopes, templates):
            key = template.path, unit
            known = self._kept.get(key)
            holds = known is not None and known.holds_for(contents[unit], templates.fingerprints)
            kept[key] = known if holds else None
            if not holds:
                todo.append((template, unit))
        self.rendered += len(todo)
        with metrics.RENDERING.time() if todo else nullcontext():
            results = await setting.engine.render(
                templates,
                [Job(template.path, variables[unit]) for template, unit in todo],
                master_password=configuration.required("password"),
            )
        metrics.rendered(results)
        sealing = Sealing(inventory.host, keyring, setting.surroundings.own_namespace, setting.policy)
        sealed = partial(sealing.all, todo, results)
        yields = await asyncio.to_thread(sealed) if len(todo) > _AT_ONCE else sealed()
        for (template, unit), result, yielded in zip(todo, results, yields, strict=True):
            kept[template.path, unit] = _Kept(contents[unit], result.loaded, yielded)
        return {key: each for key, each in kept.items() if each is not None}

    async def _derived_password(self, configuration: Configuration) -> str:
        if self._password is None or self._password[0] is not configuration:
            self._password = configuration, await asyncio.to_thread(configuration.password_for, self.host)
        return self._password[1]


@dataclass(frozen=True)
class Sealing:
    """Makes what was rendered for a vCenter fit to leave the process."""

    host: str
    keyring: Keyring
    own_namespace: str
    policy: Policy

    def yielded(self, template: Template, unit: Unit, result: Rendered) -> Yield[Sealed]:
        """A result, its objects complete, digested and sealed."""
        objects: list[tuple[ObjectId, Sealed]] = []
        for document in result.documents:
            manifest = as_member(
                document.manifest,
                template=template,
                unit=unit,
                host=self.host,
                own_namespace=self.own_namespace,
                owner_references=self.policy.owner_references,
            )
            digest, body = self.keyring.sealed(self.host, document.object_id, manifest)
            objects.append((document.object_id, Sealed(digest, body)))
        warnings = tuple(document.warning for document in result.documents if document.warning)
        return Yield(template, unit, tuple(objects), result.failure, warnings)

    def all(self, todo: list[tuple[Template, Unit]], results: list[Rendered]) -> list[Yield[Sealed]]:
        """Of each."""
        return [self.yielded(template, unit, result) for (template, unit), result in zip(todo, results, strict=True)]


def _delta(
    inventory: Inventory, inputs: Inputs, units: tuple[Unit, ...], merged: Merged[Sealed] | None
) -> ManifestDelta:
    provenance = Provenance(
        zone=inventory.zone,
        inventory=inventory.revision,
        templates=inputs.templates_at,
        cells=inputs.cells_at,
        config=inputs.configuration.version,
    )
    entries = merged.entries.items() if merged is not None else ()
    return ManifestDelta(
        host=inventory.host,
        present=inventory.present,
        provenance=provenance,
        templates=inputs.templates.versions,
        inputs=inputs.name,
        units=units,
        partial=inventory.partial,
        index={
            object_id: IndexEntry(digest=entry.body.digest, template=entry.template.key, unit=entry.unit)
            for object_id, entry in entries
        },
        unknown=merged.unknown if merged is not None else (),
        suspended=inputs.suspended,
        rollouts=inputs.rollouts(inventory.host) if inventory.present else {},
    )


def _content(variables: Mapping[str, Any], bus_key: str) -> str:
    """Equal for what yields equal objects under equal templates."""
    text = json.dumps([variables, bus_key], sort_keys=True, default=sorted)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
