"""The process in which zones are transferred: `python -m vcenter_operator.discovery.adapters.worker BYTES`.

It may have so many bytes of memory: each message of a transfer is followed by a look at what it has. The system's limit
is the net under that, since an allocation that fails may fail anywhere. Started by `process`, it reads orders from its
standard input, answers on its standard output, and ends when its input does. Frames are a length and so many bytes of
JSON.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import struct
import sys
from dataclasses import asdict, replace
from typing import Any, BinaryIO

from vcenter_operator.discovery.adapters.transfer import Order, Outcome, Transfers
from vcenter_operator.discovery.core.zone import Entry
from vcenter_operator.discovery.ports import ZoneUnavailable

LENGTH = struct.Struct(">I")
_MARGIN = 64 * 1024 * 1024
"""Bytes from what a transfer may take to what the system allows: the interpreter, and one message being parsed."""


def frame(content: dict[str, Any]) -> bytes:
    """The content as a frame."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


def order_frame(order: Order) -> bytes:
    """A frame for the process."""
    return frame(asdict(order))


def outcome(body: bytes) -> Outcome:
    """What the process answered. Raises the ZoneUnavailable that it met; ValueError, TypeError, KeyError."""
    content = json.loads(body)
    if (reason := content.get("reason")) is not None:
        raise ZoneUnavailable(reason, content["message"])
    names = {name: Entry(tuple(addresses), alias) for name, (addresses, alias) in content.pop("names").items()}
    return Outcome(names=names, **content)


def main(memory: int) -> None:
    """Until there are no more orders. `memory`: bytes that the process may have."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory + _MARGIN, memory + _MARGIN))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.dont_write_bytecode = True
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    transfers = Transfers()
    gc.disable()  # a zone is a million objects, which would be walked through again and again while they are made
    while (body := _read(orders)) is not None:
        answer = _answer(transfers, replace(Order(**json.loads(body)), memory=memory))
        answers.write(frame(answer))
        answers.flush()
        _collect(whole=answer.get("how") not in ("IXFR", "none"))


def _collect(*, whole: bool) -> None:
    """What the last order left behind; with `whole`, the copy before it too. What stays is walked through but once."""
    if whole:
        gc.unfreeze()
    gc.collect()
    gc.freeze()


def _answer(transfers: Transfers, order: Order) -> dict[str, Any]:
    try:
        result = transfers.transfer(order)
    except ZoneUnavailable as error:
        return {"reason": error.reason, "message": str(error)}
    return result.__dict__


def _read(stream: BinaryIO) -> bytes | None:
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(header)
    body = stream.read(length)
    return body if len(body) == length else None


if __name__ == "__main__":
    main(int(sys.argv[1]))
