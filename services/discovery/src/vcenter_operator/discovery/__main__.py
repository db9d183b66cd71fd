"""The command of the discovery alone."""

from __future__ import annotations

from vcenter_operator.common.messages import Stage
from vcenter_operator.common.process import stage_main
from vcenter_operator.discovery.settings import DiscoverySettings
from vcenter_operator.discovery.wiring import on_kubernetes


def main() -> None:
    """Runs the discovery on Kubernetes."""
    raise SystemExit(stage_main(Stage.DISCOVERY, DiscoverySettings, on_kubernetes))


if __name__ == "__main__":
    main()
