"""The process that transfers zones, by itself: what it does between two orders."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from vcenter_operator.discovery.adapters.transfer import Order
from vcenter_operator.discovery.adapters.worker import LENGTH, order_frame

_LEAVES_CYCLES = """
import itertools
from vcenter_operator.discovery.adapters import worker

class Garbage:
    alive = 0

    def __init__(self):
        Garbage.alive += 1
        self.cycle = self

    def __del__(self):
        Garbage.alive -= 1

kept = Garbage()
hows = itertools.chain(["AXFR"], itertools.repeat({how!r}))

def answer(transfers, order):
    Garbage()
    return {{"how": next(hows), "alive": Garbage.alive}}

worker._answer = answer
worker.main(2**29)
"""


@pytest.mark.parametrize("how", ["AXFR", "IXFR", "none"])
def test_what_an_order_leaves_behind_is_given_back_before_the_next(how: str) -> None:
    order = Order("cc.qa-de-1.cloud.sap", "127.0.0.1", 53, None, None, False, 1.0, 1.0)
    done = subprocess.run(
        [sys.executable, "-c", _LEAVES_CYCLES.format(how=how)],
        input=order_frame(order) * 5,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert [answer["alive"] for answer in _frames(done.stdout)] == [2] * 5


def _frames(data: bytes) -> list[dict[str, Any]]:
    stream, found = io.BytesIO(data), []
    while header := stream.read(LENGTH.size):
        found.append(json.loads(stream.read(LENGTH.unpack(header)[0])))
    return found
