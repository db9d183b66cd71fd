"""The command line of a service: its options, and a `--help` from which it can be run."""

from __future__ import annotations

import argparse
import textwrap
from importlib.metadata import version

from vcenter_operator.common.messages import Stage
from vcenter_operator.common.settings import Settings
from vcenter_operator.common.variables import Variable, variables

DRY_RUN_HELP = "change nothing; dry runs of the stages talk among themselves, beside the real ones on the same broker"

DOES = {
    Stage.DISCOVERY: "finds vCenters in the DNS zone and states each one present or gone",
    Stage.COLLECTOR: "collects the inventory of each vCenter",
    Stage.RENDERER: "renders the templates for each vCenter, availability zone and cluster",
    Stage.APPLIER: "plans and applies the difference to Kubernetes",
}
"""In words, what each stage is for."""
_COLUMNS = 100
_EPILOG = """\
environment:
  What concerns the region is in the Secret 'vcenter-operator', in the operator's own namespace. Outside
  a cluster KUBECONFIG counts.

{variables}

exit codes:
  0  it was stopped as told (SIGTERM, SIGINT)
  1  it failed; the log says why
  2  a setting, the Secret or the command line is wrong; one line says which

examples:
  VCENTER_OPERATOR_BUS=amqps://rabbitmq.example.org/ {name}
  LOG_LEVEL=DEBUG {name} --dry-run
"""


def parser(stage: Stage, settings: type[Settings]) -> argparse.ArgumentParser:
    """Takes what the command of a stage takes."""
    name = f"vcenter-operator-{stage}"
    made = argparse.ArgumentParser(
        prog=name,
        description=textwrap.fill(
            f"The stage {stage} of the vcenter-operator, on Kubernetes and over RabbitMQ: {DOES[stage]}.", _COLUMNS
        ),
        epilog=_EPILOG.format(name=name, variables="\n".join(map(_entry, variables(settings)))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--dry-run", action="store_true", help=DRY_RUN_HELP)
    made.add_argument("--version", action="version", version=f"{name} {version(name)}")
    return made


def _entry(variable: Variable) -> str:
    head = ", ".join(part for part in (f"default {variable.default}", variable.takes) if part)
    text = textwrap.fill(
        variable.says.replace("`", ""), _COLUMNS, initial_indent=" " * 6, subsequent_indent=" " * 6,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return f"  {variable.name} ({head.replace('`', '')})\n{text}"
