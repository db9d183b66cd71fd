"""`vcenter-operator-renderer`: the renderer alone, on Kubernetes and over RabbitMQ."""

from __future__ import annotations

from vcenter_operator.common.stopping import end_when_told


def main() -> None:
    """Runs until it is told to stop."""
    end_when_told(0)
    # Takes a second to load, in which it may be told to stop.
    from vcenter_operator.common.messages import Stage  # noqa: PLC0415
    from vcenter_operator.common.process import stage_main  # noqa: PLC0415
    from vcenter_operator.renderer.settings import RendererSettings  # noqa: PLC0415
    from vcenter_operator.renderer.wiring import on_kubernetes  # noqa: PLC0415

    raise SystemExit(stage_main(Stage.RENDERER, RendererSettings, on_kubernetes))


if __name__ == "__main__":
    main()
