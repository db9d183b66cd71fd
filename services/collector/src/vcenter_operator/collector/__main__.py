"""The collector as a process of its own."""

from __future__ import annotations

from vcenter_operator.collector.settings import CollectorSettings
from vcenter_operator.collector.wiring import on_kubernetes
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.process import stage_main


def main() -> None:
    """Runs it until it is told to stop."""
    raise SystemExit(stage_main(Stage.COLLECTOR, CollectorSettings, on_kubernetes))


if __name__ == "__main__":
    main()
