"""`vcenter-operator-collector`: the collector alone, on Kubernetes and over RabbitMQ."""

from __future__ import annotations

from vcenter_operator.common.stopping import end_when_told


def main() -> None:
    """Runs until it is told to stop."""
    end_when_told(0)
    # Takes a second to load, in which it may be told to stop.
    from vcenter_operator.collector.settings import CollectorSettings  # noqa: PLC0415
    from vcenter_operator.collector.wiring import on_kubernetes  # noqa: PLC0415
    from vcenter_operator.common.messages import Stage  # noqa: PLC0415
    from vcenter_operator.common.process import stage_main  # noqa: PLC0415

    raise SystemExit(stage_main(Stage.COLLECTOR, CollectorSettings, on_kubernetes))


if __name__ == "__main__":
    main()
