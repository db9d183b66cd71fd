"""`vcenter-operator-renderer`: the renderer alone, on Kubernetes."""

from __future__ import annotations

from vcenter_operator.common.messages import Stage
from vcenter_operator.common.process import stage_main
from vcenter_operator.renderer.settings import RendererSettings
from vcenter_operator.renderer.wiring import on_kubernetes


def main() -> None:
    """The command."""
    raise SystemExit(stage_main(Stage.RENDERER, RendererSettings, on_kubernetes))


if __name__ == "__main__":
    main()
