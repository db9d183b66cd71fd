"""``python -m tests.recorded``: records the messages of this release into a folder of its own.

When a release is made that changed `messages.py`. What a region on real servers said comes first, then the samples.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.e2e.region import PARTITIONS, Region, of_cluster, of_zone
from tests.recorded import BUS_KEY, HOST, NAMESPACE
from tests.recorded.samples import samples
from tests.recorded.vocabulary import vocabulary
from tests.stack import Stack
from vcenter_operator.common import wire
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.rabbitmq.archive import Archive
from vcenter_operator.common.bus.rabbitmq.connection import Endpoint
from vcenter_operator.common.bus.rabbitmq.topology import ARROWS, Names
from vcenter_operator.common.configuration import Configuration
from vcenter_operator.common.delays import RetryDelays
from vcenter_operator.common.messages import ManifestDelta, ResyncRequest, Statement


def main() -> None:
    """Writes the folder."""
    folder = Path(__file__).parent / version("vcenter-operator-common")
    folder.mkdir()
    for message in spoken():
        write(folder, "region", message)
    for name, sample in samples(Configuration({"bus_key": BUS_KEY}).keyring):
        write(folder, name, sample)
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary(), indent=1) + "\n")


def write(folder: Path, name: str, message: Statement | ResyncRequest) -> None:
    """`ManifestDelta-full.msgpack`, for example."""
    (folder / f"{type(message).__name__}-{name}.msgpack").write_bytes(wire.encode(message))


def spoken() -> list[Statement]:
    """What was said last of a vCenter, with positions that are behind those of any API server."""
    stack = Stack()
    try:
        kubernetes, zone, rabbitmq = stack.kubernetes(), stack.dns(), stack.rabbitmq()
        kubernetes.create_namespace(NAMESPACE)
        url = rabbitmq.create_vhost("recorded")
        with tempfile.TemporaryDirectory() as folder:
            region = Region(kubernetes, zone, url, NAMESPACE, stack.start_vcsim, Path(folder))
            try:
                region.prepare()
                return asyncio.run(archived(region))
            finally:
                region.close()
    finally:
        stack.close()


async def archived(region: Region) -> list[Statement]:
    """The pipeline's statements, once everything is there."""
    region.vcenter("vc-a-0")
    region.fleet()
    await asyncio.to_thread(region.expect, of_cluster(10, 11), of_zone("qa-de-1a"))
    archive = Archive(Endpoint.parse(region.amqp_url, 10, None), Names(Topology(PARTITIONS), RetryDelays().steps))
    found = []
    for stage in ARROWS:
        said = [wire.statement_for(stage, one.body) async for one in archive.read(stage) if one.host == HOST]
        found.append(max(said, key=lambda one: len(one.manifests) if isinstance(one, ManifestDelta) else 0))
    delta = found[-1]
    assert isinstance(delta, ManifestDelta)
    assert delta.manifests.keys() == delta.index.keys()
    behind = delta.provenance.model_copy(update={"templates": 1, "cells": 1, "config": 1})
    return [*found[:-1], delta.model_copy(update={"provenance": behind})]


if __name__ == "__main__":
    main()
