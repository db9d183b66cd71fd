"""The harnesses that the contract tests run over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.harness import Harness, InProcessHarness, RabbitMQHarness
from vcenter_operator.common.bus import Topology

TOPOLOGY = Topology(partitions=4, generation=3)


@pytest_asyncio.fixture(params=["in-process", pytest.param("rabbitmq", marks=pytest.mark.needs("rabbitmq"))])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    """A broker of each kind, empty, with four partitions."""
    found = (
        InProcessHarness(TOPOLOGY)
        if request.param == "in-process"
        else RabbitMQHarness(request.getfixturevalue("amqp_url"), TOPOLOGY)
    )
    yield found
    await found.close()
