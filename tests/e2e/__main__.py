"""`make region`: a region on real servers with something in it, to try the operator on, until Ctrl-C."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from pathlib import Path

from tests.e2e.region import Region
from tests.stack.progress import say_on_stdout as say
from tests.stack.stack import Stack

FOLDER = Path("build") / "region"
ENVIRONMENT = FOLDER / "environment"
NAMESPACE = "monsoon3"
VCENTERS = {"vc-a-0": "QA-DE-1A", "vc-b-0": "QA-DE-1B"}


def main() -> int:
    """Runs it. `ENVIRONMENT` is there as soon as everything else is, and gone afterwards."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    FOLDER.mkdir(parents=True, exist_ok=True)
    ENVIRONMENT.unlink(missing_ok=True)
    stack = Stack(say)
    try:
        region = seeded(stack)
        ENVIRONMENT.write_text("".join(f"export {line}\n" for line in exports(region)))
        say(f"\nA region is there until Ctrl-C. In another terminal:\n\n    . {ENVIRONMENT}")
        say("    vcenter-operator diff\n")
        stop.wait()
        say("stopping ...")
    finally:
        ENVIRONMENT.unlink(missing_ok=True)
        stack.close()
    return 0


def seeded(stack: Stack) -> Region:
    """Two vCenters with two clusters each, in the zone; Secret, cells and templates of the example."""
    kubernetes = stack.kubernetes()
    kubernetes.create_namespace(NAMESPACE)
    url = stack.rabbitmq().create_vhost("region")
    region = Region(kubernetes, stack.dns(), url, NAMESPACE, stack.start_vcsim, FOLDER)
    region.prepare()
    for name, datacenter in VCENTERS.items():
        region.vcenter(name, datacenter)
    return region


def exports(region: Region) -> list[str]:
    """What a shell needs to work on the region: `NAME=value`, quoted."""
    variables = region.environment(log_format="text")
    del variables["LOG_LEVEL"]  # who says it wants to see the log of whatever command
    path = ":".join(
        str(folder) for folder in (Path(sys.executable).parent, Path(str(region.kubernetes.kubectl)).parent)
    )
    return [f"{name}={shlex.quote(value)}" for name, value in variables.items()] + [f"PATH={shlex.quote(path)}:$PATH"]


if __name__ == "__main__":
    sys.exit(main())
