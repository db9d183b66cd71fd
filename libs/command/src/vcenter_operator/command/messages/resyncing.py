"""What `resync` does: stages are asked to say again what they know of a vCenter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vcenter_operator.command import terminal
from vcenter_operator.command.diff.collecting import Scope
from vcenter_operator.command.messages.region import Access
from vcenter_operator.common.bus.port import Topology
from vcenter_operator.common.bus.rabbitmq.confirming import Unroutable, confirmed
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint
from vcenter_operator.common.bus.rabbitmq.publishing import message_of
from vcenter_operator.common.bus.rabbitmq.topology import Names
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.messages import ResyncRequest, Stage, Trace

EXIT_ASKED, EXIT_NOT_ASKED = 0, 1
STAGES = (Stage.DISCOVERY, Stage.COLLECTOR, Stage.RENDERER)
"""Those that state something."""


async def resync(access: Access, name: str, stages: Sequence[Stage], ask: Callable[[str], bool]) -> int:
    """Asks the stages to say again what they know of a vCenter, if a person says so. Returns the exit code.

    Raises ConfigurationError: there is no such vCenter; TransientError: a server is away.
    """
    async with access.region() as platform:
        hosts = [record.host for record in await platform.store.list()]
        endpoint = await access.endpoint(platform)
    meant = list(filter(Scope(name).has_vcenter, hosts))
    if len(meant) != 1:
        known = ", ".join(sorted(hosts)) or "none"
        raise ConfigurationError(f"vCenter {name}: no record of exactly one such vCenter; there are: {known}")
    host = meant[0]
    if not ask(f"Ask {', '.join(stages)} to say again what they know of {host}?"):
        _tell("nothing is asked")
        return EXIT_NOT_ASKED
    unheard = await request(endpoint, access.names, requests(access.topology, host, stages))
    for stage in stages:
        said = "nobody works on its partition: not asked" if stage in unheard else "asked"
        _tell(f"{stage}: {said}")
    _tell(f"what comes of it: vcenter-operator messages list --repeats --since 5m --vcenter {host}")
    return EXIT_NOT_ASKED if unheard else EXIT_ASKED


def requests(topology: Topology, host: str, stages: Sequence[Stage]) -> list[ResyncRequest]:
    """One for each stage, all of one correlation."""
    trace = Trace()
    return [
        ResyncRequest(stage=stage, partition=topology.partition(stage, host), host=host, trace=trace.caused())
        for stage in stages
    ]


async def request(endpoint: Endpoint, names: Names, wanted: Sequence[ResyncRequest]) -> list[Stage]:
    """Sends them to the owners of the partitions. Returns the stages where there is none. Raises BusUnavailable."""
    unheard: list[Stage] = []
    async with endpoint.linked("resync") as link:
        channel = await link.channel(confirms=True)
        for one in wanted:
            try:
                await confirmed(link, channel, names.resync(one.stage), str(one.partition), message_of(one))
            except Unroutable:
                unheard.append(one.stage)
    return unheard


def _tell(line: str) -> None:
    terminal.errors().print(line, soft_wrap=True)
