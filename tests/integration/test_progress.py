"""Long reads of `messages` show how far they are: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
from contextlib import suppress

import pytest

from tests.contract.harness import EpochsInMemory, change
from tests.e2e.asking import COMMAND
from vcenter_operator.common.bus import Topology
from vcenter_operator.common.bus.rabbitmq import RabbitMQBus

pytestmark = pytest.mark.needs("rabbitmq")
HOST = "vc-a-0.example.test"
READING = "reading what was said to the collector"


async def said(url: str) -> None:
    """A statement, archived."""
    bus = await RabbitMQBus.connect(url, Topology(partitions=1), EpochsInMemory())
    await bus.publish(change(HOST, 1))
    await bus.close()


def listing(url: str, stderr: int) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VCENTER_OPERATOR_")}
    environment = {**kept, "VCENTER_OPERATOR_PARTITIONS": "1", "TERM": "xterm", "COLUMNS": "200"}
    told = subprocess.run(
        [*COMMAND, "messages", "list", "--bus", url, "--stage", "collector"],
        stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, check=True, env=environment,
    )  # fmt: skip
    assert "vc-a-0" in told.stdout
    assert "\x1b" not in told.stdout
    return told


async def test_a_terminal_shows_how_far_a_read_is_and_takes_it_away_at_the_end(amqp_url: str) -> None:
    await said(amqp_url)
    leader, follower = pty.openpty()
    try:
        listing(amqp_url, follower)
    finally:
        os.close(follower)
    shown = b""
    with suppress(OSError), os.fdopen(leader, "rb", buffering=0) as terminal:  # the other side is closed
        while data := terminal.read(65536):
            shown += data
    assert READING.encode() in shown
    assert b"100%" in shown
    assert shown.endswith(b"\x1b[2K") or b"\x1b[2K" in shown.rpartition(READING.encode())[2], "it was left there"


async def test_nothing_is_shown_where_no_terminal_is(amqp_url: str) -> None:
    await said(amqp_url)
    assert listing(amqp_url, subprocess.PIPE).stderr == ""
