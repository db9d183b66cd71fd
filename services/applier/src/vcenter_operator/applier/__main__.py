"""The command of the applier stage alone."""

from __future__ import annotations

from vcenter_operator.applier.settings import ApplierSettings
from vcenter_operator.applier.wiring import on_kubernetes
from vcenter_operator.common.messages import Stage
from vcenter_operator.common.process import stage_main


def main() -> None:
    """Runs until it is told to stop."""
    raise SystemExit(stage_main(Stage.APPLIER, ApplierSettings, on_kubernetes))


if __name__ == "__main__":
    main()
