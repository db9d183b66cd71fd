"""What happens to the region, one thing after the other, and how one sees that the operator has dealt with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from examples.demo.region import Region
from vcenter_operator.applier.core.outcome import Outcome
from vcenter_operator.applier.core.plan import Plan

DOMAIN = "cc.qa-de-1.cloud.sap"
A, B, C, D = (f"vc-{letter}-0.{DOMAIN}" for letter in "abcd")


@dataclass
class Seen:
    """The plans since the scene began, by vCenter, newest last."""

    plans: dict[str, list[tuple[Plan, Outcome]]] = field(default_factory=dict)

    def add(self, host: str, plan: Plan, outcome: Outcome) -> None:
        """The applier's observer."""
        self.plans.setdefault(host, []).append((plan, outcome))

    def any(self, host: str, condition: Callable[[Plan], bool]) -> bool:
        """Whether a plan for the vCenter was worked on that the condition holds for."""
        return any(condition(plan) for plan, _ in self.plans.get(host, ()))


@dataclass(frozen=True)
class Scene:
    """One change, and by what one knows that it has been dealt with."""

    title: str
    story: str
    change: Callable[[Region], None]
    done: Callable[[Seen], bool]
    hosts: Sequence[str]
    """Whose plans are shown."""


def add_cluster(region: Region) -> None:
    """productionbb004 in vc-a-0."""
    cluster = "          productionbb004:\n            datastores: [eph_bb004_ds01]\n            networks: [br-bb004]\n"
    region.edit(region.site, "          storage0:\n", cluster + "          storage0:\n")


def remove_cluster(region: Region) -> None:
    """productionbb043 of vc-b-0."""
    cluster = "          productionbb043:\n            datastores: [eph_bb043_ds01]\n            networks: [br-bb043]\n"
    region.edit(region.site, cluster, "")


def add_vcenter(region: Region) -> None:
    """vc-d-0, in the inventory and then in the zone."""
    vcenter = (
        "  vc-d-0:\n    datacenters:\n      QA-DE-1E:\n        clusters:\n          productionbb121:\n"
        "            datastores: [eph_bb121_ds01]\n            networks: [br-bb121]\n"
    )
    region.edit(region.site, "vcenters:\n", "vcenters:\n" + vcenter)
    region.list_in_zone("vc-d-0   IN A    192.0.2.40")


def edit_template(region: Region) -> None:
    """Another image for the neutron agents."""
    region.edit(region.templates / "neutron-dvs-agent.yaml", "loci-neutron:", "loci-neutron-dvs:")


def break_template(region: Region) -> None:
    """A filter that does not exist."""
    region.edit(region.templates / "nova-compute.yaml", "{= nova_image_version =}", "{= nova_image_version | newest =}")


def repair_template(region: Region) -> None:
    """The filter goes."""
    region.edit(region.templates / "nova-compute.yaml", " | newest", "")


def lose_inventory(region: Region) -> None:
    """vc-a-0 reads empty from one moment to the next."""
    before = region.empty("vc-a-0")
    (region.folder / "before").write_text(before)


def restore_inventory(region: Region) -> None:
    """It is back."""
    region.edit(region.site, region.site.read_text(), (region.folder / "before").read_text())


SCENES = (
    Scene(
        "A cluster is added",
        "productionbb004 appears in vc-a-0: its agents follow, nothing else is written.",
        add_cluster,
        lambda seen: seen.any(A, lambda plan: bool(plan.creates)),
        (A,),
    ),
    Scene(
        "A cluster is removed",
        "vc-b-0 says that productionbb043 does not exist any more (ManagedObjectNotFound): that is evidence.",
        remove_cluster,
        lambda seen: seen.any(B, lambda plan: bool(plan.deletes)),
        (B,),
    ),
    Scene(
        "A vCenter is added",
        "vc-d-0 gets a record in the zone; the serial moves, and discovery states it.",
        add_vcenter,
        lambda seen: seen.any(D, lambda plan: bool(plan.creates)),
        (D,),
    ),
    Scene(
        "A template is edited",
        "The neutron team changes its image. Only the objects that really change are written.",
        edit_template,
        lambda seen: all(seen.any(host, lambda plan: bool(plan.updates)) for host in (A, B, C, D)),
        (C,),
    ),
    Scene(
        "A template is broken",
        "Somebody uses a filter that does not exist. What it yielded is now unknown, and stays exactly as it is.",
        break_template,
        lambda seen: all(seen.any(host, lambda plan: bool(plan.unknown)) for host in (A, B, C, D)),
        (C,),
    ),
    Scene(
        "The template is repaired",
        "The same objects as before come out: there is nothing to write.",
        repair_template,
        lambda seen: all(seen.any(host, lambda plan: not plan.unknown) for host in (A, B, C, D)),
        (C,),
    ),
    Scene(
        "An inventory is suddenly empty",
        "vc-a-0 answers, and has no clusters. More than the deletion budget allows: all of it waits for a person.",
        lose_inventory,
        lambda seen: seen.any(A, lambda plan: bool(plan.held)),
        (A,),
    ),
    Scene(
        "The inventory is back",
        "Nothing was touched meanwhile, so there is nothing to repair.",
        restore_inventory,
        lambda seen: seen.any(A, lambda plan: not plan.held),
        (A,),
    ),
)
