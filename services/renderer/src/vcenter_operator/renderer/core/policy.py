"""What the operator's own settings say about rendering."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_OUTPUT = 4 * 1024 * 1024


@dataclass(frozen=True)
class Policy:
    """The same for every template."""

    cluster_scoped_kinds: frozenset[str] = frozenset()
    """`Kind`, or `group/Kind`, of objects that get no namespace. Any other object gets its template's."""
    owner_references: bool = False
    """Whether every object is owned by its VCenterTemplate, as the deployed operator does it: the garbage collector
    then deletes a region's objects when a template is merely made anew, past any deletion budget."""
    max_output: int = field(default=MAX_OUTPUT)
    """Characters that a template may yield for one unit."""

    def namespaced(self, group: str, kind: str) -> bool:
        """Whether objects of this kind get the namespace of their template."""
        return not {kind, f"{group}/{kind}"} & self.cluster_scoped_kinds
