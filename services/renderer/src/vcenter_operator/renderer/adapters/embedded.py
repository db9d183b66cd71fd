"""Templates and cells of a folder of manifests."""

from __future__ import annotations

from vcenter_operator.common import labels
from vcenter_operator.common.embedded.manifests import Manifests
from vcenter_operator.common.watching import Watched
from vcenter_operator.renderer.core.cells import LABELS


def templates_and_cells(manifests: Manifests) -> tuple[Watched, Watched]:
    """VCenterTemplates and the cells' ConfigMaps of the folder, watched as long as the folder is."""
    templates = manifests.watched(labels.GROUP, labels.TEMPLATE_KIND)
    return templates, manifests.watched("", "ConfigMap", label_selector=LABELS)
