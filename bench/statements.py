"""What a renderer states about a made-up region, rendered in this process, and the manifests in its statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.landscape import inventory, manifests, seven_templates, surroundings
from vcenter_operator.common import labels
from vcenter_operator.common.bus.port import Ownership
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.messages import ManifestDelta, Stage
from vcenter_operator.renderer.core.environment import Library
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.rendering import Rendered, render
from vcenter_operator.renderer.core.templates import TemplateSet
from vcenter_operator.renderer.inputs import Inputs
from vcenter_operator.renderer.ports import Job
from vcenter_operator.renderer.vcenter import Setting, VCenter

Derive = Callable[[str, str], str]


class InlineEngine:
    """An `Engine` in this process, which counts what it renders."""

    def __init__(self, derive: Derive) -> None:
        self._derive = derive
        self.count = 0

    async def render(self, templates: TemplateSet, jobs: Sequence[Job], *, master_password: str) -> list[Rendered]:  # noqa: ARG002
        """See `Engine.render`."""
        library = Library(self._derive, max_output=Policy().max_output)
        library.replace(templates)
        self.count += len(jobs)
        return [render(library, templates[job.path], job.variables, Policy()) for job in jobs]


def configuration_of(secret: dict[str, Any]) -> Configuration:
    """What the stages make of the example's Secret."""
    return Configuration.parse(secret["stringData"], 1)


def inputs_of(
    resources: Iterable[dict[str, Any]], configuration: Configuration, cells: frozenset[str], *, at: int = 1
) -> Inputs:
    """All that is rendered from beside an inventory; `at` is the templates' position."""
    return Inputs(TemplateSet.of(resources), at, cells, True, 1, configuration)


@dataclass(frozen=True)
class Stated:
    """Deltas with their manifests, a vCenter each."""

    configuration: Configuration
    first: Sequence[ManifestDelta]
    edited: Sequence[ManifestDelta]
    """The same objects when every template was edited."""

    @property
    def repeated(self) -> list[ManifestDelta]:
        """What was stated last as it is said again: the index alone."""
        return [delta.model_copy(update={"manifests": {}}) for delta in self.edited]

    def manifests(self, deltas: Iterable[ManifestDelta]) -> list[dict[str, Any]]:
        """As the applier writes them, its annotations included."""
        found = []
        for delta in deltas:
            for object_id, sealed in delta.manifests.items():
                digest = delta.index[object_id].digest
                manifest = self.configuration.keyring.open(delta.host, object_id, digest, sealed)
                ours = {labels.DIGEST: digest, labels.REVISION: str(delta.provenance.inventory)}
                manifest["metadata"]["annotations"] |= ours
                found.append(manifest)
        return found


async def stated(namespace: str, vcenters: Iterable[int]) -> Stated:
    """What is stated about these vCenters; `namespace` is the operator's own, and that of the templates."""
    (secret,), (cells,) = manifests("Secret"), manifests("ConfigMap")
    configuration = configuration_of(secret)
    known_cells = frozenset(cells["data"]["cells"].split(","))
    engine = InlineEngine(lambda username, site: configuration.password_for(site, username))
    setting = Setting(engine, surroundings(namespace), Policy())
    editions: list[list[ManifestDelta]] = [[], []]
    for number in vcenters:
        vcenter = VCenter(Ownership(Stage.RENDERER, 0, 1), inventory(number))
        for at, edition in enumerate(editions, start=1):
            resources = _stored(seven_templates(namespace, edited=7 if at > 1 else 0), at)
            outcome = await vcenter.state(inputs_of(resources, configuration, known_cells, at=at), setting)
            assert outcome is not None
            news = vcenter.with_news(outcome[0])
            vcenter.was_stated(news)
            edition.append(news)
    first, edited = editions
    return Stated(configuration, first, edited)


def _stored(resources: Iterable[dict[str, Any]], generation: int) -> list[dict[str, Any]]:
    """As the API server has them, in as many generations."""
    return [
        {**each, "metadata": {**each["metadata"], "uid": each["metadata"]["name"], "generation": generation}}
        for each in resources
    ]
